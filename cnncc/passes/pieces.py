"""Memory in use over time: the pieces of a tensor, and what is alive at each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

Record = tuple[int, int, int]
"""First step, last step (inclusive), size in bytes."""


@dataclass(frozen=True)
class Piece:
    """Bytes [start, stop) of a tensor's memory, which hold something from step `first` to step `last`, inclusive."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.stop - self.start


Shape = tuple[Piece, ...]
"""Memory that is placed as one, but need not be in use as a whole: the arms of a concat are written one by one."""


def stop_of(shape: Shape) -> int:
    """Its bytes, from the start to the end of the last piece."""
    return max((p.stop for p in shape), default=0)


def first_of(shape: Shape) -> int:
    """The first step at which any of it is in use."""
    return min((p.first for p in shape), default=0)


def last_of(shape: Shape) -> int:
    """The last step at which any of it is in use."""
    return max((p.last for p in shape), default=0)


def shape_of(record: Record, align: int = 1) -> Shape:
    """A record as a shape of one piece, its size rounded up to `align` bytes."""
    first, last, size = record
    return (Piece(0, -(-size // align) * align, first, last),)


def live_bound(records: Sequence[Record], align: int = 1) -> int:
    """The largest sum of sizes (rounded up to `align` bytes) alive at one step: no packing needs less."""
    return max(live_bytes([shape_of(r, align) for r in records]).values(), default=0)


def live_bytes(shapes: Sequence[Shape]) -> dict[int, int]:
    """Step -> bytes alive from it on, for each step at which that changes."""
    changes: dict[int, int] = {}
    for piece in (p for shape in shapes for p in shape):
        changes[piece.first] = changes.get(piece.first, 0) + piece.size
        changes[piece.last + 1] = changes.get(piece.last + 1, 0) - piece.size
    live = 0
    return {step: (live := live + changes[step]) for step in sorted(changes)}


def outline(lives: Sequence[Piece], align: int) -> Shape:
    """The memory that values share, as pieces of whole units of `align` bytes that do not overlap: each is in use from
    the first write into any byte of it to the last read. Bytes that no value needs are left out."""
    rounded = [(p.start // align * align, -(-p.stop // align) * align, p.first, p.last) for p in lives]
    edges = sorted({edge for start, stop, _, _ in rounded for edge in (start, stop)})
    pieces: list[Piece] = []
    for start, stop in pairwise(edges):
        over = [(first, last) for a, b, first, last in rounded if a <= start and stop <= b]
        if over:
            pieces.append(Piece(start, stop, min(first for first, _ in over), max(last for _, last in over)))
    return tuple(_joined(pieces))


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Neighbours that live equally long as one piece."""
    for (first, last), group in groupby(pieces, key=lambda p: (p.first, p.last)):
        run = list(group)
        cuts = [0, *(i for i in range(1, len(run)) if run[i - 1].stop != run[i].start), len(run)]
        yield from (Piece(run[a].start, run[b - 1].stop, first, last) for a, b in pairwise(cuts))
