"""The model of time refitted to what was measured: constants of a target file, and a diff of that file."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.kernels.gpu.model import START_CYCLES
from cnncc.kernels.gpu.spec import GpuKernel
from cnncc.machines.gpus import Gpu
from cnncc.module.gpu.program import kernel_of
from gpu.packed import Pack

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)
FITTED = ("tensor_fma_per_cycle", "fma_per_cycle", "l2_gbytes_per_second", "memory_gbytes_per_second")
"""What no ceiling tells: how much of it the kernels get."""
LEAST_LAUNCH = 0.1
ROUNDS = 3
TOLD = ("multiprocessors", "l2_bytes", "shared_bytes_per_multiprocessor", "registers_per_multiprocessor",
        "threads_per_multiprocessor", "blocks_per_multiprocessor")  # fmt: skip
"""What the driver says."""


@dataclass(frozen=True)
class Sample:
    """A kernel that was measured; seconds."""

    kernel: GpuKernel
    registers: int
    shared_bytes: int
    measured: float

    def ratio(self, gpu: Gpu) -> float:
        """Predicted by measured time, as a logarithm."""
        predicted = self.kernel.estimate(gpu, self.registers, self.shared_bytes).seconds
        return math.log(predicted / self.measured)


def samples(pack: Pack, times: Mapping[str, Mapping[str, Any]]) -> list[Sample]:
    """Of all kernels of the phase `times` that take more than an event can tell."""
    found = []
    for job in pack.plan.times:
        rows = times.get(job.key, {}).get("kernels", [])
        if not rows:
            continue
        resources = pack.entry(job)["resources"]
        for call, row in zip(pack.program(job).calls, rows, strict=True):
            kernel, taken = kernel_of(call), resources[call.kernel.symbol]
            if row["measured_us"] > 1:
                measured = 1e-6 * row["measured_us"]
                found.append(Sample(kernel, taken["registers"], taken["shared_bytes"], measured))
    return found


def error(gpu: Gpu, measured: Sequence[Sample]) -> float:
    """How far predictions are off, as a factor: the mean of logarithms, without the quarter that is off most."""
    off = np.sort(np.abs([sample.ratio(gpu) for sample in measured]))
    return float(np.exp(off[: max(1, 3 * len(off) // 4)].mean()))


def fitted(gpu: Gpu, measured: Sequence[Sample], result: Mapping[str, Any]) -> Gpu:
    """The GPU with what the driver tells, the measured gap between kernels, and the rates with which the model comes
    nearest to the measured times."""
    phases = result["phases"]
    machine = phases.get("versions", {}).get("items", {}).get("machine", {})
    found = replace(gpu, **{name: machine[name] for name in TOLD if name in machine})
    node = phases.get("ceilings", {}).get("items", {}).get("graph_node", {}).get("microseconds")
    if node:  # it has the start of a block in it, which the model counts as part of the kernel
        found = replace(found, launch_microseconds=round(max(LEAST_LAUNCH, node - START_CYCLES / gpu.clock_mhz), 2))
    for _ in range(ROUNDS if measured else 0):
        for name in FITTED:
            found = min(_scaled(found, name), key=lambda candidate: error(candidate, measured))
    return found


def _scaled(gpu: Gpu, name: str) -> Iterable[Gpu]:
    """The GPU with a rate changed by each factor."""
    value = getattr(gpu, name)
    kind = type(value)
    return [replace(gpu, **{name: max(kind(1), kind(round(value * factor)))}) for factor in sorted(FACTORS, key=_size)]


def _size(factor: float) -> float:
    """Of equally good ones, `min` takes the first: that which changes least."""
    return abs(math.log(factor))


def diff(pack: Pack, gpu: Gpu) -> str:
    """From the file of the target to that of another GPU, to be applied at the root of the repository."""
    path = f"targets/{pack.target}.toml"
    before = (Path(pack.root) / path).read_text()
    after = before
    for name in (*TOLD, *FITTED, "launch_microseconds"):
        old, new = getattr(pack.gpu, name), getattr(gpu, name)
        if old != new:
            after = re.sub(rf"^{name} = .*$", f"{name} = {new}", after, flags=re.MULTILINE)
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}")
    return "".join(lines)
