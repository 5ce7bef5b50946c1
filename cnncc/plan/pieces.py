"""Memory in use over time: the pieces of a tensor, and what is alive at each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import groupby, pairwise

Record = tuple[int, int, int]
"""First step, last step (inclusive), size in bytes."""


@dataclass(frozen=True)
class Piece:
    """Bytes [start, stop) of a tensor's memory, which are in use from step `first` to step `last`, inclusive."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.stop - self.start


Outline = tuple[Piece, ...]
"""Memory that gets one offset. Its pieces may be in use at different times: the arms of a concat are written one by
one."""


def stop_of(outline: Outline) -> int:
    """Its bytes, from the start to the end of the last piece."""
    return max((p.stop for p in outline), default=0)


def first_of(outline: Outline) -> int:
    """The first step at which any of it is in use."""
    return min((p.first for p in outline), default=0)


def last_of(outline: Outline) -> int:
    """The last step at which any of it is in use."""
    return max((p.last for p in outline), default=0)


def outline_of(record: Record, align: int = 1) -> Outline:
    """A record as an outline of one piece, its size rounded up to `align` bytes."""
    first, last, size = record
    return (Piece(0, -(-size // align) * align, first, last),)


def live_bytes(outlines: Sequence[Outline]) -> dict[int, int]:
    """Step -> bytes alive from that step on. Only steps at which the number changes are keys."""
    changes: dict[int, int] = {}
    for piece in (p for outline in outlines for p in outline):
        changes[piece.first] = changes.get(piece.first, 0) + piece.size
        changes[piece.last + 1] = changes.get(piece.last + 1, 0) - piece.size
    live = 0
    return {step: (live := live + changes[step]) for step in sorted(changes)}


def alive_at(outlines: Sequence[Outline], steps: int) -> list[int]:
    """Bytes alive at each of the first `steps` steps."""
    changes, live = live_bytes(outlines), 0
    return [live := changes.get(step, live) for step in range(steps)]


def outlined(lives: Sequence[Piece], align: int) -> Outline:
    """The memory that values share, as pieces that do not overlap. Pieces start and stop at multiples of `align` bytes.
    Each is in use from the first write into any of its bytes to the last read of any. Bytes that no value needs are
    left out."""
    rounded = [Piece(p.start // align * align, -(-p.stop // align) * align, p.first, p.last) for p in lives]
    edges = sorted({edge for p in rounded for edge in (p.start, p.stop)})
    waiting = sorted(rounded, key=lambda p: p.start, reverse=True)
    earliest: list[tuple[int, int]] = []
    latest: list[tuple[int, int]] = []
    pieces: list[Piece] = []
    for start, stop in pairwise(edges):
        while waiting and waiting[-1].start <= start:
            piece = waiting.pop()
            heappush(earliest, (piece.first, piece.stop))
            heappush(latest, (-piece.last, piece.stop))
        for heap in (earliest, latest):
            while heap and heap[0][1] <= start:
                heappop(heap)
        if earliest:
            pieces.append(Piece(start, stop, earliest[0][0], -latest[0][0]))
    return tuple(_joined(pieces))


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The pieces, with neighbours that have the same first and last step joined to one."""
    for (first, last), group in groupby(pieces, key=lambda p: (p.first, p.last)):
        run = list(group)
        cuts = [0, *(i for i in range(1, len(run)) if run[i - 1].stop != run[i].start), len(run)]
        yield from (Piece(run[a].start, run[b - 1].stop, first, last) for a, b in pairwise(cuts))


def joined(outline: Outline, most: int) -> Outline:
    """The outline with at most `most` pieces. Neighbours are joined to one piece, which includes the bytes between them
    and lives as long as any of them."""
    if len(outline) <= most:
        return outline
    ordered = sorted(outline, key=lambda p: p.start)
    each = -(-len(outline) // most)
    runs = (ordered[at : at + each] for at in range(0, len(ordered), each))
    return tuple(Piece(r[0].start, max(p.stop for p in r), first_of(tuple(r)), last_of(tuple(r))) for r in runs)
