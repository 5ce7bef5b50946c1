"""What would make an arena smaller: each line is computed by planning again, or from the steps themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cnncc.module.cpu.program import CpuProgram
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.report.memory.facts import MemoryReport

WORTH = 0.99
"""Of the arena, above which what would be left is no news."""


def hints(program: CpuProgram, facts: MemoryReport) -> list[str]:
    """One sentence for each thing that would help, with the bytes it would leave."""
    return [*_options(program, facts), *_tensors(facts), *_padding(facts)]


def _options(program: CpuProgram, facts: MemoryReport) -> Iterator[str]:
    """Options of the compiler that lower the arena as a whole."""
    worth, now = WORTH * facts.total, program.options
    if program.threads > 1 and (left := _planned(program, replace(now, threads=1))) < worth:
        yield f"--threads 1: an arena of {mebibytes(left)}, since each thread has scratch of its own"
    if now.max_error and not now.tuned and (left := _planned(program, replace(now, max_error=0.0))) < worth:
        yield f"--max-error 0: an arena of {mebibytes(left)}, without algorithms that round more, at the cost of time"


def _planned(program: CpuProgram, options: Options) -> int:
    """Bytes of the arena for one image with other options."""
    return lower(program.source, program.target, options).memory.bytes


def _tensors(facts: MemoryReport) -> Iterator[str]:
    """What at the peak is not used there, and how much the step itself weighs."""
    peak = facts.steps[facts.peak]
    others = [s.activations for i, s in enumerate(facts.steps) if i != facts.peak]
    next_most = max(others, default=0)
    for held in facts.held:
        left = max(peak.activations - held.bytes, next_most)
        if held.role.startswith("held") and left < WORTH * facts.activations:
            later = held.role.removeprefix("held for ")
            waits = f"{held.name} ({mebibytes(held.bytes)}) waits at {peak.node} for {later}"
            yield f"{waits}; without it there, activations would fit in {mebibytes(left)}"
    if next_most < WORTH * facts.activations:
        yield f"only {peak.node} ({peak.op}) needs so much: the next largest step needs {mebibytes(next_most)}"


def _padding(facts: MemoryReport) -> Iterator[str]:
    if facts.padding > (1 - WORTH) * facts.activations:
        yield f"channel counts that fill whole blocks: {mebibytes(facts.padding)} of the peak are padding"


@dataclass(frozen=True)
class Unit:
    """One unit for all figures of a page."""

    name: str
    bytes: int

    @classmethod
    def of(cls, most: float) -> Unit:
        """The unit in which the largest figure is at least a tenth."""
        names = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
        return next((cls(name, size) for name, size in names if most >= size / 10), cls("bytes", 1))

    def text(self, count: float) -> str:
        """Bytes for people, in this unit."""
        return f"{count / self.bytes:,.{0 if self.bytes == 1 else 3}f} {self.name}"

    def ticks(self, most: float) -> list[float]:
        """Bytes from 0 to `most`, at most six, at round numbers of the unit."""
        rough = most / self.bytes / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        return [i * step * self.bytes for i in range(int(most / self.bytes / step) + 1)]

    def tick(self, count: float) -> str:
        """The label of a tick."""
        return f"{round(count / self.bytes, 6):g} {self.name}" if count else "0"


def mebibytes(count: float) -> str:
    """Bytes for people: in KiB below a tenth of a MiB."""
    return f"{count / 2**20:.3f} MiB" if count >= 2**20 / 10 else f"{count / 2**10:.2f} KiB"
