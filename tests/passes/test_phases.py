"""All passes together: names, verification, random graphs."""

from graphs import graphs
from hypothesis import given, settings
from passes.pass_helpers import bound, image, keeps_meaning, passed, text

from cnncc import ops
from cnncc.ir import Graph
from cnncc.passes import PASSES, assign_layouts, with_batch


def block() -> Graph:
    net = image().conv("c", "x", 16, bias=False)("b", "bn", "c")("d", "dropout", "b")
    return net("s", "add", "d", "x")("r", "relu", "s").graph("r")


def test_phases_are_named_after_their_functions() -> None:
    assert all(name == rewrite.__name__ for name, rewrite in PASSES)
    assert len({name for name, _ in PASSES}) == len(PASSES)


def test_docstrings_hold_the_equation_and_when_not_to_fire() -> None:
    for name, rewrite in PASSES:
        lines = (rewrite.__doc__ or "").splitlines()
        assert "=>" in lines[0], name
        assert lines[2].strip().startswith("Must not fire"), name


def test_run_runs_all() -> None:
    assert [n.op for n in passed(block()).nodes] == ["input", "conv"]


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_random_graphs(graph: Graph) -> None:
    """Every pass, on what the passes before it made: well formed, the same values, and nothing left to do."""
    g = bound(graph)
    for name, rewrite in PASSES:
        after = rewrite(g)
        ops.verify(after)
        keeps_meaning(g, after)
        again = rewrite(after)
        assert again is after, f"{name} is not idempotent:\n{text(after)}\n{text(again)}"
        g = after
    assert g.outputs == graph.outputs


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_random_graphs_in_batches(graph: Graph) -> None:
    """Two images at a time, before the passes or after them, in layouts."""
    g = bound(graph)
    two = with_batch(g, 2)
    keeps_meaning(two, passed(two))
    late = with_batch(passed(g), 2)
    ops.verify(late)
    keeps_meaning(two, late)
    keeps_meaning(late, assign_layouts(late, 4))
