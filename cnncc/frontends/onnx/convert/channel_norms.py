"""Layer norm and rms norm, along the channels or several axes; how these, global response norm and learned scales are
written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.convert.reduce import reduced, square
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Value, axis_of, plain_value
from cnncc.ir import Node

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel


def layer_norm(site: OnnxSite) -> list[Tensor]:
    """The axes from one on are normed together; mean and inverse deviation only where somebody reads them."""
    value = site.value(0)
    rank = len(value.shape)
    axis = axis_of(site.integer("axis", -1), rank)
    eps = site.number("epsilon", 1e-5, low=0)
    results: list[Tensor] = [along(site, value, axis, eps) if axis == rank - 1 else over(site, value, axis, eps)]
    if any(site.wants(i) for i in (1, 2)):
        plain = plain_value(site.b.plain(value, f"{site.hint}.t"), value.shape)
        results += statistics(site, plain, tuple(range(axis, rank)), eps)
    return results


def along(site: OnnxSite, value: Value, axis: int, eps: float) -> Value:
    """A norm of one axis, which is made the channels; with its weights, where they are known."""
    site.b.refuse_batch(value, axis)
    arranged, node = site.b.front(value, axis, site.hint)
    given = [site.inputs[i] for i in (1, 2) if site.has(i)]
    count = value.shape[axis]
    known = [g.reshape(-1) for g in given if isinstance(g, np.ndarray) and g.size == count]
    if given and len(known) == len(given) and site.has(1):
        made = site.add("layernorm", node, weights=known, eps=eps, bias=len(known) == 2)
        return Value(made, value.shape, arranged.axes)
    normed = Value(site.add("layernorm", node, eps=eps, affine=False), value.shape, arranged.axes)
    return scaled(site, normed)


def over(site: OnnxSite, value: Value, axis: int, eps: float) -> Value:
    """A norm of several axes together."""
    rows = math.prod(value.shape[:axis]) // (site.b.batch if site.b.batch > 1 else 1)
    node = site.b.plain(value, f"{site.hint}.t")
    seen = site.b.seen(node, (rows, 1, math.prod(value.shape[axis:])), site.hint)
    normed = plain_value(site.add("group_norm", seen, groups=rows, eps=eps, affine=False), value.shape)
    return scaled(site, normed)


def scaled(site: OnnxSite, value: Value) -> Value:
    """The value with the scale and the shift that the node gives."""
    for i, op in ((1, "mul"), (2, "add")):
        if site.has(i):
            value = combined(site, op, value, site.tensor_at(i))
    return value


def statistics(site: OnnxSite, value: Value, axes: tuple[int, ...], eps: float) -> list[Tensor]:
    """Mean and 1 / sqrt(variance + eps)."""
    mean = reduced(site, "gap", value, axes)
    centred = combined(site, "add", value, site.pointwise("affine", mean, scale=-1.0))
    variance = reduced(site, "gap", square(site, centred), axes)
    return [mean, inverse_root(site, variance, eps)]


def inverse_root(site: OnnxSite, value: Value, eps: float) -> Value:
    """1 / sqrt(value + eps)."""
    return site.pointwise("reciprocal", site.pointwise("sqrt", site.pointwise("affine", value, shift=eps)))


def rms_norm(site: OnnxSite) -> Tensor:
    """The axes from one on are normed together."""
    value = site.value(0)
    rank = len(value.shape)
    axis = axis_of(site.integer("axis", -1), rank)
    eps = site.number("epsilon", 1e-5, low=0)
    scale = site.tensor_at(1)
    if axis < rank - 1:
        share = inverse_root(site, reduced(site, "gap", square(site, value), tuple(range(axis, rank))), eps)
        return scaled(site, merged(site, "mul", value, share))
    site.b.refuse_batch(value, axis)
    arranged, node = site.b.front(value, axis, site.hint)
    if isinstance(scale, np.ndarray) and scale.size == value.shape[axis]:
        made = site.add("rmsnorm", node, weights=[scale.reshape(-1)], eps=eps)
        return Value(made, value.shape, arranged.axes)
    return scaled(site, Value(site.add("rmsnorm", node, eps=eps, affine=False), value.shape, arranged.axes))


RULES: Mapping[str, Callable[[OnnxSite], Tensor | list[Tensor]]] = {
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
}
"""Of one result, `layer_norm` of up to three."""


# Writing


def write_layernorm(model: OnnxModel, node: Node) -> None:
    """Along the last axis, which the channels become for the time."""
    (x,), name = model.data(node), node.name
    order = (0, *range(2, len(node.type.shape)), 1)
    last = model.step("Transpose", [x], f"{name}:last", perm=order) if len(order) > 2 else x
    weights = model.weights(node) or [model.tensor(f"{name}.ones", np.ones(node.type.shape[1], np.float32))]
    eps = float(node.attrs["eps"])
    if len(order) == 2:
        model.emit("LayerNormalization", [last, *weights], name, axis=-1, epsilon=eps)
        return
    normed = model.step("LayerNormalization", [last, *weights], f"{name}:normed", axis=-1, epsilon=eps)
    model.emit("Transpose", [normed], name, perm=back(order))


def back(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes one."""
    return tuple(order.index(i) for i in range(len(order)))


def columns(model: OnnxModel, node: Node) -> list[str]:
    """The weights of a node in the shape in which they multiply its channels."""
    shape = model.integers(f"{node.name}.column", (-1, *(1,) * (len(node.type.shape) - 2)))
    pairs = zip(node.weights, model.weights(node), strict=True)
    return [model.step("Reshape", [w, shape], f"{node.name}:{slot}") for slot, w in pairs]


def write_rmsnorm(model: OnnxModel, node: Node) -> None:
    """RMSNormalization is of opset 23."""
    (x,), name = model.data(node), node.name
    squares = model.step("Mul", [x, x], f"{name}:squares")
    mean = model.step("ReduceMean", [squares], f"{name}:mean", axes=[1], keepdims=1)
    base = model.step("Add", [mean, model.number(f"{name}.eps", node.attrs["eps"])], f"{name}:base")
    steps = [model.step("Sqrt", [base], f"{name}:root")]
    scale = columns(model, node)
    if not scale:
        model.emit("Div", [x, *steps], name)
        return
    model.emit("Mul", [model.step("Div", [x, *steps], f"{name}:normed"), *scale], name)


def write_grn(model: OnnxModel, node: Node) -> None:
    """x (1 + weight * length / mean length) + bias."""
    (x,), name = model.data(node), node.name
    axes = list(range(2, len(node.type.shape)))
    length = (
        model.step("ReduceL2", [x], f"{name}:length", axes=axes, keepdims=1)
        if axes
        else model.step("Abs", [x], f"{name}:length")
    )
    mean = model.step("ReduceMean", [length], f"{name}:mean", axes=[1], keepdims=1)
    base = model.step("Add", [mean, model.number(f"{name}.eps", node.attrs["eps"])], f"{name}:base")
    weight, bias = columns(model, node)
    share = model.step("Mul", [model.step("Div", [length, base], f"{name}:share"), weight], f"{name}:weighted")
    factor = model.step("Add", [share, model.number(f"{name}.one", 1)], f"{name}:factor")
    model.emit("Add", [model.step("Mul", [x, factor], f"{name}:scaled"), bias], name)


def write_scale(model: OnnxModel, node: Node) -> None:
    """A product with a column, and a sum."""
    (x,), (scale, *shift) = model.data(node), columns(model, node)
    if not shift:
        model.emit("Mul", [x, scale], node.name)
        return
    model.emit("Add", [model.step("Mul", [x, scale], f"{node.name}:scaled"), *shift], node.name)


def pooled(op: str) -> Callable[[OnnxModel, Node], object]:
    """A reduction along the channels. ReduceSum takes its axes as a tensor."""

    def rule(model: OnnxModel, node: Node) -> None:
        if op == "ReduceSum":
            axes = model.integers(f"{node.name}.axes", (1,))
            model.emit(op, [*model.data(node), axes], node.name, keepdims=1)
        else:
            model.emit(op, model.data(node), node.name, axes=[1], keepdims=1)

    return rule


WRITTEN: Mapping[str, Callable[[OnnxModel, Node], object]] = {
    "layernorm": write_layernorm,
    "rmsnorm": write_rmsnorm,
    "grn": write_grn,
    "scale": write_scale,
    "channel_mean": pooled("ReduceMean"),
    "channel_max": pooled("ReduceMax"),
    "channel_sum": pooled("ReduceSum"),
}
