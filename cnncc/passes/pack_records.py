"""Offsets for tensors that live at different times, in as little memory as can be found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from cnncc.passes.pieces import Record, Shape, first_of, last_of, live_bytes, shape_of, stop_of

EFFORT = 3_000_000
"""Pairs of tensors looked at before the search gives up: a count, not a clock, so that every run gives the same."""


_FORWARD = 0.7
"""Share of moves towards the start of the order, where the lowest offsets are given."""


_MOST_TURNED = 16
"""Hosts, those that most others must keep clear of, that are tried beneath and on top of all before the search moves
shapes at random: past hundreds of others, no chance would move one that far."""


_ORDERS: tuple[Callable[[Shape], tuple[int, ...]], ...] = (
    lambda s: (-stop_of(s), first_of(s)),  # largest first: "greedy by size"
    lambda s: (-stop_of(s) * (last_of(s) - first_of(s) + 1), first_of(s)),
    lambda s: (first_of(s) - last_of(s), -stop_of(s)),  # longest-lived first
    lambda s: (first_of(s), -stop_of(s)),  # in the order of the program
    lambda s: (-last_of(s), -stop_of(s)),
)


def pack(records: Sequence[Record], align: int = 1) -> tuple[tuple[int, ...], int]:
    """Offsets, multiples of `align`, such that records alive at the same step do not overlap; and the bytes in all."""
    return pack_shapes([shape_of(r, align) for r in records])


def pack_shapes(
    shapes: Sequence[Shape], guests: Sequence[Shape] = (), effort: int = EFFORT
) -> tuple[tuple[int, ...], int]:
    """An offset for each shape, such that pieces alive at the same step do not overlap; and the bytes in all.

    Several greedy orders (Pisarchyk and Lee 2020), then a local search that places what sticks out on top earlier;
    it stops at the live-set bound. Of packings with as many bytes it takes one that leaves `guests` the room to end
    lowest. Deterministic. Offsets are multiples of whatever all pieces start and stop at.
    """
    search = Search(shapes, effort)
    search.greedy()
    search.improve()
    if guests:
        search = search.with_guests(guests)
        search.improve()
    return tuple(search.offsets[: len(shapes)]), search.bytes


class Search:
    """One packing problem: the best order of placing found so far, and the effort left. The first `hosts` of the shapes
    count before the others, guests for which they should leave room."""

    def __init__(self, shapes: Sequence[Shape], effort: int = EFFORT, hosts: int | None = None) -> None:
        self.shapes = shapes
        self.hosts = len(shapes) if hosts is None else hosts
        self.stops = [stop_of(s) for s in shapes]
        self.bound = tuple(max(live_bytes(s).values(), default=0) for s in (shapes[: self.hosts], shapes))
        self.forbidden = _forbidden(shapes)
        self.order: list[int] = []
        self.offsets: list[int] = [0] * len(shapes)
        self.reached = (sum(self.stops) + 1,) * 2
        """Bytes of the hosts, and of all."""
        self.effort = self.most_effort = effort

    @property
    def bytes(self) -> int:
        return self.reached[0]

    def with_guests(self, guests: Sequence[Shape]) -> Search:
        """The same problem, solved as it is or in one of the fixed orders, with guests on top."""
        joint = Search([*self.shapes, *guests], self.most_effort, len(self.shapes))
        joint.attempt([*self.order, *range(len(self.shapes), len(joint.shapes))])
        joint.greedy()
        return joint

    def greedy(self) -> None:
        """The best of the fixed orders, hosts before guests; the first is tried whatever it costs."""
        for key in _ORDERS:
            if self._open():
                self.attempt(sorted(range(len(self.shapes)), key=lambda i: (i >= self.hosts, key(self.shapes[i]))))

    def improve(self) -> None:
        """Move a shape that reaches the top, or one alive with it, and keep what is not worse. Under a guest, which
        lives for a step, it may be a shape alive with one of those that has to make way."""
        self._turn()
        rng = random.Random(0)
        while self._open():
            highest = self.order[rng.choice(self._top())]
            near = {highest, *self._alive_with(highest)}
            if self.reached[0] == self.bound[0]:
                near.update(*map(self._alive_with, near.copy()))
            position = rng.choice([p for p, i in enumerate(self.order) if i in near])
            order = self.order.copy()
            moved = order.pop(position)
            order.insert(rng.randrange((position if rng.random() < _FORWARD else len(order)) + 1), moved)
            self.attempt(order)

    def _turn(self) -> None:
        """Place a shape before, and then after, all hosts. It is what a long chain of small shapes needs that stacks
        above the one that outlives them where beneath would be right."""
        for i in sorted(range(self.hosts), key=lambda i: (-len(self.forbidden[i]), i))[:_MOST_TURNED]:
            for last in (False, True):
                if self._open():
                    order = [j for j in self.order if j != i]
                    after = max((p for p, j in enumerate(order, 1) if j < self.hosts), default=0)
                    order.insert(after if last else 0, i)
                    self.attempt(order)

    def _alive_with(self, shape: int) -> Iterator[int]:
        return (j for j, _, _ in self.forbidden[shape])

    def _open(self) -> bool:
        return self.reached > self.bound and self.effort > 0

    def _top(self) -> list[int]:
        """Positions in the order of the shapes that reach highest: hosts, as long as they could do better."""
        hosts = self.reached[0] > self.bound[0]
        among = [p for p, i in enumerate(self.order) if not hosts or i < self.hosts]
        most = self.reached[0] if hosts else self.reached[1]
        return [p for p in among if self.offsets[self.order[p]] + self.stops[self.order[p]] == most]

    def attempt(self, order: list[int]) -> None:
        """Place in that order, and keep the result if it is not worse."""
        offsets = self._place(order)
        ends = [offset + stop for offset, stop in zip(offsets, self.stops, strict=True)]
        reached = (max(ends[: self.hosts], default=0), max(ends, default=0))
        if reached <= self.reached:
            self.order, self.offsets, self.reached = order, offsets, reached

    def _place(self, order: list[int]) -> list[int]:
        """Each shape in turn at the lowest offset that is free during the life of each of its pieces."""
        offsets = [-1] * len(self.shapes)
        for i in order:
            around = self.forbidden[i]
            self.effort -= len(around) + 1
            offsets[i] = lowest((offsets[j] + low, offsets[j] + high) for j, low, high in around if offsets[j] >= 0)
        return offsets


def lowest(taken: Iterator[tuple[int, int]]) -> int:
    """The least offset of at least 0 inside none of the open intervals."""
    offset = 0
    for low, high in sorted(taken):
        if low >= offset:
            break
        offset = max(offset, high)
    return offset


Forbidden = list[list[tuple[int, int, int]]]
"""For each shape: (another one, low, high), where its offset may not be in the other's offset + (low, high)."""


def _forbidden(shapes: Sequence[Shape]) -> Forbidden:
    result: Forbidden = [[] for _ in shapes]
    alive: list[int] = []
    for i in sorted(range(len(shapes)), key=lambda i: first_of(shapes[i])):
        alive = [j for j in alive if last_of(shapes[j]) >= first_of(shapes[i])]
        for j in alive:
            clashes = sorted(set(_clashes(shapes[i], shapes[j])))
            result[i] += ((j, low, high) for low, high in clashes)
            result[j] += ((i, -high, -low) for low, high in clashes)
        alive.append(i)
    return result


def _clashes(one: Shape, other: Shape) -> Iterator[tuple[int, int]]:
    """Where `one` may not start, seen from the start of `other`: open intervals."""
    for p, q in product(one, other):
        if p.first <= q.last and q.first <= p.last and p.size and q.size:
            yield q.start - p.stop, q.stop - p.start
