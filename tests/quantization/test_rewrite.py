"""The graph on bytes of a graph: what becomes bytes, what stays, and that its text and its bytes are those defined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from cnncc import api, lang, ops, weights
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.ir.types import Quantization
from cnncc.lang.print_net import print_net
from cnncc.ops import reference
from cnncc.ops.byte_arithmetic import MOST_BIAS, scales
from cnncc.quantization.plan import plan
from cnncc.quantization.ranges import quantization
from cnncc.quantization.rewrite import prepared, rewritten, weight_bytes, weight_scales

RESIDUAL = """net residual
input 3x8x8
conv 3x3 16 bn relu
save x
conv 3x3 16 bn relu
conv 3x3 16 bn
add { | from x }
relu
gap
fc 10
softmax
"""
GATED = """net gated
input 3x8x8
conv 3x3 16 bn silu
mul { | gap; conv 1x1 4 relu; conv 1x1 16 sigmoid }
conv 1x1 16 bn hard_swish
fc 5
"""
MOVED = """net moved
input 3x8x8
conv 3x3 8 relu
concat { conv 1x1 8 relu | conv 3x3 8 relu }
maxpool 2x2 /2
shuffle 2
slice 4:12
upsample 2 nearest
conv 1x1 8 leaky_relu 0.1
conv 3x3 4
"""
UP = """net up
input 3x8x8
conv 3x3 16 /2 relu
upconv 2x2 8 /2 bn relu
concat { | upconv 3x3 6 pad 1 groups 2 }
conv 1x1 5
"""


def ranges_of(graph: Graph) -> Mapping[str, Quantization]:
    """Scales of all values, by one random image."""
    made = plan(graph)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    values = reference.run(graph, [x], keep_all=True)
    found = {n.name: quantization(float(values[n.name].min()), float(values[n.name].max())) for n in graph.nodes}
    for group in made.groups:
        both = [float(values[name].min()) for name in group], [float(values[name].max()) for name in group]
        found |= dict.fromkeys(group, quantization(min(both[0]), max(both[1])))
    return found


def on_bytes(text: str, *keep: str) -> tuple[Graph, Graph]:
    """The prepared graph of a text, and the one on bytes."""
    graph = prepared(weights.bind(lang.parse(text), seed=0))
    made = rewritten(plan(graph, frozenset(keep)), ranges_of(graph)).graph
    ops.verify(made)
    return graph, made


def counted(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


@pytest.mark.parametrize("text", [RESIDUAL, GATED, MOVED, UP])
def test_every_byte_is_that_of_the_definition_and_near_to_float32(text: str) -> None:
    graph, made = on_bytes(text)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    wanted, exact = reference.run(made, [x], keep_all=True), reference.run(graph, [x])
    model = api.build(made).model()
    (got,) = model.run_in(model.new_arena(), [x])
    (name,) = made.outputs
    np.testing.assert_allclose(got, wanted[name], rtol=2e-6, atol=1e-7)
    assert name in graph.outputs
    difference = np.linalg.norm(exact[name] - got) / np.linalg.norm(exact[name])
    assert 0 < difference < 0.15


@pytest.mark.parametrize("text", [RESIDUAL, GATED, MOVED, UP])
def test_the_text_of_a_graph_on_bytes_gives_the_same_graph(text: str) -> None:
    _, made = on_bytes(text)
    again = lang.parse(print_net(made))
    assert again.nodes == made.nodes
    assert {name: (c.shape, c.element) for name, c in again.constants.items()} == {
        name: (c.shape, c.element) for name, c in made.constants.items()
    }


def test_a_residual_block_adds_before_it_rounds() -> None:
    _, made = on_bytes(RESIDUAL)
    assert counted(made) == {"input": 1, "quantize": 1, "qconv": 3, "qgap": 1, "qfc": 1, "softmax": 1}
    added = [node for node in made.nodes if len(node.inputs) == 2]
    assert [node.attrs["epilogue"] for node in added] == [(("add", ()),)]


def test_relu_is_free_where_no_byte_stands_for_less_than_zero() -> None:
    _, made = on_bytes("net t\ninput 3x8x8\nconv 3x3 8 relu\nconv 1x1 8 relu6\nconv 1x1 4\n")
    assert counted(made) == {"input": 1, "quantize": 1, "qconv": 3}
    _, bounded = on_bytes("net t\ninput 3x8x8\nconv 3x3 8 relu\nconcat { | conv 3x3 8 }\nconv 1x1 4\n")
    assert counted(bounded)["relu"] == 1, "one scale for both arms, of which one has negative values"


def test_a_gate_stays_float32_and_its_factor_too() -> None:
    _, made = on_bytes(GATED)
    assert counted(made)["conv"] == 2
    assert counted(made)["qmul"] == 1
    (product,) = (node for node in made.nodes if node.op == "qmul")
    assert [made[name].type.is_float for name in product.inputs] == [False, True]


def test_transposed_convolutions_become_bytes() -> None:
    graph, made = on_bytes(UP)
    assert counted(made) == {"input": 1, "quantize": 1, "qconv": 2, "qconv_transpose": 2, "concat": 1, "relu": 1}
    first, second = (node for node in made.nodes if node.op == "qconv_transpose")
    assert made.constants[first.weights["weight"]].shape == (8, 16, 2, 2), "outputs first"
    assert made.constants[second.weights["weight"]].shape == (6, 4, 3, 3)
    weight = next(graph.constants[n.weights["weight"]].compute() for n in graph.nodes if n.op == "conv_transpose")
    scale = made.constants[first.weights["weight_scale"]].compute()
    np.testing.assert_allclose(scale, np.abs(weight).max(axis=(0, 2, 3)) / 127, rtol=1e-6)


def test_values_that_are_moved_have_one_scale() -> None:
    _, made = on_bytes(MOVED)
    (concat,) = (node for node in made.nodes if node.op == "concat")
    assert {str(made[name].type.quantization) for name in (*concat.inputs, concat.name)} == {
        str(concat.type.quantization)
    }
    assert {node.type.numbers for node in made.nodes if node.op in ("maxpool", "permute", "slice", "upsample")} == {
        concat.type.numbers
    }


def test_layers_that_are_kept_stay_float32() -> None:
    graph = prepared_graph()
    (name,) = (node.name for node in graph.nodes if node.op == "fc")
    _, made = on_bytes(RESIDUAL, name)
    assert counted(made)["fc"] == 1
    assert counted(made)["qfc"] == 0
    with pytest.raises(CnnccError, match="no layer 'convx' to keep"):
        plan(graph, frozenset({"convx"}))


def prepared_graph() -> Graph:
    return prepared(weights.bind(lang.parse(RESIDUAL), seed=0))


def test_a_missing_scale_is_an_error_that_names_the_value() -> None:
    graph = prepared_graph()
    with pytest.raises(CnnccError, match="there is no scale for input"):
        rewritten(plan(graph), {})


def test_channels_with_all_but_no_weights_have_a_scale_that_keeps_the_bias_within_bounds() -> None:
    weight, bias = np.full((2, 3, 1, 1), 1e-30, np.float32), np.array([3.0, 0.0], np.float32)
    found = weight_scales(weight, bias, 0.02)
    assert abs(bias[0] / (np.float64(np.float32(0.02)) * found[0])) <= MOST_BIAS
    assert (weight_bytes(weight, found)[0] == 0).all()
    assert np.isfinite(scales(0.02, found)).all()
    assert weight_scales(np.zeros((1, 2), np.float32), None, 0.1)[0] == 1.0


def test_the_largest_weight_of_a_channel_is_127() -> None:
    weight = np.random.default_rng(0).standard_normal((5, 4, 3, 3)).astype(np.float32)
    stored = weight_bytes(weight, weight_scales(weight, None, 0.02))
    assert (np.abs(stored).reshape(5, -1).max(1) == 127).all()


def test_an_output_that_is_read_as_bytes_too_keeps_its_name_for_float32() -> None:
    _, made = on_bytes("net t\ninput 3x8x8\nconv 3x3 8\noutput\nconv 1x1 4\noutput\n")
    assert [made[name].type.is_float for name in made.outputs] == [True, True]
    assert counted(made) == {"input": 1, "quantize": 1, "qconv": 2, "dequantize": 1}
