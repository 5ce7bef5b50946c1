"""Whole graphs through the reference, and what they cost and see."""

import numpy as np
import pytest
from graph_text import parse_graph
from graphs import graphs
from hypothesis import given, settings

from cnncc import ops
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ir.text import print_graph
from cnncc.ops import reference

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


class Chain:
    """Builds a graph by hand, one op after another."""

    def __init__(self, *dims):
        self.nodes, self.constants = [], {}
        self.add("x", "input", dims=dims)

    def add(self, name, op, *inputs, **attrs):
        sources = inputs or (() if op in ("input", "const") else (self.nodes[-1].name,))
        types = {n.name: n.type.shape for n in self.nodes}
        shapes, full = tuple(types[s] for s in sources), ops.complete(op, attrs)
        slots = ops.weight_shapes(op, shapes, full)
        self.constants |= {f"{name}.{slot}": constant(shape) for slot, shape in slots.items()}
        kind = TensorType(ops.infer(op, shapes, full))
        self.nodes.append(Node(name, op, sources, kind, full, {slot: f"{name}.{slot}" for slot in slots}))
        return self

    def graph(self, *outputs):
        graph = Graph("g", tuple(self.nodes), outputs or (self.nodes[-1].name,), self.constants)
        ops.verify(graph)
        return graph


def constant(shape):
    return Constant(shape, lambda: np.random.default_rng(len(shape)).random(shape, np.float32))


def window(k, s=1, p=0, d=1):
    return {"kernel": (k, k), "stride": (s, s), "pad": (p,) * 4, "dilation": (d, d)}


def alexnet(groups=1):
    c = Chain(3, 227, 227).add("conv1", "conv", out=96, **window(11, 4)).add("pool1", "maxpool", **window(3, 2))
    c.add("norm1", "lrn").add("conv2", "conv", out=256, groups=groups, **window(5, p=2))
    c.add("pool2", "maxpool", **window(3, 2)).add("norm2", "lrn").add("conv3", "conv", out=384, **window(3, p=1))
    c.add("conv4", "conv", out=384, groups=groups, **window(3, p=1))
    c.add("conv5", "conv", out=256, groups=groups, **window(3, p=1)).add("pool5", "maxpool", **window(3, 2))
    return c.add("fc6", "fc", out=4096).add("fc7", "fc", out=4096).add("fc8", "fc", out=1000).graph()


def total_macs(graph):
    return sum(ops.macs(graph, n) for n in graph.nodes)


def test_alexnet_figures():
    graph = alexnet()
    assert (ops.total_params(graph), total_macs(graph)) == (62_378_344, 1_135_256_096)
    assert ops.params(graph, graph["conv1"]) == 34_848 + 96
    grouped = alexnet(groups=2)
    assert (ops.total_params(grouped), total_macs(grouped)) == (60_965_224, 724_406_816)
    fields = ops.receptive_field(graph)
    named = [fields[n] for n in "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5".split()]
    assert named == [(f, f) for f in (11, 19, 51, 67, 99, 131, 163, 195)]
    assert fields["fc6"] == fields["fc8"] == (195 + 5 * 32,) * 2


def test_dilated_context_figures():
    chain = Chain(21, 64, 64)
    for i, d in enumerate((1, 1, 2, 4, 8, 16, 1)):
        chain.add(f"c{i}", "conv", out=21, **window(3, p=d, d=d))
    graph = chain.add("c7", "conv", out=21, **window(1)).graph()
    assert (ops.total_params(graph), total_macs(graph)) == (28_392, 115_605_504)
    fields = ops.receptive_field(graph)
    assert [fields[f"c{i}"][0] for i in range(8)] == [3, 5, 9, 17, 33, 65, 67, 67]


def test_receptive_field_takes_the_largest_arm():
    chain = Chain(4, 16, 16).add("a", "conv", "x", out=4, kernel=(3, 5), pad=(1, 2, 1, 2))
    chain.add("b", "conv", "x", out=4, kernel=(7, 1), pad=(3, 0, 3, 0)).add("s", "add", "a", "b")
    chain.add("e", "conv", "a", "b", out=4, kernel=(1, 1), epilogue=(("add", ()),))
    fields = ops.receptive_field(chain.add("j", "concat", "s", "e").graph("j"))
    assert fields["x"] == (1, 1)
    assert fields["s"] == fields["e"] == fields["j"] == (7, 5)


def test_receptive_field_up_and_down():
    chain = Chain(4, 16, 16).add("p", "maxpool", **window(2, 2)).add("u", "conv_transpose", out=4, **window(2, 2))
    chain.add("c", "conv", out=4, **window(3, p=1)).add("p2", "avgpool", kernel=(4, 4), stride=(4, 4))
    chain.add("b", "upsample", scale=(2, 1), mode="bilinear").add("g", "gap").add("k", "const", dims=(4, 1, 1))
    fields = ops.receptive_field(chain.add("m", "mul", "g", "k").graph("m"))
    assert [fields[n][0] for n in ("p", "u", "c", "p2", "b")] == [2, 2, 4, 7, 11]
    assert fields["g"] == fields["m"] == (11 + 7 * 2, 7 + 3 * 4)
    assert fields["k"] == (1, 1)


def test_flatten_sees_what_fc_sees():
    plain = ops.receptive_field(Chain(2, 6, 5).add("fc", "fc", out=3).graph())
    flat = ops.receptive_field(Chain(2, 6, 5).add("f", "flatten").add("fc", "fc", out=3).graph())
    assert plain["fc"] == flat["fc"] == (6, 5)


def test_shared_and_untrained_constants():
    chain = Chain(4, 5, 5).add("c1", "conv", out=4, **window(1)).add("b", "bn").add("c2", "conv", out=4, **window(1))
    graph = chain.graph()
    assert [ops.params(graph, n) for n in graph.nodes] == [0, 20, 8, 20]
    tied = Graph("t", (*graph.nodes[:3], graph["c2"].with_(weights=graph["c1"].weights)), ("c2",), graph.constants)
    assert ops.total_params(tied) == 28


def small():
    chain = Chain(3, 6, 6).add("c", "conv", out=4, **window(3, p=1)).add("r", "relu").add("s", "add", "r", "c", "r")
    return chain.add("k", "const", dims=(4, 1, 1)).add("m", "mul", "s", "k").graph("m", "r")


def test_run_in_both_dtypes():
    graph, x = small(), np.random.default_rng(0).standard_normal((1, 3, 6, 6))
    exact = reference.run(graph, {"x": x})
    assert list(exact) == ["r", "m"]
    single = reference.run(graph, [x.astype(np.float32)], dtype=np.float32)
    assert {v.dtype.name for v in exact.values()} == {"float64"}
    assert {v.dtype.name for v in single.values()} == {"float32"}
    np.testing.assert_allclose(single["m"], exact["m"], rtol=1e-5, atol=1e-5)
    everything = reference.run(graph, [x], keep_all=True)
    assert list(everything) == [n.name for n in graph.nodes]
    assert {v.dtype.name for v in everything.values()} == {"float64"}
    np.testing.assert_array_equal(everything["m"], exact["m"])
    np.testing.assert_array_equal(everything["s"], 2 * everything["r"] + everything["c"])


def test_values_go_when_nobody_needs_them(monkeypatch):
    live = []
    evaluate = reference.evaluate

    def spy(graph, node, args, dtype):
        live.append((node.name, len(args)))
        return evaluate(graph, node, args, dtype)

    monkeypatch.setattr(reference, "evaluate", spy)
    got = reference.run(small(), [np.zeros((1, 3, 6, 6))])
    assert live == [("x", 1), ("c", 1), ("r", 1), ("s", 3), ("k", 0), ("m", 2)]
    assert set(got) == {"m", "r"}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "g takes 1 inputs (x), got 0"),
        ({"y": 1}, "g has no input 'y'\n  hint: known: x"),
        ({}, "g: missing input x"),
        ([np.zeros((1, 3, 6, 5))], "input 'x' has shape (1, 3, 6, 5), g takes (1, 3, 6, 6)"),
    ],
)
def test_wrong_inputs(inputs, message):
    with pytest.raises(CnnccError) as caught:
        reference.run(small(), inputs)
    assert str(caught.value) == message


def test_unbound_constants_say_so():
    graph = parse_graph(print_graph(small()))
    with pytest.raises(AssertionError, match=r"weights are not bound; call cnncc\.weights\.bind"):
        reference.run(graph, [np.zeros((1, 3, 6, 6))])


@SETTINGS
@given(graphs())
def test_random_graphs_verify_run_and_print(graph):
    ops.verify(graph)
    for defaults in (None, ops.DEFAULTS):
        assert parse_graph(print_graph(graph, defaults), defaults) == graph
    bound = Graph(graph.name, graph.nodes, graph.outputs, {k: constant(c.shape) for k, c in graph.constants.items()})
    inputs = [np.random.default_rng(1).random(n.type.shape) for n in graph.inputs]
    values = reference.run(bound, inputs, keep_all=True)
    assert {k: v.shape for k, v in values.items()} == {n.name: n.type.shape for n in graph.nodes}
    assert set(ops.receptive_field(graph)) == set(values)
