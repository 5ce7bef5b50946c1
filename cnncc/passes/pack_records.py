"""Offsets for tensors that live at different times, in as little memory as can be found."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Record = tuple[int, int, int]
"""First step, last step (inclusive), size in bytes."""

_EFFORT = 3_000_000
"""Pairs of tensors looked at before the search gives up: a count, not a clock, so that every run gives the same."""

_ORDERS: tuple[Callable[[Record], tuple[int, ...]], ...] = (
    lambda r: (-r[2], r[0]),  # largest first: "greedy by size"
    lambda r: (-r[2] * (r[1] - r[0] + 1), r[0]),
    lambda r: (-(r[1] - r[0]), -r[2]),  # longest-lived first
    lambda r: (r[0], -r[2]),  # in the order of the program
    lambda r: (-r[1], -r[2]),
)


def live_bound(records: Sequence[Record], align: int = 1) -> int:
    """The largest sum of sizes (rounded up to `align` bytes) alive at one step: no packing needs less."""
    changes: dict[int, int] = {}
    for first, last, size in records:
        changes[first] = changes.get(first, 0) + _aligned(size, align)
        changes[last + 1] = changes.get(last + 1, 0) - _aligned(size, align)
    most = live = 0
    for step in sorted(changes):
        live += changes[step]
        most = max(most, live)
    return most


def pack(records: Sequence[Record], align: int = 1) -> tuple[tuple[int, ...], int]:
    """Offsets, multiples of `align`, such that records alive at the same step do not overlap; and the bytes in all.

    Several greedy orders (Pisarchyk and Lee 2020), then a local search that places what sticks out on top earlier;
    it stops at the live-set bound. Deterministic.
    """
    search = Search([(first, last, _aligned(size, align)) for first, last, size in records])
    search.greedy()
    search.improve()
    return tuple(search.offsets), search.bytes


def _aligned(size: int, align: int) -> int:
    return -(-size // align) * align


class Search:
    """One packing problem: the best order of placing found so far, and the effort left."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.bound = live_bound(records)
        self.neighbours = _overlaps(records)
        self.order: list[int] = []
        self.offsets: list[int] = [0] * len(records)
        self.bytes = sum(size for _, _, size in records) + 1
        self.effort = _EFFORT

    def greedy(self) -> None:
        """The best of the fixed orders; the first is tried whatever it costs."""
        for key in _ORDERS:
            if self.bytes > self.bound and self.effort > 0:
                self.attempt(sorted(range(len(self.records)), key=lambda i: key(self.records[i])))

    def improve(self) -> None:
        """Move a record that reaches the top (or, now and then, any one) forward, and keep what is not worse."""
        rng = random.Random(0)
        while self.bytes > self.bound and self.effort > 0:
            top = [p for p, i in enumerate(self.order) if self.offsets[i] + self.records[i][2] == self.bytes]
            position = rng.choice(top) if rng.random() < 0.8 else rng.randrange(len(self.order))
            order = self.order.copy()
            moved = order.pop(position)
            order.insert(rng.randrange(position + 1), moved)
            self.attempt(order)

    def attempt(self, order: list[int]) -> None:
        """Place in that order, and keep the result if it is not worse."""
        offsets, total = self._place(order)
        if total <= self.bytes:
            self.order, self.offsets, self.bytes = order, offsets, total

    def _place(self, order: list[int]) -> tuple[list[int], int]:
        """Each record in turn at the lowest offset that is free during its whole life."""
        offsets = [-1] * len(self.records)
        total = 0
        for i in order:
            size = self.records[i][2]
            around = self.neighbours[i]
            self.effort -= len(around) + 1
            taken = sorted((offsets[j], offsets[j] + self.records[j][2]) for j in around if offsets[j] >= 0)
            offset = 0
            for start, end in taken:
                if start - offset >= size:
                    break
                offset = max(offset, end)
            offsets[i] = offset
            total = max(total, offset + size)
        return offsets, total


def _overlaps(records: list[Record]) -> list[list[int]]:
    """For each record, those alive at a step at which it is alive."""
    result: list[list[int]] = [[] for _ in records]
    alive: list[int] = []
    for i in sorted(range(len(records)), key=lambda i: records[i][0]):
        alive = [j for j in alive if records[j][1] >= records[i][0]]
        for j in alive:
            result[i].append(j)
            result[j].append(i)
        alive.append(i)
    return result
