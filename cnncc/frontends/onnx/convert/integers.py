"""Sums of integers, and quantisation by scales that are computed at run time, as models have them that are quantised
without any images (`quantize_dynamic`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.convolutions import conv
from cnncc.frontends.onnx.convert.dense import matmul
from cnncc.frontends.onnx.convert.pointwise import combined, negated
from cnncc.frontends.onnx.convert.qlinear import along, of_numbers, stated
from cnncc.frontends.onnx.convert.quantize import BYTES, OnnxSteps, from_steps
from cnncc.frontends.onnx.convert.reduce import reduced
from cnncc.frontends.onnx.site import OnnxRule, OnnxSite, Tensor
from cnncc.frontends.onnx.steps import dequantised
from cnncc.frontends.onnx.values import Value

AT_RUN_TIME = "the scales of what they read are computed at run time"
MOST = 255.0
"""Of uint8."""


def dynamic(site: OnnxSite) -> list[Tensor]:
    """x as uint8, by the range of this x: bytes as whole numbers, the scale, the zero point. ONNX says:
    scale = (max(x, 0) - min(x, 0)) / 255, or 1 if that is 0; zero = round(-min(x, 0) / scale)."""
    site.b.because(AT_RUN_TIME)
    x = site.value(0)
    axes = tuple(range(len(x.shape)))
    turned = site.pointwise("affine", x, scale=-1.0)
    most, depth = (reshaped(site, site.pointwise("relu", reduced(site, "gmp", v, axes))) for v in (x, turned))
    wide = site.pointwise("affine", combined(site, "add", most, depth), scale=1 / MOST)
    flat = merged(site, "equal", wide, np.zeros((), np.float32))
    scale = combined(site, "add", wide, flat)
    zero = site.pointwise("clip", site.pointwise("round", merged(site, "div", depth, scale)), low=0.0, high=MOST)
    steps = site.pointwise("round", merged(site, "div", x, scale))
    placed = combined(site, "add", steps, zero)
    return [site.pointwise("clip", placed, low=0.0, high=MOST), scale, zero]


def reshaped(site: OnnxSite, value: Value) -> Value:
    """One number as a tensor without axes."""
    return site.plain(site.b.plain(value), ())


def sums(op: str, of: OnnxRule, axis: int) -> OnnxRule:
    """x w xz wz: the sums of (x - xz) (w - wz), int32. The zero points of w are along an axis."""

    def rule(site: OnnxSite) -> Tensor:
        first = site.tensor_at(0)
        tensors = [first if isinstance(first, np.ndarray) else centred(site, first), filters(site, axis)]
        return of(of_numbers(site, op, (0, 1), tensors))

    return rule


def centred(site: OnnxSite, x: Value) -> Value:
    """x - xz."""
    zero = site.inputs[2] if site.has(2) else np.zeros((), np.uint8)
    kind = site.kind(0)
    if isinstance(zero, np.ndarray) and kind in BYTES and zero.size == 1:
        return from_steps(site, x, OnnxSteps(np.ones(1), zero.reshape(-1).astype(np.float64), np.dtype(kind)))
    site.b.because(AT_RUN_TIME)
    return combined(site, "add", site.whole_numbers(x), negated(site, zero if zero is not None else np.zeros(())))


def filters(site: OnnxSite, axis: int) -> Tensor:
    """w - wz."""
    weight = site.const(1, "the second factor")
    zero = along(site, weight, 3, axis) if site.has(3) else None
    return stated(site, 1, dequantised(weight, np.ones(1, np.float32), zero, axis), axis)


RULES: Mapping[str, Callable[[OnnxSite], Tensor | list[Tensor]]] = {
    "DynamicQuantizeLinear": dynamic,
    "ConvInteger": sums("Conv", conv, 0),
    "MatMulInteger": sums("MatMul", matmul, -1),
}
"""Of one result each, but for the first."""
