"""The text of a graph: golden, lossless, and clear about what it cannot read."""

import math

import pytest
from graph_text import parse_graph

from cnncc import ops
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ir.text import print_graph

GOLDEN = """\
graph tiny
x : 1x3x8x8 = input() {dims=(3, 8, 8), mean=(0.5,)}
"a b" : 1x4x8x8:c4 = conv(x, x) weight="a b.weight"[4x3x3x3] {out=4, kernel=(3, 3), pad=(1, 1, 1, 1), bias=False, \
epilogue=(('add', ()), ('leaky_relu', (('slope', 0.1),)))}
c.0/1-y : 1x4x10x10 = pad("a b") {pad=(1, 1, 1, 1), value=-inf}
return "a b", c.0/1-y
"""


def tiny() -> Graph:
    epilogue = (("add", ()), ("leaky_relu", (("slope", 0.1),)))
    x = Node("x", "input", (), TensorType((1, 3, 8, 8)), ops.complete("input", {"dims": (3, 8, 8), "mean": (0.5,)}))
    attrs = {"out": 4, "kernel": (3, 3), "pad": (1, 1, 1, 1), "bias": False, "epilogue": epilogue}
    c = Node(
        "a b", "conv", ("x", "x"), TensorType((1, 4, 8, 8), 4), ops.complete("conv", attrs), {"weight": "a b.weight"}
    )
    edge = ops.complete("pad", {"pad": (1, 1, 1, 1), "value": -math.inf})
    p = Node("c.0/1-y", "pad", ("a b",), TensorType((1, 4, 10, 10)), edge)
    return Graph("tiny", (x, c, p), ("a b", "c.0/1-y"), {"a b.weight": Constant((4, 3, 3, 3))})


def test_golden():
    assert print_graph(tiny(), ops.DEFAULTS) == GOLDEN
    assert parse_graph(GOLDEN, ops.DEFAULTS) == tiny()


@pytest.mark.parametrize("defaults", [None, ops.DEFAULTS])
def test_lossless(defaults):
    again = parse_graph(print_graph(tiny(), defaults), defaults)
    assert again == tiny()
    assert {k: c.shape for k, c in again.constants.items()} == {k: c.shape for k, c in tiny().constants.items()}
    assert not again.constants["a b.weight"].bound


def test_a_default_of_another_type_is_printed():
    """1 == 1.0 == True in Python, not in a graph."""
    x = Node("x", "dropout", ("y",), TensorType((1, 3)), {"p": 1})
    graph = Graph("g", (x,), ("x",))
    assert "{p=1}" in print_graph(graph, {"dropout": {"p": 1.0}})


def test_scalar_constant_and_odd_names():
    node = Node('q"\\,é\n)', "op", ('q"\\,é\n)', "z z"), TensorType((1,)), {}, {"w": "[x]"})
    graph = Graph("g{}", (node,), (node.name,), {"[x]": Constant(())})
    again = parse_graph(print_graph(graph))
    assert again == graph
    assert again.constants["[x]"].shape == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "<graph>:1:1: expected a graph: `graph NAME`, nodes, `return NAMES`"),
        ("grap x\nreturn y", "<graph>:1:1: expected `graph` and a name"),
        ("graph x\nx : 1x3 = input()\nretrn x", "<graph>:3:1: expected `return` and a name"),
        ("graph x\n\nx = input()\nreturn x", "<graph>:3:1: expected `name : type = op(inputs) slot=constant[shape]"),
        ("graph x\nx : 1x3 = input() {dims=foo}\nreturn x", "<graph>:2:1: bad attributes {dims=foo}"),
        ("graph x\nx : 1x3 = input() {dims=}\nreturn x", "<graph>:2:1: bad attributes {dims=}"),
        ("graph x\nx : 1x3 = input() {3}\nreturn x", "<graph>:2:1: attributes are written key=value"),
        ("graph x\nx : 1x3 = input() {**{}}\nreturn x", "<graph>:2:1: attributes are written key=value"),
    ],
)
def test_bad_texts(text, message):
    with pytest.raises(CnnccError) as caught:
        parse_graph(text)
    assert str(caught.value).startswith(message)
