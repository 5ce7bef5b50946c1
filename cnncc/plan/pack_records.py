"""Offsets for tensors that live at different times, in as few bytes as the search finds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product

from cnncc.plan.pieces import Outline, Record, first_of, joined, last_of, live_bytes, outline_of, stop_of
from cnncc.plan.stack_records import stack

EFFORT = 3_000_000
"""How many pairs of tensors the search looks at before it stops. It is a count and not a time, so that every run gives
the same offsets."""

_MOST_CLASHES = 300_000
"""Most pairs of pieces that are alive at the same time and are listed; the list takes about 100 MB. If there are more,
pieces are joined."""

_COARSER = (400, 40, 4, 1)
"""To how many pieces an outline is joined: each number in turn, until there are few enough pairs."""

_MOST_ATTEMPTS = 2000
"""Most orders of placing that are tried, even if the network is so small that more would be quick."""

_FORWARD = 0.7
"""Share of the random moves that move an outline towards the start of the order, where offsets are lowest."""


_MOST_TURNED = 16
"""How many outlines are tried first and last in the order before the random moves begin: those that are alive together
with most others. Random moves rarely carry an outline past hundreds of others."""


_ORDERS: tuple[Callable[[Outline], tuple[int, ...]], ...] = (
    lambda s: (-stop_of(s), first_of(s)),  # largest first, "greedy by size"
    lambda s: (-stop_of(s) * (last_of(s) - first_of(s) + 1), first_of(s)),
    lambda s: (first_of(s) - last_of(s), -stop_of(s)),  # longest-lived first
    lambda s: (first_of(s), -stop_of(s)),  # in the order of the program
    lambda s: (-last_of(s), -stop_of(s)),
)


def pack(records: Sequence[Record], align: int = 1) -> tuple[tuple[int, ...], int]:
    """Offsets for records, multiples of `align`, and the total bytes. Records that are alive at the same step do not
    overlap."""
    return pack_outlines([outline_of(r, align) for r in records])


def pack_outlines(
    outlines: Sequence[Outline], guests: Sequence[Outline] = (), effort: int = EFFORT
) -> tuple[tuple[int, ...], int]:
    """An offset for each outline, and the total bytes. Pieces that are alive at the same step do not overlap.

    Several greedy orders are tried (Pisarchyk and Lee 2020). A local search then improves the best of them: it places
    outlines that reach the top earlier, and stops at the live-set bound. `guests` are outlines without offsets: among
    packings with equally few bytes, the one is taken in which the guests would end lowest. If thousands of outlines
    are alive at the same time, there is no local search, and guests do not count.

    Deterministic. If all pieces start and stop at multiples of a number, so do the offsets.
    """
    fitting = _manageable(outlines)
    if fitting is None:
        return _stacked(outlines, effort)
    order, offsets, total = _searched(fitting, effort)
    if guests and clashes([*fitting, *guests]) <= _MOST_CLASHES:
        search = with_guests(fitting, order, guests, effort)
        search.improve()
        offsets, total = tuple(search.offsets[: len(outlines)]), search.bytes
    return offsets, total


@lru_cache(maxsize=4)
def _searched(outlines: tuple[Outline, ...], effort: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The order of placing, the offsets and the total bytes. They are cached, because most programs are planned first
    without guests and then with them."""
    search = PackSearch(outlines, effort)
    search.greedy()
    search.improve()
    return tuple(search.order), tuple(search.offsets), search.bytes


def with_guests(
    outlines: Sequence[Outline], order: Sequence[int], guests: Sequence[Outline], effort: int
) -> PackSearch:
    """A search over outlines and guests, which begins with the given order or with a better one of the fixed orders.
    Guests come after all outlines."""
    joint = PackSearch([*outlines, *guests], effort, len(outlines))
    joint.attempt([*order, *range(len(outlines), len(joint.outlines))])
    joint.greedy()
    return joint


def _manageable(outlines: Sequence[Outline]) -> tuple[Outline, ...] | None:
    """The outlines, with pieces joined until the clashing pairs are few enough to be listed. None if whole outlines
    have too many."""
    if clashes(outlines) <= _MOST_CLASHES:
        return tuple(outlines)
    for most in _COARSER:
        coarse = tuple(joined(s, most) for s in outlines)
        if clashes(coarse) <= _MOST_CLASHES:
            return coarse
    return None


def clashes(outlines: Sequence[Outline]) -> int:
    """At most how many pairs of pieces of different outlines are alive at the same step. Each piece counts as if it
    lived as long as its outline."""
    changes = [(first_of(s), len(s)) for s in outlines] + [(last_of(s) + 1, -len(s)) for s in outlines]
    alive = pairs = 0
    for _, pieces in sorted(changes):  # at the same step, ends come before begins
        pairs += alive * max(0, pieces)
        alive += pieces
    return pairs


def _stacked(outlines: Sequence[Outline], effort: int) -> tuple[tuple[int, ...], int]:
    """Offsets for whole outlines by the best of the fixed orders, as many of them as the effort allows."""
    lives = [(first_of(s), last_of(s), stop_of(s)) for s in outlines]
    best: tuple[tuple[int, ...], int] | None = None
    for key in _ORDERS:
        if best is None or effort > 0:
            found = stack(lives, sorted(range(len(outlines)), key=lambda i: key(outlines[i])))
            best = min(best or found, found, key=lambda f: f[1])
            effort -= len(outlines) ** 2 // 16
    assert best is not None
    return best


class PackSearch:
    """The search of one packing: the best order of placing found so far, and the remaining effort.

    The first `residents` outlines are residents, and the others guests. The bytes of the residents count first; among
    equals, the bytes of residents and guests."""

    def __init__(self, outlines: Sequence[Outline], effort: int = EFFORT, residents: int | None = None) -> None:
        self.outlines = outlines
        self.residents = len(outlines) if residents is None else residents
        self.stops = [stop_of(s) for s in outlines]
        self.bound = tuple(max(live_bytes(s).values(), default=0) for s in (outlines[: self.residents], outlines))
        self.forbidden = _forbidden(outlines)
        self._pairs = sum(map(len, self.forbidden)) + len(outlines)
        self.order: list[int] = []
        self.offsets: list[int] = [0] * len(outlines)
        self.reached = (sum(self.stops) + 1,) * 2
        """Bytes of the residents, and of all outlines, in the best packing so far."""
        self.effort = min(effort, _MOST_ATTEMPTS * max(1, self._pairs))

    @property
    def bytes(self) -> int:
        return self.reached[0]

    def greedy(self) -> None:
        """Tries the fixed orders, residents before guests. The first is tried even if it costs more than the effort
        left."""
        for key in _ORDERS:
            if self._open():
                order = sorted(range(len(self.outlines)), key=lambda i: (i >= self.residents, key(self.outlines[i])))
                self.attempt(order)

    def improve(self) -> None:
        """Moves single outlines in the order at random, and keeps each order that is not worse.

        It moves an outline that reaches the top, or one that is alive together with it. Once the residents are at their
        bound, a guest reaches the top. It lives for one step, so the outline to move may be further away: one that is
        alive together with a neighbour of the guest."""
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
        """Tries each of some outlines before all residents and after all residents.

        This helps when many short-lived tensors were placed above a long-lived one that belongs above them."""
        for i in sorted(range(self.residents), key=lambda i: (-len(self.forbidden[i]), i))[:_MOST_TURNED]:
            for last in (False, True):
                if self._open():
                    order = [j for j in self.order if j != i]
                    after = max((p for p, j in enumerate(order, 1) if j < self.residents), default=0)
                    order.insert(after if last else 0, i)
                    self.attempt(order)

    def _alive_with(self, outline: int) -> Iterator[int]:
        return (j for j, _, _ in self.forbidden[outline])

    def _open(self) -> bool:
        return self.reached > self.bound and self.effort > 0

    def _top(self) -> list[int]:
        """Positions in the order of the outlines that reach the top. Only residents count until at their bound."""
        only_residents = self.reached[0] > self.bound[0]
        among = [p for p, i in enumerate(self.order) if not only_residents or i < self.residents]
        most = self.reached[0] if only_residents else self.reached[1]
        return [p for p in among if self.offsets[self.order[p]] + self.stops[self.order[p]] == most]

    def attempt(self, order: list[int]) -> None:
        """Places all outlines in that order, and keeps the result if it is not worse."""
        offsets = self._place(order, self._agreed(order))
        ends = [offset + stop for offset, stop in zip(offsets, self.stops, strict=True)]
        reached = (max(ends[: self.residents], default=0), max(ends, default=0))
        if reached <= self.reached:
            self.order, self.offsets, self.reached = order, offsets, reached

    def _agreed(self, order: list[int]) -> int:
        """How many outlines at the start of `order` are the same as in the best order. They keep their offsets."""
        return next((p for p, (i, j) in enumerate(zip(order, self.order, strict=False)) if i != j), len(self.order))

    def _place(self, order: list[int], placed: int) -> list[int]:
        """Places each outline in turn at the lowest offset that is free during the life of each of its pieces. The
        first `placed` outlines keep their offsets."""
        offsets = [-1] * len(self.outlines)
        for i in order[:placed]:
            offsets[i] = self.offsets[i]
        for i in order[placed:]:
            offsets[i] = lowest(
                [(offsets[j] + low, offsets[j] + high) for j, low, high in self.forbidden[i] if offsets[j] >= 0]
            )
        self.effort -= self._pairs
        return offsets


def lowest(taken: Iterable[tuple[int, int]]) -> int:
    """The lowest offset, at least 0, that is inside none of the open intervals."""
    offset = 0
    for low, high in sorted(taken):
        if low >= offset:
            break
        offset = max(offset, high)
    return offset


Forbidden = list[list[tuple[int, int, int]]]
"""For each outline, a list of (another, low, high): its offset minus that of the other must not be between low and
high."""


def _forbidden(outlines: Sequence[Outline]) -> Forbidden:
    result: Forbidden = [[] for _ in outlines]
    alive: list[int] = []
    for i in sorted(range(len(outlines)), key=lambda i: first_of(outlines[i])):
        alive = [j for j in alive if last_of(outlines[j]) >= first_of(outlines[i])]
        for j in alive:
            clashes = sorted(set(_clashes(outlines[i], outlines[j])))
            result[i] += ((j, low, high) for low, high in clashes)
            result[j] += ((i, -high, -low) for low, high in clashes)
        alive.append(i)
    return result


def _clashes(one: Outline, other: Outline) -> Iterator[tuple[int, int]]:
    """Open intervals in which the offset of `one`, minus that of `other`, must not be."""
    for p, q in product(one, other):
        if p.first <= q.last and q.first <= p.last and p.size and q.size:
            yield q.start - p.stop, q.stop - p.start
