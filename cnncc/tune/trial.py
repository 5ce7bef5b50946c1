"""A candidate that runs: linked into this process, its time taken from the stamps around the layer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from cnncc.base.elements import ELEMENTS, drawn
from cnncc.base.errors import CnnccError
from cnncc.kernels.cpu.algorithms import find
from cnncc.kernels.shared.choices import KernelChoice
from cnncc.machines.targets import Target
from cnncc.module.cpu.build import Build
from cnncc.module.cpu.emit import kernel_objects
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.listener import Progress
from cnncc.runtime import cpu
from cnncc.runtime.interface import ALIGN
from cnncc.runtime.model import Model
from cnncc.tune.layers import NAME, Layer, Setting, layer_program

RUNS = 5
"""Of one round; the median counts."""

MOST_WEIGHTS = 1 << 29
"""Bytes of all copies of a trial's weights."""


def require_processor(target: Target) -> None:
    """CnnccError if this processor cannot run code for the target, so that nothing could be measured."""
    lacking = cpu.missing(target.requires)
    if lacking:
        hint = "measure on the machine that will run the module"
        raise CnnccError(f"target {target.name}: cannot measure, this processor lacks {', '.join(lacking)}", hint=hint)


class Trial:
    """One candidate of a layer. Successive runs read successive copies of the weights, as those of other layers come
    between in a network: together larger than the last cache, or than the second ones if weights stay in the last."""

    def __init__(self, choice: KernelChoice, build: Build, weights: np.ndarray, weights_stay: bool = False) -> None:
        self.choice = choice
        program = build.program
        target = program.target
        outgrown = target.cores * target.l2_bytes if weights_stay else target.l3_bytes
        self.models: list[Model] = build.models([weights, *_copies(weights, outgrown)])
        self._arena = self.models[0].new_arena()
        self._stamps = self._arena[program.stamps_offset :][: 8 * (len(program.calls) + 1)].view(np.uint64)
        self._steps = [i for i, call in enumerate(program.calls) if call.node == NAME]
        rng = np.random.default_rng(0)
        self._inputs = [drawn(rng, p.shape, ELEMENTS[p.dtype]) for p in self.models[0].inputs]
        self._runs = 0
        self.result = self._run()
        self._origin = (time.perf_counter(), int(self._stamps[-1]))

    def _run(self) -> np.ndarray:
        model = self.models[self._runs % len(self.models)]
        self._runs += 1
        return model.run_in(self._arena, self._inputs)[0]

    def round(self) -> float:
        """Median seconds of the layer over a few runs, the first of which only warms up."""
        taken = []
        for _ in range(RUNS + 1):
            self._run()
            taken.append(sum(int(self._stamps[i + 1]) - int(self._stamps[i]) for i in self._steps))
        then, stamp = self._origin
        # The counter's rate over the life of the trial: what surrounds the stamps is nothing in so long a time.
        rate = (int(self._stamps[-1]) - stamp) / (time.perf_counter() - then)
        return statistics.median(taken[1:]) / rate

    def agrees(self, other: Trial, max_error: float) -> bool:
        """Whether both computed the same from the same input and weights, but for what rounding may differ."""
        difference = float(np.abs(self.result - other.result).max())
        return difference <= 2 * max(max_error, 1e-5) * float(np.abs(other.result).max())


def _copies(weights: np.ndarray, cache_bytes: int) -> list[np.ndarray]:
    """As many more as it takes to fill a cache one and a half times, in one piece as a network's weights are:
    the system may give a large piece larger pages, which makes reading it cheaper."""
    count = max(1, min(min(3 * cache_bytes // 2, MOST_WEIGHTS) // max(weights.nbytes, 1), 1000))
    step = -(-weights.nbytes // ALIGN) * ALIGN
    raw = np.empty(count * step + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    made = [raw[at : at + weights.nbytes] for at in range(start, start + count * step, step)]
    for copy in made:
        copy[:] = weights.view(np.uint8)
    return made


class Maker:
    """Makes the trials of one layer: compiles together, on all cores, links one by one. Candidates that read their
    weights in the same order share them."""

    def __init__(self, layer: Layer, setting: Setting, progress: Progress | None = None) -> None:
        self.layer = layer
        self.setting = setting
        self.progress = progress
        self._weights: dict[Hashable, np.ndarray] = {}

    def __call__(self, choices: Sequence[KernelChoice]) -> Iterator[Trial]:
        programs = [layer_program(self.layer.key, choice, self.setting) for choice in choices]
        kernels = tuple(dict.fromkeys(k for p in programs for k in p.kernels))
        bodies = kernel_objects(kernels, self.setting.target, self.progress)
        objects = dict(zip(kernels, bodies, strict=True))
        for choice, program in zip(choices, programs, strict=True):
            build = Build(program, [objects[k] for k in program.kernels])
            yield Trial(choice, build, self._packed(build), self.setting.weights_stay)

    def _packed(self, build: Build) -> np.ndarray:
        order = _order(build.program)
        if order not in self._weights:
            self._weights[order] = build.weights()
        return self._weights[order]


def _order(program: CpuProgram) -> tuple[str, Hashable]:
    """What decides the order of the packed weights."""
    selection = program.selections[NAME]
    assert selection.choice is not None, "a layer that is tuned was chosen"
    name = selection.choice.algorithm
    return name, find(name).weight_order(selection.calls[-1])
