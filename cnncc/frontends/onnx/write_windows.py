"""Convolutions, pools and pads in ONNX. What `ceil` adds is said by padding: rounding up differs between runtimes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.ir import Node
from cnncc.ops.quantize import stored_number
from cnncc.ops.window import Axis, axes

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel

Pads = tuple[int, ...]
"""(top, left, bottom, right), in ONNX's order as in ours."""


@dataclass(frozen=True)
class Border:
    """Padding with which rounding down counts the windows of a node."""

    given: Pads
    """The part of it that the network asks for."""
    beyond: Pads
    """What the partial windows of `ceil` see after that."""

    @property
    def whole(self) -> Pads:
        return tuple(a + b for a, b in zip(self.given, self.beyond, strict=True))


def trailing(axis: Axis, count: int, limit: float) -> int:
    """Padding after the input that gives `count` windows: the one asked for if it does, and is below `limit`."""
    least = (count - 1) * axis.stride + axis.span - axis.size - axis.before
    asked_fits = least <= axis.after < min(least + axis.stride, limit)
    return axis.after if asked_fits else max(least, 0)


def border(model: OnnxModel, node: Node, pooling: bool) -> Border:
    """The border of a sliding window. ONNX Runtime refuses pools with pads as large as the kernel."""
    y, x = axes(model.shape(node.inputs[0]), node.attrs)
    after = [
        trailing(axis, count, axis.kernel if pooling else math.inf)
        for axis, count in zip((y, x), node.type.shape[2:], strict=True)
    ]
    given = [min(a, axis.after) for a, axis in zip(after, (y, x), strict=True)]
    return Border((y.before, x.before, *given), (0, 0, after[0] - given[0], after[1] - given[1]))


def window(node: Node, pads: Pads) -> dict[str, Any]:
    """The attributes that all sliding windows share."""
    more = {"dilations": node.attrs["dilation"]} if "dilation" in node.attrs else {}
    return {"kernel_shape": node.attrs["kernel"], "strides": node.attrs["stride"], "pads": pads, **more}


def padded(model: OnnxModel, node: Node, pads: Pads, value: float, data: str = "") -> str:
    """The input of a node, or `data`, with a border of its own."""
    top, left, bottom, right = pads
    sides = model.integers(f"{node.name}.pads", (0, 0, top, left, 0, 0, bottom, right))
    fill = model.number(f"{node.name}.border", value)
    return model.step("Pad", [data or model.data(node)[0], sides, fill], f"{node.name}:padded", mode="constant")


def conv(model: OnnxModel, node: Node) -> None:
    """Zeros are what partial windows see too."""
    settings = window(node, border(model, node, pooling=False).whole)
    model.emit("Conv", model.data(node) + model.weights(node), node.name, group=node.attrs["groups"], **settings)


def ending(axis: Axis, more: int) -> tuple[int, int, int]:
    """How the result of a transposed convolution gets `more` positions at its end: (zeros after the input, pad,
    output_padding). ONNX Runtime allows less output_padding than stride or dilation; zeros after the input give
    stride positions each, and the pad takes away what is too many."""
    if more < max(axis.stride, axis.dilation):
        return 0, axis.after, more
    zeros = max(0, -((axis.after - more) // axis.stride))
    return zeros, axis.after - more + zeros * axis.stride, 0


def transposed(model: OnnxModel, node: Node, data: str) -> tuple[str, dict[str, Any]]:
    """What a transposed convolution of `data` reads, and its attributes."""
    y, x = axes(model.shape(node.inputs[0]), node.attrs)
    endings = [ending(axis, more) for axis, more in zip((y, x), node.attrs["output_pad"], strict=True)]
    zeros, after, more = zip(*endings, strict=True)
    data = padded(model, node, (0, 0, *zeros), 0.0, data) if any(zeros) else data
    settings = {**window(node, (y.before, x.before, *after)), "group": node.attrs["groups"], "output_padding": more}
    return data, settings


def conv_transpose(model: OnnxModel, node: Node) -> None:
    """Same attributes, same order of the weight."""
    data, settings = transposed(model, node, *model.data(node))
    model.emit("ConvTranspose", [data, *model.weights(node)], node.name, **settings)


def maxpool(model: OnnxModel, node: Node) -> None:
    """Padding never wins."""
    data, pads = model.data(node), border(model, node, pooling=True).whole
    if any(p >= node.attrs["kernel"][i % 2] for i, p in enumerate(pads)):
        # A dilated window may: ONNX Runtime compares with the kernel, not with its span.
        data, pads = [padded(model, node, pads, -math.inf)], (0, 0, 0, 0)
    model.emit("MaxPool", data, node.name, **window(node, pads))


def avgpool(model: OnnxModel, node: Node) -> None:
    """With `count_include_pad` the padding counts and what `ceil` adds does not, so the two have to be told apart."""
    data, edge, counted = model.data(node), border(model, node, pooling=True), bool(node.attrs["count_include_pad"])
    pads = edge.whole
    if counted and any(edge.beyond):
        data, pads, counted = [padded(model, node, edge.given, 0.0)], edge.beyond, False
    model.emit("AveragePool", data, node.name, count_include_pad=int(counted), **window(node, pads))


def unfold(model: OnnxModel, node: Node) -> None:
    """A depthwise convolution whose filters let one tap each through."""
    channels, taps = model.shape(node.inputs[0])[1], math.prod(node.attrs["kernel"])
    filters = np.eye(taps, dtype=np.float32).reshape(taps, 1, *node.attrs["kernel"])
    weight = model.tensor(f"{node.name}.taps", np.tile(filters, (channels, 1, 1, 1)))
    model.emit("Conv", [*model.data(node), weight], node.name, group=channels, **window(node, node.attrs["pad"]))


def wrapped(model: OnnxModel, node: Node) -> None:
    """Rows and columns taken in turns: Pad has had `wrap` since opset 19 only."""
    top, left, bottom, right = node.attrs["pad"]
    (data,), sizes = model.data(node), model.shape(node.inputs[0])
    for axis, before, after in ((2, top, bottom), (3, left, right)):
        places = model.integers(f"{node.name}.{axis}", (i % sizes[axis] for i in range(-before, sizes[axis] + after)))
        emit = model.step if axis == 2 else model.emit
        data = emit("Gather", [data, places], node.name if axis == 3 else f"{node.name}:rows", axis=axis)


def pad(model: OnnxModel, node: Node) -> None:
    """Constant, edge and reflect go by the same names."""
    if node.attrs["mode"] == "wrap":
        wrapped(model, node)
        return
    top, left, bottom, right = node.attrs["pad"]
    inputs = [*model.data(node), model.integers(f"{node.name}.pads", (0, 0, top, left, 0, 0, bottom, right))]
    if node.attrs["mode"] == "constant":
        stored = np.array(stored_number(node.attrs["value"], node.type), node.type.element.dtype)
        inputs.append(model.tensor(f"{node.name}.value", stored))
    model.emit("Pad", inputs, node.name, mode=node.attrs["mode"])


WINDOW_RULES: Mapping[str, Callable[[OnnxModel, Node], object]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "maxpool": maxpool,
    "avgpool": avgpool,
    "pad": pad,
    "unfold": unfold,
}
