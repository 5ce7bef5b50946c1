"""A bound graph as an ONNX model, so that a peer runs the same network with the same weights.

For the ops the zoo uses, in the form ONNX Runtime is fastest with. The graph is the one the text says, before any pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cnncc.errors import CnnccError, nearest
from cnncc.ir import Graph, Node
from cnncc.ops.window import axes

OPSET = 17
IR_VERSION = 8


class Export:
    """The nodes and tensors of the model so far. A value has the name of the graph's node that computes it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self.alias: dict[str, str] = {}
        """Values that are another value: dropout does nothing at inference."""

    def data(self, node: Node) -> list[str]:
        """The inputs of a node, by the names of their values in the model."""
        return [self.alias.get(name, name) for name in node.inputs]

    def tensor(self, name: str, value: np.ndarray) -> str:
        """Stores a constant. Its name starts with a colon, so that it never meets that of a value."""
        self.tensors.append(numpy_helper.from_array(value, f":{name}"))
        return f":{name}"

    def weights(self, node: Node) -> list[str]:
        """The constants of a node, in the order of its slots."""
        return [self.tensor(name, self.graph.constants[name].compute()) for name in node.weights.values()]

    def emit(self, op: str, inputs: list[str], result: str, **attributes: Any) -> str:
        """Appends one node; returns the name of its result."""
        self.nodes.append(helper.make_node(op, inputs, [result], name=result, **attributes))
        return result


Rule = Callable[[Export, Node], object]


def to_onnx(graph: Graph) -> ModelProto:
    """The model of a graph with bound weights: float32, the graph's own batch, inputs and outputs by their names.

    CnnccError for an op that has no rule here.
    """
    export = Export(graph)
    for node in graph.nodes:
        if node.op not in RULES or node.attrs.get("epilogue"):
            raise CnnccError(f"benchmarks: no ONNX for {node.op} ({node.name})", node.span, hint=nearest("", RULES))
        RULES[node.op](export, node)
    for name in graph.outputs:
        if name in export.alias:
            export.emit("Identity", [export.alias[name]], name)
    ports = [[_port(graph[name]) for name in names] for names in ([n.name for n in graph.inputs], graph.outputs)]
    body = helper.make_graph(export.nodes, graph.name, *ports, initializer=export.tensors)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _port(node: Node) -> Any:
    name = f"{node.name}:raw" if normalised(node) else node.name
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, node.type.shape)


def normalised(node: Node) -> bool:
    """Whether the value of an `input` node differs from what the caller passes."""
    return node.op == "input" and bool(node.attrs["mean"] or node.attrs["std"])


def _input(export: Export, node: Node) -> None:
    """(x - mean) / std as the one ONNX op that does it in one sweep: a batch norm with epsilon 0."""
    if not normalised(node):
        return
    channels = node.type.shape[1]
    mean, std = (
        np.broadcast_to(np.array(node.attrs[name] or neutral, np.float32), channels)
        for name, neutral in (("mean", 0.0), ("std", 1.0))
    )
    values = {"gain": np.sign(std), "shift": np.zeros_like(std), "mean": mean, "variance": std * std}
    constants = [export.tensor(f"{node.name}.{slot}", value) for slot, value in values.items()]
    export.emit("BatchNormalization", [f"{node.name}:raw", *constants], node.name, epsilon=0.0)


def _const(export: Export, node: Node) -> None:
    export.alias[node.name] = export.weights(node)[0]


def explicit_pads(export: Export, node: Node) -> list[int]:
    """Pads with which rounding down counts the windows that `ceil` counts: what they see beyond is more padding."""
    y, x = axes(export.graph[node.inputs[0]].type.shape, node.attrs)
    after = [
        max(axis.after, (count - 1) * axis.stride + axis.span - axis.size - axis.before)
        for axis, count in zip((y, x), node.type.shape[2:], strict=True)
    ]
    return [y.before, x.before, *after]


def _window(export: Export, node: Node) -> dict[str, Any]:
    return {
        "kernel_shape": node.attrs["kernel"],
        "strides": node.attrs["stride"],
        "pads": explicit_pads(export, node),
    }


def _conv(export: Export, node: Node) -> None:
    more = {"dilations": node.attrs["dilation"], "group": node.attrs["groups"]}
    export.emit("Conv", export.data(node) + export.weights(node), node.name, **_window(export, node), **more)


def _conv_transpose(export: Export, node: Node) -> None:
    a = node.attrs
    more = {"dilations": a["dilation"], "group": a["groups"], "output_padding": a["output_pad"]}
    window = {"kernel_shape": a["kernel"], "strides": a["stride"], "pads": a["pad"]}
    export.emit("ConvTranspose", export.data(node) + export.weights(node), node.name, **window, **more)


def _fc(export: Export, node: Node) -> None:
    (data,) = export.data(node)
    if len(export.graph[node.inputs[0]].type.shape) == 4:
        data = export.emit("Flatten", [data], f"{node.name}:flat", axis=1)
    export.emit("Gemm", [data, *export.weights(node)], node.name, transB=1)


def _maxpool(export: Export, node: Node) -> None:
    more = {"dilations": node.attrs["dilation"]}
    export.emit("MaxPool", export.data(node), node.name, **_window(export, node), **more)


def _avgpool(export: Export, node: Node) -> None:
    window = _window(export, node)
    if node.attrs["count_include_pad"] and tuple(window["pads"]) != tuple(node.attrs["pad"]):
        # ONNX would count what `ceil` adds; cnncc does not.
        raise CnnccError(f"benchmarks: no ONNX for avgpool with ceil and count_include_pad ({node.name})", node.span)
    export.emit(
        "AveragePool", export.data(node), node.name, **window, count_include_pad=int(node.attrs["count_include_pad"])
    )


def _bn(export: Export, node: Node) -> None:
    export.emit(
        "BatchNormalization", export.data(node) + export.weights(node), node.name, epsilon=float(node.attrs["eps"])
    )


def _lrn(export: Export, node: Node) -> None:
    a = node.attrs
    numbers = {"alpha": float(a["alpha"]), "beta": float(a["beta"]), "bias": float(a["k"]), "size": a["size"]}
    export.emit("LRN", export.data(node), node.name, **numbers)


def _pairwise(op: str) -> Rule:
    """A merge as a chain of two at a time: ONNX Runtime fuses `Add` into a convolution, `Sum` it does not."""

    def rule(export: Export, node: Node) -> None:
        first, *middle, last = export.data(node)
        for i, arm in enumerate(middle):
            first = export.emit(op, [first, arm], f"{node.name}:{i}")
        export.emit(op, [first, last], node.name)

    return rule


def _crop(export: Export, node: Node) -> None:
    a = node.attrs
    corners = {"starts": (a["top"], a["left"]), "ends": (a["top"] + a["height"], a["left"] + a["width"])}
    bounds = {**corners, "axes": (2, 3)}
    constants = [export.tensor(f"{node.name}.{k}", np.array(v, np.int64)) for k, v in bounds.items()]
    export.emit("Slice", export.data(node) + constants, node.name)


def _unchanged(export: Export, node: Node) -> None:
    (export.alias[node.name],) = export.data(node)


def _plain(op: str, **attributes: Any) -> Rule:
    """An op that ONNX has under another name, with fixed attributes."""
    return lambda export, node: export.emit(op, export.data(node), node.name, **attributes)


RULES: Mapping[str, Rule] = {
    "input": _input,
    "const": _const,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "fc": _fc,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "gap": _plain("GlobalAveragePool"),
    "gmp": _plain("GlobalMaxPool"),
    "bn": _bn,
    "lrn": _lrn,
    "relu": _plain("Relu"),
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "hard_swish": _plain("HardSwish"),
    "softmax": _plain("Softmax", axis=1),
    "add": _pairwise("Add"),
    "mul": _pairwise("Mul"),
    "concat": _plain("Concat", axis=1),
    "crop": _crop,
    "flatten": _plain("Flatten", axis=1),
    "dropout": _unchanged,
    "identity": _unchanged,
}
