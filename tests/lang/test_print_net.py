"""Graph -> flat text -> the same graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc import lang
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, TensorType
from cnncc.ops import TABLE, verify
from tests.graphs import LATE_OPS, graphs

NET = """net t
input 3x9x9
save x
conv1: conv 3x3 4 /2 bn relu
head: conv 1x1 2; softmax
output
from x
maxpool 3x3 /3 ceil
output
"""


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_random_graphs_survive_printing(graph: Graph) -> None:
    verify(graph)
    for shapes in (True, False):
        text = lang.print_net(graph, shapes)
        again = lang.parse(text)
        assert again == graph
        assert {n: c.shape for n, c in again.constants.items()} == {n: c.shape for n, c in graph.constants.items()}


def test_random_graphs_have_every_op() -> None:
    seen: set[str] = set()

    @settings(deadline=None, max_examples=700, derandomize=True, database=None, phases=[Phase.generate])
    @given(graphs(max_ops=20))
    def collect(graph: Graph) -> None:
        seen.update(n.op for n in graph.nodes)

    collect()
    assert seen == set(TABLE) - LATE_OPS


def test_flat_text() -> None:
    assert (
        lang.print_net(lang.parse(NET))
        == """net t
input: input 3x9x9           # 3x9x9
conv1: conv 3x3 4 /2 nobias  # 4x5x5
conv1.bn: bn                 # 4x5x5
conv1.relu: relu             # 4x5x5
head.0: conv 1x1 2           # 2x5x5
head.1: softmax              # 2x5x5
from input
3: maxpool 3x3 /3 ceil       # 3x3x3
from head.1
output
from 3
output
"""
    )


def test_shapes_can_be_left_out() -> None:
    assert "#" not in lang.print_net(lang.parse(NET), shapes=False)


def test_shared_weights_and_odd_names_keep_their_names() -> None:
    text = 'net "a b"\n"in/1": input 4x4x4\na: conv 3x3 4 weights "k" "b"\n"x\\ty": conv 3x3 4 weights "k" "b"\n'
    graph = lang.parse(text)
    assert [n.weights.get("weight") for n in graph.nodes] == [None, "k", "k"]
    assert list(graph.constants) == ["k", "b"]
    assert lang.parse(lang.print_net(graph)) == graph


def test_batch_survives() -> None:
    graph = lang.parse("net t\ninput 3x4x4 batch 5\nrelu\n")
    assert graph.nodes[-1].type.shape == (5, 3, 4, 4)
    assert lang.parse(lang.print_net(graph)) == graph


def test_lowered_graphs_are_refused() -> None:
    graph = lang.parse("net t\ninput 16x4x4\nrelu\n")
    node = graph.nodes[1]
    blocked = graph.rebuild([graph.nodes[0], node.with_(type=TensorType(node.type.shape, 8))])
    with pytest.raises(CnnccError, match=r"^0: passes have lowered this relu; only an original network has a text$"):
        lang.print_net(blocked)


def test_numbers_that_are_not_float32() -> None:
    """Scales are written with the digits of float32, zeros and types as they are read; comments say what comes out."""
    text = "net t\ninput 3x4x4 uint8\na: quantize int8 0.1 -3\nb: maxpool 2x2\nc: dequantize\nd: cast bfloat16\n"
    graph = lang.parse(text)
    assert lang.print_net(graph).splitlines()[2:] == [
        "a: quantize int8 0.1 zero -3  # 3x4x4 int8 scale 0.1 zero -3",
        "b: maxpool 2x2                # 3x3x3 int8 scale 0.1 zero -3",
        "c: dequantize                 # 3x3x3",
        "d: cast bfloat16              # 3x3x3 bfloat16",
    ]
    assert lang.parse(lang.print_net(graph)) == graph
    assert graph.nodes[1].attrs["scale"] == float(np.float32(0.1))


@given(st.floats(2.0**-149, 2.0**127, width=32), st.integers(-128, 127))
def test_every_scale_survives(scale: float, zero: int) -> None:
    graph = lang.parse(f"net t\ninput 3\nquantize int8 {scale!r} {zero}\n")
    assert graph.nodes[1].attrs["scale"] == scale
    assert lang.parse(lang.print_net(graph)) == graph
