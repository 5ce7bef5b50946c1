"""The order of the steps: fires, keeps meaning, stays, and is the best of all orders of small graphs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from graphs import graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from passes.pass_helpers import Net, bound, image, keeps_meaning, passed
from plan.arena_simulator import simulate

from cnncc import lang
from cnncc.base import resources
from cnncc.ir import Graph
from cnncc.passes import assign_layouts, with_batch
from cnncc.plan import best_order, order_steps, plan_arena
from cnncc.plan.plan_arena import activation_bound


def branches() -> Net:
    """Two branches from x that widen and narrow again: one after the other needs less than side by side."""
    net = image().conv("a", "x", 64).conv("b", "x", 64)
    net.conv("p", "a", 8).conv("q", "b", 8)
    return net("s", "add", "p", "q")


def laid_out(net: Net, *outputs: str) -> Graph:
    return assign_layouts(net.graph(*outputs), 8)


def names(g: Graph) -> list[str]:
    return [n.name for n in g.nodes]


def test_fires() -> None:
    g = laid_out(branches()("y", "fc", "s", out=2), "y")
    after = order_steps(g)
    assert names(g) == ["x", "a", "b", "p", "q", "s", "y"]
    assert names(after) == ["x", "a", "p", "b", "q", "s", "y"]
    assert (activation_bound(g), activation_bound(after)) == ((64 + 64 + 8) * 64, (64 + 8 + 8) * 64)
    keeps_meaning(g, after)
    assert order_steps(after) is after
    assert best_order(g).proven


def test_stays_where_no_order_is_better() -> None:
    chain = laid_out(image().conv("a", "x", 64).conv("b", "a", 8)("y", "fc", "b", out=2), "y")
    assert order_steps(chain) is chain
    twins = laid_out(image().conv("a", "x", 8).conv("b", "x", 8)("s", "add", "a", "b")("y", "fc", "s", out=2), "y")
    assert order_steps(twins) is twins


def test_inputs_keep_their_order() -> None:
    """The first input is computed (it has a mean) and wide; computing it late would save memory of its result."""
    net = Net()("a", "input", dims=(8, 4, 4), mean=(1.0,))("b", "input", dims=(8, 4, 4), mean=(1.0,))
    net.conv("c", "b", 64).conv("d", "c", 8)("s", "add", "a", "d")("y", "fc", "s", out=2)
    after = order_steps(laid_out(net, "y"))
    assert [n.name for n in after.inputs] == ["a", "b"]


@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1", "densenet121", "unet", "resnet50", "cifar_resnet110"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_zoo_is_written_in_a_best_order(name: str, batch: int) -> None:
    g = assign_layouts(with_batch(passed(lang.read(resources.directory("models") / f"{name}.net")), batch), 8)
    best = best_order(g)
    assert best.proven
    assert best.graph is g


def all_orders(g: Graph, most: int = 400) -> Iterator[Graph]:
    """Topological orders with inputs in their order, as far as `most` of them."""
    inputs = [n.name for n in g.inputs]

    def extend(done: list[str], left: list[str]) -> Iterator[list[str]]:
        if not left:
            yield done
        for name in left:
            node = g[name]
            first = node.op != "input" or all(i in done for i in inputs[: inputs.index(name)])
            if first and all(i in done for i in node.inputs):
                yield from extend([*done, name], [n for n in left if n != name])

    for count, order in enumerate(extend([], names(g))):
        if count == most:
            return
        yield Graph(g.name, tuple(g[n] for n in order), g.outputs, g.constants)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.sampled_from([1, 4]))
def test_random_graphs(graph: Graph, block: int) -> None:
    """Never worse, a proven order beats all others, and the plan of the new order can be run."""
    g = assign_layouts(passed(bound(graph)), block)
    best = best_order(g)
    least = activation_bound(best.graph)
    assert least <= activation_bound(g)
    if best.proven:
        assert all(activation_bound(other) >= least for other in all_orders(g))
    simulate(best.graph, plan_arena(best.graph))
