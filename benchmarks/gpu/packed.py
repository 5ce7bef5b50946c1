"""What a pack has, and what is made of it on the machine with the device: networks, weights, models.

A pack is a folder. It has these scripts, `cnncc` as far as they import it (NumPy and the standard library only), and

    pack.json              the target, the plan, versions
    nets/NET.pkl           the graph, without weights
    nets/NET.json, .npz    sums of the seeded weights; outputs of the float64 reference for the seeded input
    programs/KEY.json      resources and predicted times of the kernels
    programs/KEY.so        the module, with room where its weights would be
    programs/KEY.cubin     the machine code of its kernels; KEY.cu their source, for the emulated driver alone
    programs/KEY.raster.*  the same with the blocks of products in the other order
    code/*.ptx, *.cubin    code of many versions
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import cnncc
from cnncc import passes, weights
from cnncc.ir import Graph
from cnncc.machines import gpus
from cnncc.module.gpu.program import CudaProgram
from cnncc.module.lower import lower
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options
from cnncc.runtime.cuda.driver import CudaModel
from gpu.jobs import INT8, SEED, Job, Plan

PATIENCE = 120
"""Seconds that a program's weights are waited for."""
CLOSE = 1e-6
"""By which sums of weights may differ between versions of NumPy, as a share."""


class PackError(Exception):
    """A pack that does not fit what is made of it."""


@dataclass(frozen=True)
class Pack:
    """The folder of a pack."""

    root: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "pack.json").read_text())
        return found

    @property
    def target(self) -> str:
        return str(self.about["target"])

    @cached_property
    def gpu(self) -> gpus.Gpu:
        return gpus.load(self.target)

    @cached_property
    def plan(self) -> Plan:
        """As `pack.py` wrote it."""
        return Plan(**{phase: tuple(Job(**job) for job in jobs) for phase, jobs in self.about["plan"].items()})

    def graph(self, net: str) -> Graph:
        """With the seeded weights. A value is drawn when it is first used."""
        with (self.root / "nets" / f"{net}.pkl").open("rb") as file:
            return weights.bind(pickle.load(file), None, SEED)

    def source(self, job: Job) -> Graph:
        """The network with its batch, before any pass."""
        return passes.with_batch(self.graph(job.net), job.batch)

    def inputs(self, job: Job) -> dict[str, np.ndarray]:
        return random_inputs(self.source(job), SEED)

    def expected(self, net: str) -> list[np.ndarray]:
        """The outputs of the float64 reference for one image, in order."""
        with np.load(self.root / "nets" / f"{net}.npz") as file:
            return [file[name] for name in file.files]

    def program(self, job: Job) -> CudaProgram:
        """Lowered anew: it has to be the one whose code was packed. PackError if it is another."""
        found = lower(self.graph(job.net), self.gpu, options(job, self.target))
        if digest(found) != self.entry(job)["digest"]:
            raise PackError(f"{job.key} is lowered otherwise here than where it was packed")
        return found

    def entry(self, job: Job) -> dict[str, Any]:
        """What was noted of a program."""
        found: dict[str, Any] = json.loads(self.file(job, "json").read_text())
        return found

    def file(self, job: Job, kind: str) -> Path:
        return self.root / "programs" / f"{job.key}.{kind}"

    def code(self, job: Job, variant: str = "") -> tuple[bytes, str]:
        """The machine code of a program, and its source if it was packed."""
        source = self.file(job, f"{variant}cu")
        return self.file(job, f"{variant}cubin").read_bytes(), source.read_text() if source.exists() else ""


def options(job: Job, target: str) -> Options:
    """Of a network on bytes, float32 is the type of what is not on bytes."""
    return Options((target,), batch=job.batch, keep_all=job.kept, dtype="float32" if job.dtype == INT8 else job.dtype)


def digest(program: CudaProgram) -> str:
    """A hash of all that the code of a program and the order of its weights depend on."""
    calls = [(call.kernel.symbol, program.arguments(call)) for call in program.calls]
    parts = (calls, program.kernels, program.arena_bytes, sorted(program.weight_offsets.items()), program.ports)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def sums(graph: Graph) -> dict[str, float]:
    """Of the absolute values of each constant of a graph."""
    return {name: float(np.abs(c.value).sum(dtype=np.float64)) for name, c in graph.constants.items()}


def refuse_other_weights(pack: Pack, net: str) -> None:
    """PackError unless the seeded weights are those of the packed reference: NumPy draws them, and may change."""
    said = json.loads((pack.root / "nets" / f"{net}.json").read_text())
    for name, found in sums(pack.graph(net)).items():
        if abs(found - said[name]) > CLOSE * abs(said[name]) + 1e-12:
            raise PackError(f"{net}: {name} is drawn otherwise by NumPy {np.__version__} than by {pack.about['numpy']}")


@dataclass(frozen=True)
class Weights:
    """The folder with the weights of programs, drawn and packed by other processes."""

    folder: Path

    def draw(self, pack: Pack, job: Job) -> None:
        """Makes the file of a program's weights, or one that says why there is none."""
        done = self.folder / f"{job.key}.bin"
        scratch = done.with_suffix(".part")
        try:
            refuse_other_weights(pack, job.net)
            program = pack.program(job)
            with scratch.open("wb") as file:
                for packed, offset in program.weights:
                    file.seek(offset)
                    file.write(packed.compute().data)
                file.truncate(program.weight_bytes)
            os.replace(scratch, done)
        except Exception as error:  # whoever waits for the file is told
            done.with_suffix(".error").write_text(f"{type(error).__name__}: {error}")

    def wait(self, job: Job, until: float) -> np.ndarray:
        """The weights of a program, once they are drawn. PackError if they cannot be, or not soon and by `until`."""
        until = min(until, time.time() + PATIENCE)
        done = self.folder / f"{job.key}.bin"
        while not done.exists():
            if done.with_suffix(".error").exists():
                raise PackError(done.with_suffix(".error").read_text())
            if time.time() > until:
                raise PackError(f"the weights of {job.key} are not drawn yet")
            time.sleep(0.05)
        return np.fromfile(done, np.uint8)


def model(pack: Pack, job: Job, values: np.ndarray) -> CudaModel:
    """The model of a program, with weights."""
    path = pack.file(job, "so")
    library = ctypes.CDLL(str(path))
    opened = cnncc.load(path)  # the same library, which the loader opens once
    if opened.info["memory"]["weight_bytes"] != values.size:
        raise PackError(
            f"{job.key} has room for {opened.info['memory']['weight_bytes']} bytes of weights, not {values.size}"
        )
    room = (ctypes.c_uint8 * max(values.size, 1)).in_dll(library, f"{opened.info['symbol']}_weights")
    ctypes.memmove(room, values.ctypes.data, values.size)
    assert isinstance(opened, CudaModel)
    return opened


def port_arrays(pack: Pack, job: Job) -> tuple[Sequence[np.ndarray], Mapping[str, tuple[int, ...]]]:
    """The seeded inputs of a program in order, and the shapes of its outputs."""
    source = pack.source(job)
    shapes = {name: source[name].type.shape for name in source.outputs}
    return list(random_inputs(source, SEED).values()), shapes
