"""The order of the steps that needs the least memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from cnncc.ir.graph import Graph
from cnncc.plan.plan_arena import activation_bound
from cnncc.plan.step_needs import StepNeeds, StepSet, bits

_MOST_STATES = 1000
"""How many sets of finished steps of one size are kept. If there are more, those with the smallest peak are kept."""

_TRIES_PER_STEP = 100
_FEWEST_TRIES, _MOST_TRIES = 10_000, 50_000
"""The budget of a search. Trying a step as the next one costs one, and so does looking at a value that the try may
free. It is a count and not a time, so that every run gives the same order. Published networks of up to 250 steps need
at most 200."""

_MOST_PAIRS = 1_000_000
"""Most pairs of a value and a step that must be done before its bytes are free. With more pairs there is no search:
listing them alone would take too long."""

_EAGER = 8
"""A step of the search may take this many times its even share of the remaining tries, since most steps take less than
theirs."""


@dataclass(frozen=True)
class BestOrder:
    """A graph with its steps in the order found. `proven` says that no order has a smaller peak, the largest live
    set."""

    graph: Graph
    proven: bool


def order_steps(g: Graph, align: int = 64) -> Graph:
    """order(g) => g with its steps in the order with the smallest peak. The peak is the largest live set, in bytes.

    Must not fire if no order is found with a smaller peak than that of g. g must have layouts.
    """
    return best_order(g, align).graph


def best_order(g: Graph, align: int = 64) -> BestOrder:
    """The order with the smallest peak that is found, and whether it is proven that there is no smaller one.

    Deterministic. The search takes seconds at most: if there are too many orders to try all, it follows those with the
    smallest peak so far."""
    needs = StepNeeds(g, align)
    given, least = activation_bound(g, align), needs.least()
    if least >= given:
        return BestOrder(g, True)  # one step alone needs that much, in any order
    if needs.pairs() > _MOST_PAIRS:
        return BestOrder(g, False)
    search = OrderSearch(needs, least)
    if search.peak >= given:
        return BestOrder(g, search.complete)
    order = OrderSearch(needs, search.peak).order
    ordered = replace(g, nodes=tuple(g.nodes[i] for i in order))
    reached = activation_bound(ordered, align)
    return BestOrder(ordered if reached < given else g, search.complete and reached == search.peak)


@dataclass(frozen=True)
class _Way:
    """The steps that lead to a set of finished steps: the last ones, and the way to the set before them."""

    taken: tuple[int, ...]
    before: _Way | None


@dataclass(frozen=True)
class _State:
    """How a set of finished steps was reached. `peak` is the largest live set so far and `live` the present one, in
    bytes. `turns` counts by how much the way leaves the order of the graph. The steps that could come next are
    `were_ready`, those of the state before, without the steps that were taken; and `now_ready`, which waited for
    these."""

    peak: int
    live: int
    turns: int
    way: _Way
    were_ready: tuple[int, ...]
    now_ready: tuple[int, ...]

    @property
    def rank(self) -> tuple[int, int]:
        return self.peak, self.turns

    def ready(self) -> tuple[int, ...]:
        """The steps that could come next, in the order of the graph."""
        return tuple(sorted({*self.were_ready, *self.now_ready}.difference(self.way.taken)))


class OrderSearch:
    """A search over the sets of finished steps, from smaller sets to larger ones. For each set it keeps the way with
    the smallest peak. Peaks below `floor` count as equal; of equal ones it keeps the way that leaves the order of the
    graph least. When its tries are used up, the remaining steps come in the order of the graph."""

    def __init__(self, needs: StepNeeds, floor: int) -> None:
        self.needs = needs
        self.complete = True
        """Whether all sets were tried, so that the peak is proven."""
        count = len(needs.bytes)
        self.tries = max(_FEWEST_TRIES, min(_TRIES_PER_STEP * count, _MOST_TRIES))
        """How many tries are left."""
        self._followers = _followers(needs)
        first = (i for i, before in enumerate(needs.before) if not before)
        states = dict([self._reached(0, _State(floor, 0, 0, _Way((), None), (), ()), [], first)])
        everything = (1 << count) - 1
        while everything not in states and self.tries > 0:
            states = self._next(states, count - next(iter(states)).bit_count())
        self._final = next(iter(states.values()))
        self.complete = self.complete and everything in states

    @property
    def peak(self) -> int:
        """The largest live set along the way that was found, in bytes; of the searched part if the tries were used
        up."""
        return self._final.peak

    @property
    def order(self) -> list[int]:
        """All steps: first those of the way that was found, then the others."""
        found: list[int] = []
        way: _Way | None = self._final.way
        while way is not None:
            found += way.taken[::-1]
            way = way.before
        return [*found[::-1], *sorted(set(range(len(self.needs.bytes))).difference(found))]

    def _next(self, states: dict[StepSet, _State], left: int) -> dict[StepSet, _State]:
        """The states after one more step of each, with `left` steps still to come."""
        share = max(1, _EAGER * self.tries // left)
        after: dict[StepSet, _State] = {}
        for done, state in states.items():
            ready = state.ready()
            self.complete = self.complete and len(ready) <= share
            for turn, step in enumerate(ready[:share]):
                steps, reached = self._take(done, state, ready, turn)
                self.tries -= 1 + len(self.needs.frees[step])
                if steps not in after or reached.rank < after[steps].rank:
                    after[steps] = reached
            self.tries -= len(ready) // 8  # for sorting them
        return self._best(after, share)

    def _best(self, states: dict[StepSet, _State], share: int) -> dict[StepSet, _State]:
        """The states that the remaining tries suffice for: all, or those with the smallest peak."""
        waiting = max(len(s.were_ready) for s in states.values())
        most = max(1, min(_MOST_STATES, share // max(1, waiting)))
        if len(states) <= most:
            return states
        self.complete = False
        best = sorted(states.items(), key=lambda item: (item[1].peak, item[1].live, item[0]))
        return dict(best[:most])

    def _take(self, done: StepSet, state: _State, ready: tuple[int, ...], turn: int) -> tuple[StepSet, _State]:
        """The state after one more step: the one at position `turn` of `ready`."""
        step = ready[turn]
        peak = max(state.peak, state.live + self.needs.added(done, step))
        live = state.live + self.needs.bytes[step] - self.needs.freed(done, step)
        reached = _State(peak, live, state.turns + turn, state.way, ready, ())
        return self._reached(done | 1 << step, reached, [step], self._freed_by(done | 1 << step, step))

    def _reached(self, done: StepSet, state: _State, taken: list[int], ready: Iterable[int]) -> tuple[StepSet, _State]:
        """The state after all idle steps that can be taken: they cost nothing, so each is taken as soon as it is
        ready."""
        live, busy = state.live, []
        waiting = list(ready)
        heapify(waiting)
        while waiting:
            step = heappop(waiting)
            if not self.needs.idle[step]:
                busy.append(step)
                continue
            live -= self.needs.freed(done, step)
            done |= 1 << step
            taken.append(step)
            for follower in self._freed_by(done, step):
                heappush(waiting, follower)
        way = _Way(tuple(taken), state.way)
        return done, _State(state.peak, live, state.turns, way, state.were_ready, tuple(busy))

    def _freed_by(self, done: StepSet, step: int) -> Iterable[int]:
        """The steps that waited for this one, and now wait for no step."""
        return (i for i in self._followers[step] if not self.needs.before[i] & ~done)


def _followers(needs: StepNeeds) -> list[list[int]]:
    """For each step, those that wait for it."""
    found: list[list[int]] = [[] for _ in needs.before]
    for step, before in enumerate(needs.before):
        for earlier in bits(before):
            found[earlier].append(step)
    return found
