"""The searches of the planner end after so many tries, whatever the network: counts, no clocks."""

from __future__ import annotations

import importlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from large_networks import cells, dense, fan_out, lstm, u_shape
from passes.pass_helpers import passed
from plan.arena_simulator import simulate

from cnncc import lang
from cnncc.ir import Graph
from cnncc.passes import assign_layouts
from cnncc.plan import best_order, plan_arena
from cnncc.plan import pack_records as packing
from cnncc.plan.pack_records import clashes, pack_outlines
from cnncc.plan.parts import Parts
from cnncc.plan.pieces import Outline, Piece, joined, live_bytes, outline_of, outlined
from cnncc.plan.plan_arena import activation_bound
from cnncc.plan.stack_records import stack
from cnncc.plan.step_needs import StepNeeds

ordering = importlib.import_module("cnncc.plan.order_steps")


def laid_out(text: str) -> Graph:
    return assign_layouts(passed(lang.parse(text)), 8)


@pytest.mark.parametrize("text", [lstm(12), lstm(30), cells(6), fan_out(60, "add"), u_shape(40)], ids=str.__len__)
def test_an_order_is_found_within_the_tries(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0
    count = StepNeeds.added

    def counted(self: StepNeeds, done: int, step: int) -> int:
        nonlocal tries
        tries += 1
        return count(self, done, step)

    monkeypatch.setattr(StepNeeds, "added", counted)
    g = laid_out(text)
    best = best_order(g)
    assert tries <= 3 * ordering._MOST_TRIES
    assert activation_bound(best.graph) <= activation_bound(g)
    assert {n.name for n in best.graph.nodes} == {n.name for n in g.nodes}
    assert best_order(g).graph.nodes == best.graph.nodes
    simulate(best.graph, plan_arena(best.graph))


def test_an_unrolled_lstm_gets_a_better_order() -> None:
    g = laid_out(lstm(12))
    assert activation_bound(best_order(g).graph) < activation_bound(g)


def test_where_tries_run_out_the_rest_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "_MOST_TRIES", 50)
    monkeypatch.setattr(ordering, "_FEWEST_TRIES", 50)
    g = laid_out(lstm(12))
    needs = StepNeeds(g, 64)
    search = ordering.OrderSearch(needs, needs.least())
    assert not search.complete
    assert sorted(search.order) == list(range(len(g.nodes)))
    done: set[int] = set()
    for step in search.order:
        assert {needs.step[name] for name in g.nodes[step].inputs} <= done
        done.add(step)


def test_too_many_waiting_values_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "_MOST_PAIRS", 10)
    best = best_order(g := laid_out(lstm(12)))
    assert best.graph is g
    assert not best.proven


def test_thousands_of_values_alive_are_stacked() -> None:
    """No list of what clashes is made, and the plan can be run."""
    g = laid_out(u_shape(800))
    plan = plan_arena(g)
    assert plan.gap == 0
    simulate(g, plan)


def test_a_concat_of_hundreds_of_arms_is_packed_in_coarser_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    g = laid_out(dense(60))
    exact = plan_arena(g)
    monkeypatch.setattr(packing, "_MOST_CLASHES", 1000)
    coarse = plan_arena(g)
    assert exact.bytes <= coarse.bytes
    simulate(g, coarse)


lives = st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(1, 40)).map(lambda r: (r[0], r[0] + r[1], r[2]))


@settings(max_examples=200, deadline=None)
@given(st.lists(lives, max_size=14), st.randoms(use_true_random=False))
def test_stacked_records_do_not_overlap(records: list[tuple[int, int, int]], rng: object) -> None:
    order = list(range(len(records)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    offsets, total = stack(records, order)
    assert total == max((o + r[2] for o, r in zip(offsets, records, strict=True)), default=0)
    for (a, r), (b, s) in itertools.combinations(zip(offsets, records, strict=True), 2):
        assert r[1] < s[0] or s[1] < r[0] or a + r[2] <= b or b + s[2] <= a


@settings(max_examples=200, deadline=None)
@given(st.lists(lives, max_size=9))
def test_stacked_is_what_the_first_order_gives(records: list[tuple[int, int, int]]) -> None:
    order = sorted(range(len(records)), key=lambda i: (-records[i][2], records[i][0]))
    search = packing.PackSearch([outline_of(r) for r in records])
    search.attempt(order)
    assert stack(records, order) == (tuple(search.offsets), search.bytes if records else 0)


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Each step a part of a later one or of none, and sizes."""
    count = draw(st.integers(1, 12))
    inside = [draw(st.sampled_from([-1, *range(i + 1, count)])) for i in range(count)]
    return inside, [draw(st.integers(0, 9)) for _ in range(count)]


@settings(max_examples=200, deadline=None)
@given(forests(), st.data())
def test_parts(forest: tuple[list[int], list[int]], data: st.DataObject) -> None:
    inside, sizes = forest

    def all_of(step: int) -> set[int]:
        return {step}.union(*(all_of(i) for i, whole in enumerate(inside) if whole == step))

    chosen = data.draw(st.sets(st.integers(0, len(inside) - 1)))
    wanted = set().union(*map(all_of, chosen)) if chosen else set()
    assert Parts(inside, sizes).bytes_of(chosen) == sum(sizes[i] for i in wanted)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(0, 9), st.integers(0, 5)), max_size=9))
def test_outline_covers_each_byte_from_first_to_last(values: list[tuple[int, int, int, int]]) -> None:
    pieces = [Piece(at, at + size, first, first + length) for at, size, first, length in values]
    for piece in outlined(pieces, 1):
        for byte in range(piece.start, piece.stop):
            over = [p for p in pieces if p.start <= byte < p.stop]
            assert (piece.first, piece.last) == (min(p.first for p in over), max(p.last for p in over))
    assert sum(p.size for p in outlined(pieces, 1)) == len({b for p in pieces for b in range(p.start, p.stop)})


def test_joined_pieces_cover_what_they_are_made_of() -> None:
    outline: Outline = tuple(Piece(4 * i, 4 * i + 4, i, 20 - i) for i in range(10))
    coarse = joined(outline, 3)
    assert coarse == (Piece(0, 16, 0, 20), Piece(16, 32, 4, 16), Piece(32, 40, 8, 12))
    assert joined(outline, 10) is outline
    assert len(joined(outline, 1)) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(lives.map(outline_of), max_size=9))
def test_clashes_of_single_pieces_are_counted_exactly(outlines: list[Outline]) -> None:
    both = [(a[0], b[0]) for a, b in itertools.combinations(outlines, 2)]
    assert clashes(outlines) == sum(a.first <= b.last and b.first <= a.last for a, b in both)


def test_stacked_whatever_the_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_MOST_CLASHES", 3)
    outlines = [outline_of((i, i + 4, 8)) for i in range(20)]
    offsets, total = pack_outlines(outlines, [outline_of((0, 0, 100))], effort=0)
    assert total == max(live_bytes(outlines).values()) == 40
    assert len(offsets) == 20
