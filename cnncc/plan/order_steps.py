"""The order of the steps that needs the least memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from cnncc.ir.graph import Graph
from cnncc.plan.plan_arena import activation_bound
from cnncc.plan.step_needs import StepNeeds, StepSet, bits

_MOST_STATES = 1000
"""Sets of finished steps of one size that are followed up; where there are more, those that need least so far."""

_TRIES_PER_STEP = 100
_FEWEST_TRIES, _MOST_TRIES = 10_000, 50_000
"""How often a search may try a step as the next one, or look at a value that a try may free: a count, not a clock, so
that every run gives the same. Published networks of up to 250 steps take 200 or stop before they search."""

_MOST_PAIRS = 1_000_000
"""Of a value and a step that must be done before its bytes are free: beyond, not even these are listed."""

_EAGER = 8
"""How much more than its even share of the tries left a step of the search may take: most steps need less."""


@dataclass(frozen=True)
class BestOrder:
    """A graph in the order found; `proven` if no order of its steps has a smaller largest live set."""

    graph: Graph
    proven: bool


def order_steps(g: Graph, align: int = 64) -> Graph:
    """order(g) => g with its steps in the order whose largest live set is smallest.

    Must not fire where no order is found with a smaller one than that of g, a graph with layouts.
    """
    return best_order(g, align).graph


def best_order(g: Graph, align: int = 64) -> BestOrder:
    """The order with the smallest largest live set, and whether that is proven. Deterministic; it takes seconds at the
    most: where branches are so many or so long that their orders cannot all be tried, the better ones are."""
    needs = StepNeeds(g, align)
    given, least = activation_bound(g, align), needs.least()
    if least >= given:
        return BestOrder(g, True)  # some step alone needs as much
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
    """The last steps of a way to a set of finished steps, and those before."""

    taken: tuple[int, ...]
    before: _Way | None


@dataclass(frozen=True)
class _State:
    """How a set of steps was reached: the largest live set so far, what is alive now, steps taken out of turn; and the
    steps that could come next: those of the state before but one, and some that waited for it."""

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
    """A walk over the sets of finished steps, by size: for each the way with the smallest peak, of those with an equal
    one (or one below `floor`) the way that leaves the order of the graph least. Where its tries run out, the rest comes
    in the order of the graph."""

    def __init__(self, needs: StepNeeds, floor: int) -> None:
        self.needs = needs
        self.complete = True
        """Whether no set was left out."""
        count = len(needs.bytes)
        self.tries = max(_FEWEST_TRIES, min(_TRIES_PER_STEP * count, _MOST_TRIES))
        """How many are left."""
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
        """The largest live set along the way that was found, as far as that was searched."""
        return self._final.peak

    @property
    def order(self) -> list[int]:
        """All steps: those along the way that was found, then the others."""
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
            self.tries -= len(ready) // 8  # putting them in order
        return self._best(after, share)

    def _best(self, states: dict[StepSet, _State], share: int) -> dict[StepSet, _State]:
        """As many as the tries will do for, the best of them first if that is not all."""
        waiting = max(len(s.were_ready) for s in states.values())
        most = max(1, min(_MOST_STATES, share // max(1, waiting)))
        if len(states) <= most:
            return states
        self.complete = False
        best = sorted(states.items(), key=lambda item: (item[1].peak, item[1].live, item[0]))
        return dict(best[:most])

    def _take(self, done: StepSet, state: _State, ready: tuple[int, ...], turn: int) -> tuple[StepSet, _State]:
        """The state after the step at that position among those that are ready."""
        step = ready[turn]
        peak = max(state.peak, state.live + self.needs.added(done, step))
        live = state.live + self.needs.bytes[step] - self.needs.freed(done, step)
        reached = _State(peak, live, state.turns + turn, state.way, ready, ())
        return self._reached(done | 1 << step, reached, [step], self._freed_by(done | 1 << step, step))

    def _reached(self, done: StepSet, state: _State, taken: list[int], ready: Iterable[int]) -> tuple[StepSet, _State]:
        """After the steps that cost nothing, and so come as soon as they can."""
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
        """The steps that waited for this one and now wait for none."""
        return (i for i in self._followers[step] if not self.needs.before[i] & ~done)


def _followers(needs: StepNeeds) -> list[list[int]]:
    """For each step, those that wait for it."""
    found: list[list[int]] = [[] for _ in needs.before]
    for step, before in enumerate(needs.before):
        for earlier in bits(before):
            found[earlier].append(step)
    return found
