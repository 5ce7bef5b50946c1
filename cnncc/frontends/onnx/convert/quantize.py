"""Quantised models in float32, and conversions: what is rounded and bounded in ONNX is rounded and bounded here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx.convert.arithmetic import convert
from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.tensors import is_numeric, kind_of
from cnncc.frontends.onnx.types import Kind, cast_to
from cnncc.frontends.onnx.values import Unsupported, Value, axis_of

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTISED = re.compile(r"(Dynamic)?(Quantize|Dequantize)Linear|QLinear\w+|\w+Integer(ToFloat)?|QGemm|QAttention")
"""The ops of quantised models, those of ONNX Runtime's domain too."""
FLOATS = frozenset({"FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"})
INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))


def told(model: ModelProto) -> str:
    """What to say of a model that has quantised ops; an empty text for others."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    found = sorted({node.op_type for node in nodes if QUANTISED.fullmatch(node.op_type)})
    if not found:
        return ""
    how = "weights are dequantised, activations rounded and bounded as their types are"
    return f"a quantised model ({', '.join(found)}) is computed in float32: {how}"


def quantize(site: OnnxSite) -> Tensor:
    """round(x / scale) + zero point, bounded by what the type can hold."""
    value = site.value(0)
    scale, zero, kind = quantisation(site)
    steps = site.pointwise("round", divided(site, value, along_axis(site, value, scale)))
    placed = added(site, steps, along_axis(site, value, zero))
    limits = np.iinfo(kind)
    return site.pointwise("clip", placed, low=float(limits.min), high=float(limits.max))


def divided(site: OnnxSite, value: Value, scale: np.ndarray) -> Value:
    """x / scale; by a multiplication where that gives the same bits: else what lies halfway may round to the other
    side."""
    if (np.frexp(scale)[0] == 0.5).all():
        return multiplied(site, value, 1 / scale)
    return merged(site, "div", value, scale.astype(np.float32))


def dequantize(site: OnnxSite) -> Tensor:
    """(x - zero point) * scale."""
    value = site.value(0)
    scale, zero, _ = quantisation(site)
    scale, zero = (along_axis(site, value, numbers) for numbers in (scale, zero))
    if scale.size == zero.size == 1:
        step = float(scale.reshape(()))
        return site.pointwise("affine", value, scale=step, shift=0.0 - step * float(zero.reshape(())))
    return multiplied(site, added(site, value, -zero), scale)


def quantisation(site: OnnxSite) -> tuple[np.ndarray, np.ndarray, Kind]:
    """Scale and zero point as float64, and the integer type."""
    if site.integer("block_size", 0):
        raise Unsupported("quantisation in blocks along an axis")
    zero = site.const(2, "the zero point") if site.has(2) else np.zeros((), output_kind(site))
    scale = site.vector(1, "the scale").astype(np.float64)
    kind = zero.dtype
    if kind.kind not in "iu" or not np.isfinite(scale).all() or not scale.all() or zero.size not in (1, scale.size):
        raise Unsupported("quantisation of a computed tensor other than by scales above 0, to an integer type")
    return scale, zero.reshape(-1).astype(np.float64), kind


def output_kind(site: OnnxSite) -> Kind:
    """The integer type where no zero point says it."""
    from onnx import helper

    number = site.integer("output_dtype", 0)
    if not number:
        return np.dtype(np.uint8)
    if not is_numeric(number):
        raise Unsupported(f"attribute output_dtype: {kind_of(number)} is no type of numbers")
    return helper.tensor_dtype_to_np_dtype(number)


def along_axis(site: OnnxSite, value: Value, numbers: np.ndarray) -> np.ndarray:
    """One number for all, or one for each place of the axis."""
    rank = len(value.shape)
    if numbers.size == 1:
        return numbers.reshape((1,) * rank)
    axis = axis_of(site.integer("axis", 1), rank)
    if numbers.size != value.shape[axis]:
        raise Unsupported(f"{numbers.size} scales along an axis of {value.shape[axis]}")
    return numbers.reshape([-1 if i == axis else 1 for i in range(rank)])


def multiplied(site: OnnxSite, value: Value, factors: np.ndarray) -> Value:
    return combined(site, "mul", value, factors)


def added(site: OnnxSite, value: Value, summands: np.ndarray) -> Value:
    return combined(site, "add", value, summands) if summands.any() else value


def cast(site: OnnxSite) -> Tensor:
    """All arithmetic is float32; what becomes an integer is cut off at the point."""
    name = kind_of(site.integer("to"))
    if name not in FLOATS | INTEGERS | {"BOOL"}:
        raise Unsupported(f"a computed tensor as {name}")
    return convert(site, site.value(0), site.kind(0), cast_to(site.node))


def cast_like(site: OnnxSite) -> Tensor:
    """As the second tensor is."""
    kind = site.kind(1)
    return site.value(0) if kind is None else convert(site, site.value(0), site.kind(0), kind)


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "Cast": cast,
    "CastLike": cast_like,
}
"""Of one result each."""
