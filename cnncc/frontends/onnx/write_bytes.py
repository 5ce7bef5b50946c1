"""Layers on bytes in ONNX: DequantizeLinear, the layer of numbers, QuantizeLinear. Runtimes make one layer of them.

A bound behind a layer stands before its QuantizeLinear, where runtimes look for it: that gives the same bytes, since
rounding keeps the order of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.frontends.onnx.write_windows import border, window
from cnncc.ir import Node, TensorType
from cnncc.ops.byte_arithmetic import known, scales
from cnncc.ops.pointwise import BOUNDED

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel

WriteRule = Callable[["OnnxModel", Node], object]
LAYERS = ("qconv", "qfc", "qadd", "qgap", "qmul")


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
    """The numbers of weight and bias, which is in steps of the sum: its scale is the product of the others."""
    names = dict(zip(node.weights, model.weights(node), strict=True))
    outputs, source = node.attrs["out"], known(model.graph[node.inputs[0]].type).scale
    scale = model.graph.constants[node.weights["weight_scale"]].compute()
    made = []
    for slot, kind, by in (("weight", np.int8, names["weight_scale"]), ("bias", np.int32, "")):
        if slot in names:
            by = by or model.tensor(f"{node.name}.bias_scale", scales(source, scale))
            zeros = model.tensor(f"{node.name}.{slot}_zero", np.zeros(outputs, kind))
            made.append(model.step("DequantizeLinear", [names[slot], by, zeros], f"{node.name}:{slot}", axis=0))
    return made


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


def layer(model: OnnxModel, node: Node, op: str, x: str, **attributes: Any) -> None:
    """A layer with weights; what its epilogue adds is added before the result is rounded."""
    inputs = [x, *weights(model, node)]
    if len(node.inputs) == 1:
        finish(model, node, op, inputs, **attributes)
        return
    total = model.step(op, inputs, f"{node.name}:alone", **attributes)
    finish(model, node, "Add", [total, numbers(model, node, 1)])


def qconv(model: OnnxModel, node: Node) -> None:
    """Conv."""
    settings = window(node, border(model, node, pooling=False).whole)
    layer(model, node, "Conv", numbers(model, node, 0), group=node.attrs["groups"], **settings)


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


BYTE_RULES: Mapping[str, WriteRule] = {"qconv": qconv, "qfc": qfc, "qadd": qadd, "qgap": qgap, "qmul": qmul}
