"""ONNX models of every kind an exporter writes: what they become, and that it computes the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import graphs
from hypothesis import assume, given, settings
from onnx import TensorProto, helper, numpy_helper

from cnncc import lang, passes, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.export import to_onnx
from cnncc.frontends.onnx.file import read_model
from cnncc.frontends.onnx.network import import_onnx
from cnncc.frontends.onnx.origin import original
from cnncc.frontends.onnx.ports import Imported
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.text.write import net_text
from cnncc.ir import Graph
from cnncc.ir.text import print_graph
from cnncc.ops import macs, reference, total_params

RNG = np.random.default_rng(3)


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model(
    nodes: list[Any],
    inputs: dict[str, tuple[Any, ...]],
    outputs: list[str],
    tensors: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    name: str = "m",
) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()]
    results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    stored = [numpy_helper.from_array(array, n) for n, array in (tensors or {}).items()]
    graph = helper.make_graph(nodes, name, ports, results, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    names = [n if n != "_" else "" for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=outputs.split()[0], **attributes)


def ops(imported: Imported) -> Counter[str]:
    return Counter(n.op for n in imported.graph.nodes if n.op not in ("input", "const"))


def agrees(proto: onnx.ModelProto, shapes: dict[str, tuple[int, ...]] | None = None, error: float = 1e-5) -> Imported:
    """The model imported; its outputs in our reference are those of ONNX Runtime, before and after it was a text."""
    imported = from_onnx(proto, shapes)
    arrays = {port.name: random(*port.shape) for port in imported.inputs}
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, arrays)
    fed = [p.to_graph(arrays[p.name], imported.graph[p.node].type.shape) for p in imported.inputs]
    values = reference.run(imported.graph, fed)
    for port, wanted in zip(imported.outputs, expected, strict=True):
        got = port.from_graph(values[port.node])
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= error * max(np.abs(wanted).max(), 1e-9)
    written = net_text(passes.with_batch(imported.graph, 1), imported.sources)
    if fed and fed[0].shape[0] == 1:
        again = reference.run(written.graph, fed)
        for old, new in zip(imported.graph.outputs, written.graph.outputs, strict=True):
            np.testing.assert_array_equal(values[old], again[new])
    assert lang.format_text(written.text) == written.text
    return imported


CONV = {"w": random(4, 3, 3, 3), "b": random(4)}
X = {"x": (1, 3, 8, 9)}


def test_weights_as_constant_nodes() -> None:
    nodes = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(a)) for n, a in CONV.items()]
    agrees(model([*nodes, node("Conv", "x w b", "y", pads=[1] * 4)], X, ["y"]))


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_auto_pad(op: str, auto: str) -> None:
    tensors, inputs = (CONV, "x w b") if op == "Conv" else ({}, "x")
    nodes = [node(op, inputs, "y", auto_pad=auto, strides=[2, 2], kernel_shape=[3, 3])]
    agrees(model(nodes, X, ["y"], tensors))


def test_open_batch_is_one_and_other_sizes_are_asked_for() -> None:
    proto = model([node("Relu", "x", "y")], {"x": ("N", 3, "H", "W")}, ["y"])
    with pytest.raises(CnnccError, match="input x has no fixed shape: N,3,H,W") as caught:
        from_onnx(proto)
    assert "say the size you want by `--shape x=1,3,224,224`" in str(caught.value.hint)
    assert agrees(proto, {"x": (1, 3, 5, 6)}).graph.inputs[0].type.shape == (1, 3, 5, 6)


def test_shape_mistakes() -> None:
    proto = model([node("Relu", "x", "y")], X, ["y"])
    with pytest.raises(CnnccError, match="the model has no input 'z'"):
        from_onnx(proto, {"z": (1, 3)})
    with pytest.raises(CnnccError, match="input x: sizes must be at least 1, got 1,0"):
        from_onnx(proto, {"x": (1, 0)})
    with pytest.raises(CnnccError, match="the model is of opset 6"):
        from_onnx(model([node("Relu", "x", "y")], X, ["y"], opset=6))


def test_wrong_declared_shapes_of_values_do_not_matter() -> None:
    proto = model([node("Relu", "x", "a"), node("Flatten", "a", "y")], X, ["y"])
    proto.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, (7, 7)))
    proto.graph.output[0].type.tensor_type.shape.dim.add(dim_value=5)
    assert from_onnx(proto).outputs[0].shape == (1, 216)


def test_nhwc_clutter_disappears() -> None:
    """TensorFlow's way: channels last, turned for each convolution and back."""
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]),
        node("Conv", "a w b", "c", pads=[1] * 4),
        node("Transpose", "c", "d", perm=[0, 2, 3, 1]),
        node("Relu", "d", "e"),
        node("Mul", "e k", "f"),
        node("ReduceMean", "f", "g", axes=[1, 2], keepdims=1),
        node("Mul", "f g", "h"),
        node("Concat", "f h", "i", axis=3),
        node("ReduceMean", "i", "y", axes=[1, 2], keepdims=0),
    ]
    imported = agrees(model(nodes, {"x": (1, 8, 9, 3)}, ["y"], {**CONV, "k": random(4)}))
    assert ops(imported) == {"conv": 1, "relu": 1, "scale": 1, "mul": 1, "gap": 2, "concat": 1}
    assert imported.graph.inputs[0].type.shape == (1, 3, 8, 9)
    assert imported.notes == ("input x is channels first here, [1, 3, 8, 9]",)


def test_channels_last_all_the_way_is_transposed_once() -> None:
    nodes = [node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Reshape", "a s", "b"), node("MatMul", "b k", "y")]
    tensors = {"s": np.array([1, -1]), "k": random(216, 5)}
    assert ops(agrees(model(nodes, X, ["y"], tensors))) == {"permute": 1, "fc": 1}


def test_shape_arithmetic_is_folded() -> None:
    """PyTorch's way to say x.view(x.size(0), -1, h * 2)."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axis", "n1"),
        node("Slice", "s two three", "h"),
        node("Mul", "h twos", "h2"),
        node("Concat", "n1 minus h2", "t", axis=0),
        node("Reshape", "x t", "a"),
        node("ConstantOfShape", "h2", "filled", value=numpy_helper.from_array(np.array([2.5], np.float32))),
        node("Add", "a filled", "y"),
    ]
    tensors = {
        k: np.array(v)
        for k, v in {"zero": 0, "axis": [0], "two": [2], "three": [3], "twos": [3], "minus": [-1]}.items()
    }
    assert ops(agrees(model(nodes, X, ["y"], tensors)))["add"] == 1


def test_several_inputs_and_outputs() -> None:
    nodes = [
        node("Add", "x z", "a"),
        node("Relu", "a", "y"),
        node("Split", "a", "p q r", axis=1),
        node("Sub", "p r", "o"),
    ]
    imported = agrees(model(nodes, {**X, "z": (1, 3, 8, 9)}, ["y", "o", "q", "x"]))
    assert [port.name for port in imported.outputs] == ["y", "o", "q", "x"]


def test_half_precision_weights() -> None:
    half = {name: array.astype(np.float16) for name, array in CONV.items()}
    nodes = [node("Cast", "w", "wf", to=1), node("Cast", "b", "bf", to=1), node("Conv", "x wf bf", "y")]
    agrees(model(nodes, X, ["y"], half))


def test_quantised_weights_are_integers_again() -> None:
    tensors = {
        "q": RNG.integers(-127, 127, (4, 3, 3, 3)).astype(np.int8),
        "s": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "z": np.zeros(4, np.int8),
        "xs": np.array(0.02, np.float32),
        "xz": np.array(3, np.int8),
    }
    nodes = [
        node("QuantizeLinear", "x xs xz", "xq"),
        node("DequantizeLinear", "xq xs xz", "xd"),
        node("DequantizeLinear", "q s z", "w", axis=0),
        node("Conv", "xd w", "y"),
    ]
    imported = from_onnx(model(nodes, X, ["y"], tensors))
    assert [n.op for n in imported.graph.nodes] == ["input", "quantize", "qconv"]
    image, steps, conv = imported.graph.nodes
    assert not image.attrs["std"], "the scale is no std of pictures"
    assert steps.type.numbers == "int8 scale 0.02 zero 3"
    weight, scale = (imported.graph.constants[conv.weights[slot]].compute() for slot in ("weight", "weight_scale"))
    np.testing.assert_array_equal(weight, tensors["q"])
    np.testing.assert_array_equal(scale, tensors["s"])


def test_weights_alone_that_are_quantised_become_numbers() -> None:
    """What the layer reads is float32, so it computes in float32, which is told."""
    tensors = {"q": RNG.integers(-127, 127, (4, 3, 3, 3)).astype(np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [node("DequantizeLinear", "q s z", "w"), node("Conv", "x w", "y")]
    imported = from_onnx(model(nodes, X, ["y"], {name: np.asarray(a) for name, a in tensors.items()}))
    assert [n.op for n in imported.graph.nodes] == ["input", "conv"]
    (constant,) = imported.graph.constants.values()
    np.testing.assert_allclose(constant.value, tensors["q"] * tensors["s"])
    assert imported.notes == ("computed in float32, since what they read is float32: y (Conv)",)


PARTS = {
    "silu": ([node("Sigmoid", "x", "a"), node("Mul", "x a", "y")], {}),
    "hard_swish": ([node("HardSigmoid", "x", "a", alpha=1 / 6), node("Mul", "a x", "y")], {}),
    "mish": ([node("Softplus", "x", "a"), node("Tanh", "a", "b"), node("Mul", "x b", "y")], {}),
    "gelu": (
        [node("Div", "x r", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"), node("Mul", "x c", "d"),
         node("Mul", "d half", "y")],
        {"r": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)},
    ),
    "relu6": ([node("Clip", "x lo hi", "y")], {"lo": np.float32(0), "hi": np.float32(6)}),
    "leaky_relu": ([node("PRelu", "x s", "y")], {"s": np.full((1, 1, 1), 0.2, np.float32)}),
    "prelu": ([node("PRelu", "x s", "y")], {"s": random(3, 1, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("op", PARTS)
def test_activations_in_parts(op: str) -> None:
    nodes, tensors = PARTS[op]
    assert ops(agrees(model(nodes, X, ["y"], {n: np.asarray(a) for n, a in tensors.items()}))) == {op: 1}


def test_old_hard_swish() -> None:
    nodes = [node("Add", "x three", "a"), node("Clip", "a", "b", min=0.0, max=6.0), node("Mul", "x b", "c"),
             node("Div", "c six", "y")]  # fmt: skip
    tensors = {"three": np.array(3, np.float32), "six": np.array(6, np.float32)}
    proto = model(nodes, X, ["y"], tensors, opset=10)
    assert ops(from_onnx(proto)) == {"hard_swish": 1}


def test_padding_and_bias_join_the_convolution() -> None:
    nodes = [node("Pad", "x p", "a"), node("Conv", "a w", "c"), node("Add", "c k", "y")]
    tensors = {"p": np.array([0, 0, 1, 1, 0, 0, 2, 2]), "w": CONV["w"], "k": random(4, 1, 1)}
    imported = agrees(model(nodes, X, ["y"], tensors))
    assert ops(imported) == {"conv": 1}
    assert imported.graph.nodes[-1].attrs["pad"] == (1, 1, 2, 2)
    assert imported.graph.nodes[-1].attrs["bias"]


SINGLE = {
    "edge padding": ([node("Pad", "x p", "y", mode="edge")], {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1])}),
    "negative padding": ([node("Pad", "x p", "y")], {"p": np.array([0, 0, -1, 2, 0, 0, 0, -2])}),
    "transposed, SAME": ([node("ConvTranspose", "x t", "y", auto_pad="SAME_UPPER", strides=[2, 2])], {"t": random(3, 4, 3, 3)}),  # noqa: E501
    "transposed, output shape": (
        [node("ConvTranspose", "x t", "y", output_shape=[17, 18], strides=[2, 2])], {"t": random(3, 4, 3, 3)}
    ),
    "instance norm": ([node("InstanceNormalization", "x s t", "y")], {"s": random(3), "t": random(3)}),
    "layer norm": ([node("LayerNormalization", "x s t", "y", axis=-1)], {"s": random(9), "t": random(9)}),
    "depth to space": ([node("SpaceToDepth", "x", "a", blocksize=1), node("DepthToSpace", "a", "y", blocksize=1)], {}),
    "resize": ([node("Resize", "x _ s", "y", mode="linear")], {"s": np.array([1, 1, 1.5, 2], np.float32)}),
    "spatial attention": (
        [node("ReduceMax", "x", "a", axes=[1]), node("ReduceMean", "x", "b", axes=[1]), node("Concat", "a b", "c", axis=1),  # noqa: E501
         node("Conv", "c w", "d", pads=[1] * 4), node("Sigmoid", "d", "e"), node("Mul", "x e", "y")],
        {"w": random(1, 2, 3, 3)},
    ),
    "arg max": ([node("ArgMax", "x", "a", axis=1), node("Cast", "a", "y", to=1)], {}),
    "flip": ([node("Slice", "x a b c d", "y")], {k: np.array([v]) for k, v in {"a": -1, "b": -99, "c": 1, "d": -1}.items()}),  # noqa: E501
    "self product": ([node("Transpose", "x", "a", perm=[0, 1, 3, 2]), node("MatMul", "x a", "y")], {}),
    "tile": ([node("Tile", "x r", "y")], {"r": np.array([1, 2, 1, 3])}),
    "log softmax": ([node("LogSoftmax", "x", "y", axis=1)], {}),
    "gather": ([node("Gather", "x i", "y", axis=1)], {"i": np.array([2, 0, 0])}),
    "per pixel factor": ([node("Mul", "x k", "y")], {"k": random(1, 1, 8, 9)}),
}  # fmt: skip


@pytest.mark.parametrize("case", SINGLE)
def test_ops(case: str) -> None:
    nodes, tensors = SINGLE[case]
    agrees(model(nodes, X, ["y"], tensors))


def test_batches_stay_apart_or_become_one_image() -> None:
    mixing = [node("Transpose", "x", "y", perm=[1, 0, 2, 3])]
    assert agrees(model([node("Relu", "x", "y")], {"x": (2, 3, 4, 5)}, ["y"])).graph.inputs[0].type.shape[0] == 2
    assert agrees(model(mixing, {"x": (2, 3, 4, 5)}, ["y"])).graph.inputs[0].type.shape[0] == 1


def test_everything_unsupported_is_told_at_once(tmp_path: Path) -> None:
    nodes = [
        node("NonZero", "x", "a"),
        node("Relu", "x", "b"),
        node("Det", "b", "c"),
        node("MaxPool", "x", "d indices", kernel_shape=[2, 2]),
        node("Neg", "c", "y"),
    ]
    proto = model(nodes, X, ["y", "a", "d", "indices"])
    with pytest.raises(CnnccError) as caught:
        from_onnx(proto)
    assert caught.value.message.splitlines() == [
        "the model has 2 nodes that cannot be converted:",
        "  node a (NonZero): how large its result is depends on the data",
        "  node c (Det): this op is not supported",
    ]


def test_what_follows_a_failure_is_told_too_but_not_its_shape_arithmetic() -> None:
    nodes = [
        node("Det", "x", "a"),
        node("NonZero", "a", "b"),
        node("Shape", "a", "s"),
        node("ConstantOfShape", "s", "k"),
        node("NonZero", "k", "m"),
        node("Relu", "a", "c"),
        node("Det", "c", "y"),
    ]
    with pytest.raises(CnnccError) as caught:
        from_onnx(model(nodes, X, ["y", "b", "m"]))
    assert [line.split(":")[0].strip() for line in caught.value.message.splitlines()[1:]] == [
        "node a (Det)",
        "node b (NonZero)",
        "node y (Det)",
    ]


def test_a_tensor_of_any_size_can_be_asked_for_and_is_not_made() -> None:
    nodes = [node("ConstantOfShape", "s", "k"), node("Add", "x k", "y")]
    with pytest.raises(CnnccError, match=r"k \(ConstantOfShape\): asks for a tensor of 1e\+15 elements"):
        from_onnx(model(nodes, X, ["y"], {"s": np.array([10**5] * 3)}))


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x08" + bytes(20)])
def test_files_that_are_no_models(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(data)
    with pytest.raises(CnnccError, match="is no ONNX model"):
        read_model(file)


def test_a_missing_file() -> None:
    with pytest.raises(CnnccError, match=r"cannot read nowhere\.onnx: no such file"):
        read_model("nowhere.onnx")


# What `cnncc export` wrote


def bound(text: str) -> Graph:
    return weights.bind(lang.parse(text), seed=1)


def test_export_and_import_is_the_same_graph(tmp_path: Path) -> None:
    text = (
        "net t\ninput x 3x9x9 mean (1, 2, 3)\nconv1: conv 3x3 4 /2 ceil relu\nadd { silu | | tanh } dropout 0.3\nfc 5\n"
    )
    graph = bound(text)
    proto = to_onnx(graph, text)
    file = tmp_path / "t.onnx"
    file.write_bytes(proto.SerializeToString())
    network = import_onnx(file)
    assert network.text == text
    assert print_graph(network.graph) == print_graph(graph)
    for name, constant in graph.constants.items():
        np.testing.assert_array_equal(network.graph.constants[name].value, constant.value)


def test_an_edited_export_is_read_from_its_nodes(tmp_path: Path) -> None:
    proto = to_onnx(bound("net t\ninput 3x9x9\nconv 3x3 4 relu\n"))
    proto.graph.node[-1].op_type = "Tanh"
    file = tmp_path / "t.onnx"
    file.write_bytes(proto.SerializeToString())
    assert [n.op for n in import_onnx(file).graph.nodes] == ["input", "conv", "tanh"]


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_random_graphs(graph: Graph) -> None:
    """Exported and read from the nodes alone: the same values; as a text: the same graph."""
    graph = weights.bind(graph, seed=2)
    newer = [n for n in graph.nodes if n.attrs.get("reduction") in ("max", "min") or n.attrs.get("antialias")]
    assume(not newer)  # of newer opsets than we write
    assume(
        not any(n.op == "nms" for n in graph.nodes)
    )  # the rows it fills up are counted by the nodes that are written
    assume(all(n.type.is_float for n in graph.nodes))  # integers are read as float32
    proto = to_onnx(graph)
    proto.ClearField("metadata_props")
    imported = from_onnx(proto)
    arrays = [random(*n.type.shape) for n in graph.inputs]
    wanted, got = reference.run(graph, arrays), reference.run(imported.graph, arrays)
    for name, port in zip(graph.outputs, imported.outputs, strict=True):
        array = got[port.node].reshape(wanted[name].shape)
        np.testing.assert_allclose(array, wanted[name], rtol=1e-4, atol=1e-5 * (1 + np.abs(wanted[name]).max()))
    written = net_text(imported.graph, imported.sources)
    assert lang.format_text(written.text) == written.text
    direct = net_text(graph)
    assert len(direct.graph.nodes) == len(graph.nodes)


ZOO = sorted(resources.directory("models").glob("*.net"))
LARGE, DEEP = 30_000_000, 1000
"""Parameters, and nodes, from which a network is not written in the quick tests."""


def is_quick(path: Path) -> bool:
    graph = lang.read(path)
    return total_params(graph) <= LARGE and len(graph.nodes) <= DEEP


@pytest.mark.parametrize(
    "path", [p if is_quick(p) else pytest.param(p, marks=pytest.mark.slow) for p in ZOO], ids=lambda p: p.stem
)
def test_the_zoo_comes_back_as_it_was(path: Path) -> None:
    """With the text, and from the nodes alone: then the names differ, but the layers and what they cost do not."""
    text = path.read_text()
    graph = bound(text)
    proto = to_onnx(graph, text)
    known = original(proto)
    assert known is not None
    assert known[0] == text
    assert print_graph(known[1]) == print_graph(graph)
    proto.ClearField("metadata_props")
    imported = from_onnx(proto)
    written = net_text(imported.graph, imported.sources)
    assert total_params(written.graph) == total_params(graph)
    assert sum(macs(written.graph, n) for n in written.graph.nodes) == sum(macs(graph, n) for n in graph.nodes)
    assert len(written.text.splitlines()) <= max(60, 2 * len(text.splitlines()))
