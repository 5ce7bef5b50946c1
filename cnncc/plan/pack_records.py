"""Offsets for tensors that live at different times, in as little memory as can be found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product

from cnncc.plan.pieces import Record, Shape, first_of, joined, last_of, live_bytes, shape_of, stop_of
from cnncc.plan.stack_records import stack

EFFORT = 3_000_000
"""Pairs of tensors looked at before the search gives up: a count, not a clock, so that every run gives the same."""

_MOST_CLASHES = 300_000
"""Pairs of pieces, alive at the same time, that are listed: some 100 MB. Where there are more, pieces are joined."""

_COARSER = (400, 40, 4, 1)
"""To how many pieces a shape is joined, one after the other, until the pairs are few enough."""

_MOST_ATTEMPTS = 2000
"""Orders of placing that are tried at most, however small the network."""

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
    lowest. Where thousands are alive at the same time, they are placed in one of the orders, without regard to guests.
    Deterministic. Offsets are multiples of whatever all pieces start and stop at.
    """
    fitting = _manageable(shapes)
    if fitting is None:
        return _stacked(shapes, effort)
    order, offsets, total = _searched(fitting, effort)
    if guests and clashes([*fitting, *guests]) <= _MOST_CLASHES:
        search = with_guests(fitting, order, guests, effort)
        search.improve()
        offsets, total = tuple(search.offsets[: len(shapes)]), search.bytes
    return offsets, total


@lru_cache(maxsize=4)
def _searched(shapes: tuple[Shape, ...], effort: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Order of placing, offsets and bytes; kept, since a plan without guests mostly precedes one with them."""
    search = PackSearch(shapes, effort)
    search.greedy()
    search.improve()
    return tuple(search.order), tuple(search.offsets), search.bytes


def with_guests(shapes: Sequence[Shape], order: Sequence[int], guests: Sequence[Shape], effort: int) -> PackSearch:
    """Shapes placed in a given order or in one of the fixed ones, with guests on top."""
    joint = PackSearch([*shapes, *guests], effort, len(shapes))
    joint.attempt([*order, *range(len(shapes), len(joint.shapes))])
    joint.greedy()
    return joint


def _manageable(shapes: Sequence[Shape]) -> tuple[Shape, ...] | None:
    """The shapes with pieces so few that what clashes can be listed; None if even whole shapes are too many."""
    if clashes(shapes) <= _MOST_CLASHES:
        return tuple(shapes)
    for most in _COARSER:
        coarse = tuple(joined(s, most) for s in shapes)
        if clashes(coarse) <= _MOST_CLASHES:
            return coarse
    return None


def clashes(shapes: Sequence[Shape]) -> int:
    """How many pairs of pieces of different shapes there are at most that are alive at the same step: as if all pieces
    of a shape lived as long as it does."""
    changes = [(first_of(s), len(s)) for s in shapes] + [(last_of(s) + 1, -len(s)) for s in shapes]
    alive = pairs = 0
    for _, pieces in sorted(changes):  # at one step, those that end come before those that begin
        pairs += alive * max(0, pieces)
        alive += pieces
    return pairs


def _stacked(shapes: Sequence[Shape], effort: int) -> tuple[tuple[int, ...], int]:
    """The best of the fixed orders, as far as the effort goes, of whole shapes."""
    lives = [(first_of(s), last_of(s), stop_of(s)) for s in shapes]
    best: tuple[tuple[int, ...], int] | None = None
    for key in _ORDERS:
        if best is None or effort > 0:
            found = stack(lives, sorted(range(len(shapes)), key=lambda i: key(shapes[i])))
            best = min(best or found, found, key=lambda f: f[1])
            effort -= len(shapes) ** 2 // 16
    assert best is not None
    return best


class PackSearch:
    """One packing problem: the best order of placing found so far, and the effort left. The first `hosts` of the shapes
    count before the others, guests for which they should leave room."""

    def __init__(self, shapes: Sequence[Shape], effort: int = EFFORT, hosts: int | None = None) -> None:
        self.shapes = shapes
        self.hosts = len(shapes) if hosts is None else hosts
        self.stops = [stop_of(s) for s in shapes]
        self.bound = tuple(max(live_bytes(s).values(), default=0) for s in (shapes[: self.hosts], shapes))
        self.forbidden = _forbidden(shapes)
        self._pairs = sum(map(len, self.forbidden)) + len(shapes)
        self.order: list[int] = []
        self.offsets: list[int] = [0] * len(shapes)
        self.reached = (sum(self.stops) + 1,) * 2
        """Bytes of the hosts, and of all."""
        self.effort = min(effort, _MOST_ATTEMPTS * max(1, self._pairs))

    @property
    def bytes(self) -> int:
        return self.reached[0]

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
        offsets = self._place(order, self._agreed(order))
        ends = [offset + stop for offset, stop in zip(offsets, self.stops, strict=True)]
        reached = (max(ends[: self.hosts], default=0), max(ends, default=0))
        if reached <= self.reached:
            self.order, self.offsets, self.reached = order, offsets, reached

    def _agreed(self, order: list[int]) -> int:
        """How many shapes come first in the best order as in this one: they will lie where they lie there."""
        return next((p for p, (i, j) in enumerate(zip(order, self.order, strict=False)) if i != j), len(self.order))

    def _place(self, order: list[int], placed: int) -> list[int]:
        """Each shape in turn at the lowest offset that is free during the life of each of its pieces; the first ones
        are `placed` already."""
        offsets = [-1] * len(self.shapes)
        for i in order[:placed]:
            offsets[i] = self.offsets[i]
        for i in order[placed:]:
            offsets[i] = lowest(
                [(offsets[j] + low, offsets[j] + high) for j, low, high in self.forbidden[i] if offsets[j] >= 0]
            )
        self.effort -= self._pairs
        return offsets


def lowest(taken: Iterable[tuple[int, int]]) -> int:
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
