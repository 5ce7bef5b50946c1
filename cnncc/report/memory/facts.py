"""What `cnncc memory` knows about an arena."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class MemoryBlock:
    """Bytes [offset, offset + bytes) of the arena from step `first` to step `last`, inclusive."""

    kind: Literal["activation", "workspace", "scratch", "counters"]
    name: str
    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Held:
    """Memory of one storage that is in use at a step."""

    name: str
    bytes: int
    role: str
    """reads, writes, in place, or held for the step that reads it next."""


@dataclass(frozen=True)
class MemoryStep:
    """One step: activations alive in the arena, and what its kernels take besides."""

    node: str
    op: str
    activations: int
    workspace: int
    scratch: int

    @property
    def bytes(self) -> int:
        return self.activations + self.workspace + self.scratch


@dataclass(frozen=True)
class MemoryReport:
    """The arena of a compiled network for one image, and what further images add. Bytes throughout; steps are positions
    in the program's graph."""

    name: str
    target: str
    batch: int
    threads: int
    further: int
    """What each further image of a run adds."""
    total: int
    total_bound: int
    activations: int
    bound: int
    workspace: int
    """The most at any step; of scratch and counters, too."""
    scratch: int
    counters: int
    padding: int
    """Of the activations alive at their peak, what rounding channels up to whole blocks takes."""
    reordered: bool
    proven: bool
    """Whether no order of the steps has a smaller bound."""
    steps: tuple[MemoryStep, ...]
    peak: int
    """The step with the most activations alive."""
    held: tuple[Held, ...]
    """At the peak, largest first."""
    largest: int
    """The step with the most of everything."""
    exceeding: tuple[tuple[str, int, str], ...]
    """Kernels that take the arena beyond its share above the activations: node, bytes beyond, why it was chosen."""
    blocks: tuple[MemoryBlock, ...]

    @property
    def gap(self) -> float:
        """By how much activations exceed their bound, as a share of it."""
        return _above(self.activations, self.bound)

    @property
    def total_gap(self) -> float:
        return _above(self.total, self.total_bound)

    @property
    def added(self) -> int:
        """What workspace, scratch and counters take beyond the activations' bytes; the rest of them lies inside."""
        return self.total - self.activations

    @property
    def of_batch(self) -> int:
        """The arena for the most images of a run."""
        return self.total + (self.batch - 1) * self.further

    def to_json(self) -> dict[str, Any]:
        """Plain data for `cnncc memory --json`."""
        plain = asdict(self)
        plain["steps"] = [{**asdict(s), "bytes": s.bytes} for s in self.steps]
        exceeding = [{"node": n, "bytes": b, "why": w} for n, b, w in self.exceeding]
        figures = {"gap": self.gap, "total_gap": self.total_gap, "added": self.added, "of_batch": self.of_batch}
        return {**plain, **figures, "exceeding": exceeding}


def _above(size: int, bound: int) -> float:
    return size / bound - 1 if bound else 0.0
