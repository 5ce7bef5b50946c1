"""A compiled network: in this process, or as a shared object and its header."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.machines import check_runs_here, targets
from cnncc.module import toolchain
from cnncc.module.built import traced
from cnncc.module.cpu.code import CpuCode
from cnncc.module.cpu.emit import glue_object, kernel_objects
from cnncc.module.cpu.entry import run_ir
from cnncc.module.cpu.glue import steps_ir
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.cpu.variants import Layout, Variant, error_texts
from cnncc.module.cpu.write import write
from cnncc.module.listener import SILENT, Listener
from cnncc.module.names import c_name
from cnncc.module.program import check_indices
from cnncc.runtime.interface import ModelState
from cnncc.runtime.model import EntryPoint, Model

_serial = count()


@dataclass(frozen=True, eq=False)
class Build(CpuCode):
    """A network compiled for processors: for one, or for several that share a module."""

    def model(self, weights: np.ndarray | None = None) -> Model:
        """The network linked into this process, with weights that `weights()` returned, or its own. Of several
        variants it is the first that this machine can run, with its own weights."""
        runs = self._runs_here()
        return runs.models([runs.weights() if weights is None else weights])[0]

    def models(self, copies: Sequence[np.ndarray]) -> list[Model]:
        """This variant linked once, as a model for each of several arrays of weights. CnnccError if this machine
        cannot run it."""
        from cnncc.module.cpu.link import linked  # loads LLVM: a module in files needs none

        check_runs_here(self.program.target)
        serial = next(_serial)
        symbol = f"{c_name(self.program.graph.name)}_steps"
        layout = Layout([Variant(self.program, symbol)], self.program.weight_bytes)
        (variant,) = layout.variants
        steps = (steps_ir(p, s) for p, s in zip(self.program.sizes, variant.symbols, strict=True))
        texts = (*steps, run_ir(layout, standalone=False))
        glue = (glue_object(text, self.program.target) for text in texts)
        address, tracker = linked([*glue, *self.objects], f"{layout.name}_run_with", f"{layout.name}.{serial}")
        run = ctypes.CFUNCTYPE(ctypes.c_int)(address)
        return [self._model(tracker, run, weights) for weights in copies]

    def _runs_here(self) -> Build:
        """The first variant that this machine can run, alone; the last one where there is none."""
        if not self.others:
            return self
        fitting = (variant for variant in self.variants if not variant.program.target.unfit())
        return replace(next(fitting, self.variants[-1]), others=())

    def _model(self, tracker: object, run: Callable[..., int], weights: np.ndarray) -> Model:
        pool = _pool_launch() if self.program.threads > 1 else None
        state = ModelState(weights.ctypes.data)
        texts = {int(code): text for code, text in error_texts(self.program.symbols).items()}
        kept = (tracker, weights, state)
        return Model(self.info, EntryPoint(run, ctypes.addressof(state), texts.__getitem__, kept, pool))

    def trace(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """For a program for a range of sizes, CnnccError."""
        if self.program.symbols:
            what = f"{self.program.source.name} is compiled for a range of sizes, and its values cannot be traced"
            raise CnnccError(what, hint="compile it for the size of the arrays")
        runs = self._runs_here()
        model = runs.model()
        arena = model.new_arena()
        arena[:] = 0xFF  # NaNs: a value nobody wrote shows
        outputs = model.run_in(arena, arrays)
        return traced(runs.program, arena, outputs)

    def write(self, files: Mapping[str, Path]) -> dict[str, Path]:
        return write(self, files)


@cache
def _pool_launch() -> int:
    """Address of the launch function of the process-wide pool. Its library is never closed: its threads live in it."""
    path = toolchain.pool_library(targets.host())
    library = ctypes.CDLL(str(path))
    path.unlink()
    address = ctypes.cast(library.cnncc_pool_launch, ctypes.c_void_p).value
    assert address is not None
    return address


def build_program(program: CpuProgram, listener: Listener = SILENT) -> Build:
    """Compiles what the cache does not have. CnnccError for arrays that kernels cannot index."""
    return build_programs([program], listener)


def build_programs(programs: Sequence[CpuProgram], listener: Listener = SILENT) -> Build:
    """As `build_program`, of a network lowered for one target, or for several that share a module, best first."""
    first, *others = [_build(program, listener) for program in programs]
    return replace(first, others=tuple(others))


def _build(program: CpuProgram, listener: Listener) -> Build:
    for one in program.sizes:
        check_indices(one)
    bodies = kernel_objects(program.kernels, program.target, listener.progress, program.layers)
    return Build(program, bodies, progress=listener.progress)
