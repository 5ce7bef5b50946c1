"""The order of the steps that needs the least memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnncc.ir.graph import Graph
from cnncc.passes.plan_arena import activation_bound
from cnncc.passes.step_needs import StepNeeds, StepSet, bits

_MOST_STATES = 1000
"""Sets of finished steps of one size that are followed up; where there are more, those that need least so far."""


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
    """The order with the smallest largest live set, and whether that is proven. Deterministic."""
    needs = StepNeeds(g, align)
    given, least = activation_bound(g, align), needs.least()
    if least >= given:
        return BestOrder(g, True)  # some step alone needs as much
    search = _Search(needs, least)
    if search.peak >= given:
        return BestOrder(g, search.complete)
    order = _Search(needs, search.peak).order()
    ordered = replace(g, nodes=tuple(g.nodes[i] for i in order))
    reached = activation_bound(ordered, align)
    return BestOrder(ordered if reached < given else g, search.complete and reached == search.peak)


@dataclass(frozen=True)
class _State:
    """How a set of steps was reached: the largest live set so far, what is alive now, steps taken out of turn, the
    steps that could come next, and the way back."""

    peak: int
    live: int
    turns: int
    ready: tuple[int, ...]
    taken: tuple[int, ...] = ()
    before: _State | None = None

    @property
    def rank(self) -> tuple[int, int]:
        return self.peak, self.turns


class _Search:
    """A walk over the sets of finished steps, by size: for each the way with the smallest peak, of those with an equal
    one (or one below `floor`) the way that leaves the order of the graph least."""

    def __init__(self, needs: StepNeeds, floor: int) -> None:
        self.needs = needs
        self.complete = True
        """Whether no set was left out."""
        self._followers = _followers(needs)
        ready = tuple(i for i, before in enumerate(needs.before) if not before)
        states = dict([self._settled(0, _State(floor, 0, 0, ready), [])])
        while (1 << len(needs.bytes)) - 1 not in states:
            states = self._next(states)
        self.final = next(iter(states.values()))

    @property
    def peak(self) -> int:
        return self.final.peak

    def order(self) -> list[int]:
        """The steps along the way that was found."""
        found: list[int] = []
        state: _State | None = self.final
        while state is not None:
            found += state.taken[::-1]
            state = state.before
        return found[::-1]

    def _next(self, states: dict[StepSet, _State]) -> dict[StepSet, _State]:
        after: dict[StepSet, _State] = {}
        for done, state in states.items():
            for turn, step in enumerate(state.ready):
                steps, reached = self._take(done, state, step, turn)
                if steps not in after or reached.rank < after[steps].rank:
                    after[steps] = reached
        if len(after) > _MOST_STATES:
            self.complete = False
            best = sorted(after.items(), key=lambda item: (item[1].peak, item[1].live, item[0]))
            after = dict(best[:_MOST_STATES])
        return after

    def _take(self, done: StepSet, state: _State, step: int, turn: int) -> tuple[StepSet, _State]:
        peak = max(state.peak, state.live + self.needs.added(done, step))
        live = state.live + self.needs.bytes[step] - self.needs.freed(done, step)
        after = done | 1 << step
        ready = self._ready_after(after, state.ready, step)
        return self._settled(after, _State(peak, live, state.turns + turn, ready, (step,), state), [step])

    def _settled(self, done: StepSet, state: _State, taken: list[int]) -> tuple[StepSet, _State]:
        """After the steps that cost nothing, and so come as soon as they can."""
        live, ready = state.live, state.ready
        while idle := [i for i in ready if self.needs.idle[i]]:
            live -= self.needs.freed(done, idle[0])
            done |= 1 << idle[0]
            taken.append(idle[0])
            ready = self._ready_after(done, ready, idle[0])
        return done, replace(state, live=live, ready=ready, taken=tuple(taken))

    def _ready_after(self, done: StepSet, ready: tuple[int, ...], step: int) -> tuple[int, ...]:
        new = (i for i in self._followers[step] if not self.needs.before[i] & ~done)
        return tuple(sorted({*ready, *new} - {step}))


def _followers(needs: StepNeeds) -> list[list[int]]:
    """For each step, those that wait for it."""
    found: list[list[int]] = [[] for _ in needs.before]
    for step, before in enumerate(needs.before):
        for earlier in bits(before):
            found[earlier].append(step)
    return found
