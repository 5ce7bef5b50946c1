"""How the blocks of a picked image are made, and which of them alike: those share their code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cnncc.kernels.cpu.pick import KEPT, ZERO, PickConfig

MOST_VECTORS = 4
"""A vector of the result whose channels lie in more vectors than these is moved number by number: each further one
takes a shuffle of two vectors, three instructions without AVX-512."""

LONGEST = 4
"""Blocks in a row that are tried as a pattern."""


class Read(NamedTuple):
    """What is read: the first of the channels, of a source, ZERO or, behind the sources, the result. In a pattern that
    comes again it is `step` channels further on each time."""

    source: int
    channel: int
    step: int = 0


@dataclass(frozen=True)
class Move:
    """How a vector of the result is made: of vectors, each lane given as (vector, lane), or, without lanes, number by
    number."""

    reads: tuple[Read, ...]
    lanes: tuple[tuple[int, int], ...]


Block = tuple[Move | None, ...]
"""The vectors of one block of the result; None for one that lies there already."""


@dataclass(frozen=True)
class Repeat:
    """A pattern of blocks of the result, from the block `first` on, that comes so many times in a row."""

    first: int
    pattern: tuple[Block, ...]
    times: int

    @property
    def length(self) -> int:
        return len(self.pattern) * self.times


def repeats(c: PickConfig) -> Iterator[Repeat]:
    """All blocks of the result in order."""
    blocks = [tuple(_move(c, at + i) for i in range(0, c.block, c.lanes)) for at in range(0, len(c.places), c.block)]
    first = 0
    while first < len(blocks):
        found = [_repeat(c, blocks, first, size) for size in range(1, min(LONGEST, len(blocks) - first) + 1)]
        again = [repeat for repeat in found if repeat.times > 1]
        best = max(again, key=lambda repeat: repeat.length, default=found[0])  # of equals, the shortest pattern
        yield best
        first += best.length


def _repeat(c: PickConfig, blocks: Sequence[Block], first: int, size: int) -> Repeat:
    """The pattern of so many blocks, as often as it comes."""
    starts = range(first, len(blocks) - size + 1, size)
    turns = [blocks[start : start + size] for start in starts]
    steps = _steps(turns[0], turns[1]) if len(turns) > 1 else None
    if steps is None or any(step % c.block for step in steps):
        return Repeat(first, tuple(turns[0]), 1)
    times = 2
    while times < len(turns) and _steps(turns[times - 1], turns[times]) == steps:
        times += 1
    each = iter(steps)
    pattern = tuple(tuple(move and _stepped(move, each) for move in block) for block in turns[0])
    return Repeat(first, pattern, times)


def _stepped(move: Move, steps: Iterator[int]) -> Move:
    return replace(move, reads=tuple(read._replace(step=next(steps)) for read in move.reads))


def _steps(some: Sequence[Block], others: Sequence[Block]) -> list[int] | None:
    """How many channels further on other blocks read, for each read; None if they are not made alike."""
    steps = []
    for move, other in zip(sum(some, ()), sum(others, ()), strict=True):
        if _kind(move) != _kind(other):
            return None
        if move and other:
            steps += [there.channel - here.channel for here, there in zip(move.reads, other.reads, strict=True)]
    return steps


def _kind(move: Move | None) -> object:
    """What code a vector takes, but for the channels."""
    return move and (move.lanes, [read.source for read in move.reads])


def _move(c: PickConfig, at: int) -> Move | None:
    """How the vector of the result is made that begins at a channel."""
    places = c.places[at : at + c.lanes]
    if all(source == KEPT for source, _ in places):
        return None
    numbers = [Read(len(c.sources) if source == KEPT else source, channel) for source, channel in places]
    vectors = list(dict.fromkeys(_vector(c, number) for number in numbers))
    if len(vectors) > MOST_VECTORS:
        return Move(tuple(numbers), ())
    return Move(tuple(vectors), tuple((vectors.index(_vector(c, n)), n.channel % c.lanes) for n in numbers))


def _vector(c: PickConfig, number: Read) -> Read:
    return Read(ZERO, 0) if number.source == ZERO else Read(number.source, number.channel // c.lanes * c.lanes)
