"""The driver of rewrites: order, names, fixed point, end, and time on large graphs."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from graphs import graphs
from hypothesis import given, settings

from cnncc.base.errors import Span
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ir.draft import Draft
from cnncc.ir.rewrite import Change, Rule, arms, remade, rewrite, rule
from cnncc.ir.verify import VerifyError
from cnncc.passes.rules import RULES

KIND = TensorType((1, 4))
EVERY = tuple(r for rules in RULES.values() for r in rules)
MANY = 20_000
SECONDS = 15.0
"""Of this thread's time: ten times what MANY nodes need, a tenth of what a quadratic driver would."""


def node(name: str, op: str, *inputs: str, **attrs: object) -> Node:
    return Node(name, op, inputs, KIND, attrs)


def graph(*nodes: Node, outputs: tuple[str, ...] | None = None) -> Graph:
    return Graph("t", (node("x", "input"), *nodes), outputs or (nodes[-1].name,))


@rule("a")
def a_to_b(g: Draft, n: Node) -> Change | None:
    """a(x) => b(x)"""
    return Change((n.with_(op="b"),))


@rule("b")
def twice(g: Draft, n: Node) -> Change | None:
    """b(b(x)) => b(x)"""
    inner = g.private(n.inputs[0], "b")
    return Change((n.with_(inputs=inner.inputs),)) if inner else None


@rule("gone")
def gone(g: Draft, n: Node) -> Change | None:
    """gone(x) => x"""
    return Change(instead={n.name: n.inputs[0]})


def test_nothing_to_do_gives_the_very_graph() -> None:
    g = graph(node("y", "c", "x"))
    assert rewrite(g, ()) is g
    assert rewrite(g, (a_to_b, twice, gone)) is g


def test_names_spans_outputs_and_ports_stay() -> None:
    span = Span("f.net", 3, 1, 4, "a")
    before = node("y", "a", "x").with_(span=span, stack=(("block", span),))
    after = rewrite(Graph("t", (node("x", "input"), before), ("y",), {}, ("out",)), (a_to_b,))
    assert (after["y"].op, after["y"].span, after["y"].stack) == ("b", span, (("block", span),))
    assert (after.outputs, after.ports) == (("y",), ("out",))


def test_the_first_rule_wins_and_changes_are_seen_at_once() -> None:
    seen: list[str] = []

    @rule()
    def look(g: Draft, n: Node) -> Change | None:
        """any => any"""
        seen.append(f"{n.name}={n.op}({','.join(g[i].op for i in n.inputs)})")
        return None

    g = graph(node("p", "a", "x"), node("q", "a", "p"), node("r", "c", "q"))
    assert [n.op for n in rewrite(g, (a_to_b, look)).nodes] == ["input", "b", "b", "c"]
    assert seen[:4] == ["x=input()", "p=b(input)", "q=b(b)", "r=c(b)"]


def test_a_value_that_loses_a_reader_is_looked_at_again() -> None:
    """q reads p, and so does s until it goes away: then p is q's alone."""
    g = graph(node("p", "b", "x"), node("q", "b", "p"), node("s", "drop", "p", "q"))

    @rule("drop")
    def drop(g: Draft, n: Node) -> Change | None:
        """drop(p, q) => c(q)"""
        return Change((n.with_(op="c", inputs=n.inputs[1:]),))

    after = rewrite(g, (twice, drop))
    assert [(n.name, n.inputs) for n in after.nodes] == [("x", ()), ("q", ("x",)), ("s", ("q",))]


def test_what_a_visit_cannot_foresee_is_found_by_another_sweep() -> None:
    """A rule that looks further back than one node."""

    @rule("last")
    def far(g: Draft, n: Node) -> Change | None:
        """last(m(b)) => done(m(b))"""
        return Change((n.with_(op="done"),)) if g[g[n.inputs[0]].inputs[0]].op == "b" else None

    @rule("late")
    def late(g: Draft, n: Node) -> Change | None:
        """late => c, and p is of op b"""
        return Change((n.with_(op="c"), g["p"].with_(op="b")))

    g = graph(node("p", "p", "x"), node("m", "m", "p"), node("l", "last", "m"), node("z", "late", "l"))
    assert rewrite(g, (far, late))["l"].op == "done"


def test_new_nodes_constants_and_redirection() -> None:
    c = Constant((4,), lambda: np.ones(4, np.float32))

    @rule("split")
    def split(g: Draft, n: Node) -> Change | None:
        """split(x) => half(whole(x))"""
        name = g.free_name("whole")
        whole = n.with_(name=name, op="w", weights={"weight": f"{name}.weight"})
        return Change((whole, n.with_(op="half", inputs=(name,))), {f"{name}.weight": c})

    nodes = (node("whole", "gone", "x"), node("y", "split", "whole"), node("z", "c", "whole", "y"))
    after = rewrite(graph(*nodes), (gone, split))
    assert [(n.name, n.inputs) for n in after.nodes] == [
        *(("x", ()), ("whole_", ("x",)), ("y", ("whole_",)), ("z", ("x", "y"))),
    ]
    assert after.constants == {"whole_.weight": c}


def test_an_output_keeps_its_name() -> None:
    with pytest.raises(AssertionError, match="'y' is an output and keeps its name"):
        rewrite(graph(node("y", "gone", "x")), (gone,))


def test_rules_that_undo_each_other_come_to_an_end() -> None:
    @rule("b")
    def back(g: Draft, n: Node) -> Change | None:
        """b(x) => a(x)"""
        return Change((n.with_(op="a"),))

    with pytest.raises(VerifyError, match=r"node 'y' \([ab]\): rewrite: its rules never come to an end"):
        rewrite(graph(node("y", "a", "x")), (a_to_b, back))


def test_arms_and_remade() -> None:
    assert arms(node("y", "mul", "a", "b")) == (("a", "b"), ("b", "a"))
    assert arms(node("y", "mul", "a", "b", "c")) == arms(None) == ()
    assert arms(node("y", "mul", "a", "b", epilogue=(("relu", ()),))) == ()
    wide = node("y", "mul", "a", "b").with_(type=TensorType((1, 9)))
    assert remade(wide, node("c", "conv", "x"), attrs={"out": 9}) == Node("y", "conv", ("x",), wide.type, {"out": 9})


def test_chain_and_private() -> None:
    draft = Draft(graph(node("p", "a", "x"), node("q", "b", "p"), node("r", "c", "q", "q"), node("s", "d", "p")))
    assert draft.chain("s", "d") == () == draft.chain("r", "c")  # read by nobody, or a graph output
    assert draft.private("q", "b") is None  # read twice
    assert draft.private("p", "a") is None  # two readers
    draft = Draft(graph(node("p", "a", "x"), node("q", "b", "p"), node("r", "c", "q")))
    assert [n.name for n in draft.chain("q", "b", "a")] == ["q", "p"]
    assert draft.chain("q", "b", "b") == () == draft.chain("q", "a")


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_a_draft_answers_as_its_graph_does(g: Graph) -> None:
    same_answers(Draft(g), g)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_a_draft_answers_right_after_changes(g: Graph) -> None:
    """After each change of a run of all rules."""

    def checked(r: Rule) -> Rule:
        def act(draft: Draft, n: Node) -> Change | None:
            now = draft.graph()
            if len(now.nodes) == len(list(draft)):  # else something is left of what nobody needs
                same_answers(draft, now)
            return r(draft, n)

        return Rule(act, r.ops)

    rewrite(g, tuple(map(checked, EVERY)))


def same_answers(draft: Draft, g: Graph) -> None:
    assert set(draft) == set(g.by_name)
    for n in g.nodes:
        assert draft[n.name] is n
        assert {user.name for user in draft.users(n.name)} == {user.name for user in g.users(n.name)}
        assert draft.is_output(n.name) == g.is_output(n.name)
        assert draft.is_private(n.name) == g.is_private(n.name)
        assert draft.is_shared(n.name) == (n.name in g.shared)
    uses = [c for n in g.nodes for c in n.weights.values()]
    assert all(draft.constant_uses(c) == uses.count(c) for c in uses)


def chain(op: str, **attrs: object) -> Graph:
    """Each node reads the one before."""
    names = ["x", *(f"n{i}" for i in range(MANY))]
    return graph(*(node(b, op, a, **attrs) for a, b in pairwise(names)))


def fan(op: str, *others: str, **attrs: object) -> Graph:
    """All nodes read one value, and one reads them all."""
    nodes = [node("v", "tanh", "x"), node("w", "tanh", "x")]
    many = [node(f"n{i}", op, "v", *others, **attrs) for i in range(MANY)]
    return graph(*nodes, *many, node("y", "add", *(n.name for n in many), epilogue=()))


def released_backwards() -> Graph:
    """A chain in which each value has a second reader, that goes away when the next one has."""
    names = ["x", *(f"n{i}" for i in range(MANY // 2))]
    nodes = [node(b, "affine", a, scale=1.0, shift=1.0) for a, b in pairwise(names)]
    ties = ["x"]
    for i, name in enumerate(reversed(names[1:])):
        nodes.append(node(f"t{i}", "matmul", ties[-1], name))
        ties.append(f"t{i}")
    return graph(*nodes, node("y", "add", names[-1], ties[-1], epilogue=()))


@rule("matmul")
def untie(g: Draft, n: Node) -> Change | None:
    """matmul(t, v) => t, for the test: a second reader goes away."""
    return Change(instead={n.name: n.inputs[0]})


LARGE: dict[str, Callable[[], Graph]] = {
    "a chain that is one node": lambda: chain("affine", scale=1.0, shift=1.0),
    "a chain of copies": lambda: chain("identity"),
    "a chain that stays": lambda: chain("tanh"),
    "copies of one value": lambda: fan("identity"),
    "readers of one value": lambda: fan("tanh"),
    "merges of two values": lambda: fan("mul", "w", epilogue=()),
    "concats of two values": lambda: fan("concat", "w", "x"),
    "readers that go away from the end": released_backwards,
}


@pytest.mark.parametrize("case", LARGE)
def test_time_on_large_graphs(case: str) -> None:
    g = LARGE[case]()
    before = time.thread_time()
    after = rewrite(g, (*EVERY, untie))
    assert time.thread_time() - before < SECONDS
    assert rewrite(after, (*EVERY, untie)) is after
