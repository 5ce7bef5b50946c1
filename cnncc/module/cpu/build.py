"""A compiled network: in this process, or as a shared object and its header."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from cnncc.machines import targets
from cnncc.module import describe, toolchain
from cnncc.module.cpu.emit import Progress, kernel_objects, machine_of, parse_glue
from cnncc.module.cpu.entry import run_ir
from cnncc.module.cpu.glue import steps_ir
from cnncc.module.cpu.variants import Layout, Variant
from cnncc.module.keys import tvm_llvm_version
from cnncc.module.layout import from_stored
from cnncc.module.names import c_name
from cnncc.module.packing import Packing
from cnncc.module.program import Arena, Program, arena_of, check_indices
from cnncc.plan.homes import Home, InArena, InOutput
from cnncc.runtime.interface import ALIGN, TEXTS, ModelState
from cnncc.runtime.model import EntryPoint, Model

_serial = count()


@dataclass(frozen=True, eq=False)
class Build:
    """A program with the machine code of its kernels."""

    program: Program
    objects: Sequence[bytes]
    progress: Progress | None = None
    origin: Mapping[str, Any] | None = None
    """What the network and its weights were called, as `cnncc.frontends.sources.read_bound` takes them."""
    notes: Sequence[str] = ()
    """What whoever runs the module should know of the network."""
    weights_from: str = ""
    """The file the weights are from, or `random (seed 0)`."""

    @property
    def arena(self) -> Arena:
        return arena_of(self.program)

    @property
    def kernels(self) -> list[tuple[str, str, str]]:
        """(node, kernel, why) of every call."""
        return list(describe.kernels(self.program))

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the module says of itself."""
        p = self.program
        return {
            **describe.network(p),
            "memory": {
                **asdict(self.arena),
                "arena_bytes": p.arena_bytes,
                "arena_align": ALIGN,
                "weight_bytes": p.weight_bytes,
            },
            "weights_dtype": p.weights_dtype,
            "threads": p.threads,
            "target": {k: v for k, v in asdict(p.target).items() if k in ("name", "triple", "cpu", "requires", "isa")},
            "flags": {
                "batch": p.source.inputs[0].type.shape[0],
                "threads": p.threads,
                "max_error": p.max_error,
                "weights_dtype": p.weights_dtype,
                "tuned": p.tuned,
            },
            "compiler": describe.compiler(
                llvmlite=version("llvmlite"),
                llvm=f"{tvm_llvm_version()} (kernels), {'.'.join(map(str, llvm.llvm_version_info))} (glue)",
            ),
            **({"origin": dict(self.origin)} if self.origin else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

    def weights(self) -> np.ndarray:
        """All packed weights in one aligned array of bytes."""
        raw = np.zeros(self.program.weight_bytes + ALIGN, np.uint8)
        start = -raw.ctypes.data % ALIGN
        array = raw[start : start + self.program.weight_bytes]
        for i, (offset, packed) in enumerate(Packing(self.program.weights), start=1):
            array[offset : offset + packed.nbytes] = packed.view(np.uint8)
            self._tell("packing weights", i)
        return array

    def _tell(self, what: str, done: int) -> None:
        if self.progress is not None:
            self.progress(what, done, len(self.program.weights))

    def model(self, weights: np.ndarray | None = None) -> Model:
        """The network linked into this process, with weights that `weights()` returned, or its own."""
        return self.models([self.weights() if weights is None else weights])[0]

    def models(self, copies: Sequence[np.ndarray]) -> list[Model]:
        """The network linked once, as a model for each of several arrays of weights. CnnccError if this machine cannot
        run it."""
        targets.check_runs_here(self.program.target)
        serial = next(_serial)
        symbol = f"{c_name(self.program.graph.name)}_steps"
        layout = Layout([Variant(self.program, symbol)], self.program.weight_bytes)
        library = llvm.JITLibraryBuilder()
        for text in (steps_ir(self.program, symbol), run_ir(layout, standalone=False)):
            library = library.add_ir(parse_glue(text, self.program.target))
        for body in self.objects:
            library = library.add_object_img(body)
        name = f"{layout.name}_run_with"
        tracker = library.export_symbol(name).add_current_process().link(_jit(), f"{layout.name}.{serial}")
        run = ctypes.CFUNCTYPE(ctypes.c_int)(tracker[name])
        return [self._model(tracker, run, weights) for weights in copies]

    def _model(self, tracker: object, run: Callable[..., int], weights: np.ndarray) -> Model:
        pool = _pool_launch() if self.program.threads > 1 else None
        state = ModelState(weights.ctypes.data)
        texts = {int(code): text for code, text in TEXTS.items()}
        kept = (tracker, weights, state)
        return Model(self.info, EntryPoint(run, ctypes.addressof(state), texts.__getitem__, kept, pool))

    def write_weights(self, write: Callable[[bytes | memoryview], object], packing: Packing | None = None) -> None:
        """Hands over all packed weights, piece by piece from first to last, with zeros between them. `packing` is of
        these weights, if it has begun."""
        if packing is None:
            packing = Packing(self.program.weights)
        at = 0
        for i, (offset, packed) in enumerate(packing, start=1):
            write(bytes(offset - at))
            write(packed.view(np.uint8).data)
            at = offset + packed.nbytes
            self._tell("writing weights", i)

    def trace(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Runs in-process and returns every value that survives the passes, by name, in NCHW. Only for a program
        made with `keep_all`; otherwise values overwrite each other."""
        model = self.model()
        arena = model.new_arena()
        arena[:] = 0xFF  # NaNs: a value nobody wrote shows
        outputs = model.run_in(arena, arrays)
        buffers: dict[Home, np.ndarray] = {InOutput(i): o.reshape(-1).view(np.uint8) for i, o in enumerate(outputs)}
        values = {}
        names = self.program.source_names
        for node in self.program.graph.nodes:
            slot = self.program.plan.slots[node.name]
            buffer = arena if isinstance(slot.home, InArena) else buffers.get(slot.home)
            if buffer is None:
                continue
            size = node.type.nbytes // node.type.shape[0]
            starts = [slot.offset + slot.inner + i * slot.image_stride for i in range(node.type.shape[0])]
            stored = np.concatenate([buffer[s : s + size] for s in starts]).view(np.float32)
            values[names.get(node.name, node.name)] = from_stored(stored, node.type)
        return values

    def write_shared(self, path: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Writes the shared object, weights inside, and its header beside it. Returns their paths."""
        written = self.write({"so": Path(path), "h": Path(path).with_suffix(".h")})
        return written["so"], written["h"]

    def write(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Writes files of any kind (see `cnncc.module.roles`), all whole or none. Returns their paths."""
        from cnncc.module.cpu.write import write

        return write([self], files)


@cache
def _jit() -> llvm.LLJIT:
    """One ORC JIT for the process, for code of this machine."""
    return llvm.create_lljit_compiler(machine_of(targets.host()), use_jit_link=True)


@cache
def _pool_launch() -> int:
    """Address of the launch function of the process-wide pool. Its library is never closed: its threads live in it."""
    path = toolchain.pool_library(targets.host())
    library = ctypes.CDLL(str(path))
    path.unlink()
    address = ctypes.cast(library.cnncc_pool_launch, ctypes.c_void_p).value
    assert address is not None
    return address


def build_program(program: Program, progress: Progress | None = None) -> Build:
    """Compiles what the cache does not have. CnnccError for arrays that kernels cannot index."""
    check_indices(program)
    return Build(program, kernel_objects(program.kernels, program.target, progress, program.layers), progress)
