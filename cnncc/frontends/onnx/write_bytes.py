"""Layers on bytes in ONNX: DequantizeLinear, the layer of numbers, QuantizeLinear. Runtimes make one layer of them.

A bound behind a layer stands before its QuantizeLinear, where runtimes look for it: that gives the same bytes, since
rounding keeps the order of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.frontends.onnx.write_windows import border, transposed, window
from cnncc.ir import Node, TensorType
from cnncc.ops.byte_arithmetic import known, scales
from cnncc.ops.conv import turned_weight
from cnncc.ops.pointwise import BOUNDED

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel

WriteRule = Callable[["OnnxModel", Node], object]
LAYERS = ("qconv", "qconv_transpose", "qfc", "qadd", "qgap", "qmul")


def steps(model: OnnxModel, name: str, kind: TensorType) -> list[str]:
    """Scale and zero point of a quantised type."""
    zero = np.array(known(kind).zero, kind.element.dtype)
    return [model.number(f"{name}.scale", known(kind).scale), model.tensor(f"{name}.zero", zero)]


def numbers(model: OnnxModel, node: Node, i: int, value: str = "") -> str:
    """The numbers of an input of bytes."""
    name, kind = f"{node.name}:{i}", model.graph[node.inputs[i]].type
    given = [value or model.data(node)[i], *steps(model, name, kind)]
    return model.step("DequantizeLinear", given, f"{name}.numbers")


def weights(model: OnnxModel, node: Node) -> list[str]:
    """The numbers of weight and bias."""
    return [weight_numbers(model, node, model.weight(node.weights["weight"])), *bias_numbers(model, node)]


def weight_numbers(model: OnnxModel, node: Node, weight: str, axis: int = 0) -> str:
    """The numbers of a tensor of weights, whose outputs lie along an axis."""
    scale = model.weight(node.weights["weight_scale"])
    zeros = model.tensor(f"{node.name}.weight_zero", np.zeros(node.attrs["out"], np.int8))
    return model.step("DequantizeLinear", [weight, scale, zeros], f"{node.name}:weight", axis=axis)


def bias_numbers(model: OnnxModel, node: Node) -> list[str]:
    """The numbers of a bias, if there is one. It is in steps of the sum: its scale is the product of the others."""
    if "bias" not in node.weights:
        return []
    source, factors = known(model.graph[node.inputs[0]].type).scale, node.weights["weight_scale"]
    scale = model.tensor(f"{node.name}.bias_scale", scales(source, model.graph.constants[factors].compute()))
    zeros = model.tensor(f"{node.name}.bias_zero", np.zeros(node.attrs["out"], np.int32))
    return [
        model.step("DequantizeLinear", [model.weight(node.weights["bias"]), scale, zeros], f"{node.name}:bias", axis=0)
    ]


def finish(model: OnnxModel, node: Node, op: str, inputs: list[str], **attributes: Any) -> None:
    """The last op of a layer, and the rounding behind it, unless a bound comes first."""
    if node.type.is_float:
        model.emit(op, inputs, node.name, **attributes)
        return
    value = model.step(op, inputs, f"{node.name}:sum", **attributes)
    if is_bounded(model, node):
        model.stands_for(node, value)
    else:
        model.emit("QuantizeLinear", [value, *steps(model, node.name, node.type)], node.name)


def is_bounded(model: OnnxModel, node: Node) -> bool:
    """Whether only a bound reads the bytes of a layer."""
    users = model.graph.users(node.name)
    return node.op in LAYERS and model.graph.is_private(node.name) and users[0].op in BOUNDED


def layer(model: OnnxModel, node: Node, op: str, x: str, made: list[str] | None = None, **attributes: Any) -> None:
    """A layer with weights, `made` of them by others; what its epilogue adds is added before the result is rounded."""
    inputs = [x, *(made or weights(model, node))]
    if len(node.inputs) == 1:
        finish(model, node, op, inputs, **attributes)
        return
    total = model.step(op, inputs, f"{node.name}:alone", **attributes)
    finish(model, node, "Add", [total, numbers(model, node, 1)])


def qconv(model: OnnxModel, node: Node) -> None:
    """Conv."""
    settings = window(node, border(model, node, pooling=False).whole)
    layer(model, node, "Conv", numbers(model, node, 0), group=node.attrs["groups"], **settings)


def qconv_transpose(model: OnnxModel, node: Node) -> None:
    """ConvTranspose."""
    data, settings = transposed(model, node, numbers(model, node, 0))
    layer(model, node, "ConvTranspose", data, [weight_by_input(model, node), *bias_numbers(model, node)], **settings)


def is_by_input(node: Node) -> bool:
    """Whether the weight of a layer on bytes is stored with its inputs first."""
    return BYTE_RULES.get(node.op) is qconv_transpose and node.attrs["groups"] == 1


def weight_by_input(model: OnnxModel, node: Node) -> str:
    """The numbers of a transposed convolution's weight, whose inputs come first in ONNX. DequantizeLinear then has no
    scale for each output of several groups: numbers are turned instead of integers."""
    groups, weight = node.attrs["groups"], model.graph.constants[node.weights["weight"]]
    if is_by_input(node):
        turned = model.tensor(node.weights["weight"], turned_weight(weight.compute(), 1))
        return weight_numbers(model, node, turned, axis=1)
    out, each, *kernel = weight.shape
    split = model.integers(f"{node.name}.split", (groups, out // groups, each, *kernel))
    whole = model.integers(f"{node.name}.whole", (groups * each, out // groups, *kernel))
    parts = model.step(
        "Reshape", [weight_numbers(model, node, model.weight(node.weights["weight"])), split], f"{node.name}:split"
    )
    turned = model.step("Transpose", [parts], f"{node.name}:turned", perm=[0, 2, 1, *range(3, 3 + len(kernel))])
    return model.step("Reshape", [turned, whole], f"{node.name}:by_input")


def qfc(model: OnnxModel, node: Node) -> None:
    """Gemm."""
    value = model.data(node)[0]
    if len(model.shape(node.inputs[0])) > 2:
        value = model.step("Flatten", [value], f"{node.name}:flat", axis=1)
    layer(model, node, "Gemm", numbers(model, node, 0, value), transB=1)


def qadd(model: OnnxModel, node: Node) -> None:
    """Add."""
    finish(model, node, "Add", [numbers(model, node, i) for i in (0, 1)])


def qgap(model: OnnxModel, node: Node) -> None:
    """GlobalAveragePool."""
    finish(model, node, "GlobalAveragePool", [numbers(model, node, 0)])


def qmul(model: OnnxModel, node: Node) -> None:
    """Mul, whose factors are numbers."""
    finish(model, node, "Mul", [numbers(model, node, 0), model.data(node)[1]])


def bound(of_numbers: WriteRule) -> WriteRule:
    """A bound of numbers, or of bytes: then it stands between the layer before it and its rounding."""

    def rule(model: OnnxModel, node: Node) -> None:
        if node.type.is_float:
            of_numbers(model, node)
            return
        before = model.graph[node.inputs[0]]
        value = model.data(node)[0] if is_bounded(model, before) else numbers(model, node, 0)
        bounded = model.fresh(f"{node.name}:bounded")
        of_numbers(model, node.with_(name=bounded, inputs=(value,)))
        model.emit("QuantizeLinear", [bounded, *steps(model, node.name, node.type)], node.name)

    return rule


BYTE_RULES: Mapping[str, WriteRule] = {
    "qconv": qconv,
    "qconv_transpose": qconv_transpose,
    "qfc": qfc,
    "qadd": qadd,
    "qgap": qgap,
    "qmul": qmul,
}
