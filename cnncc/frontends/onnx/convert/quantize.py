"""Between numbers and integers: QuantizeLinear, DequantizeLinear, Cast.

Bytes with one scale for a tensor are bytes here. What is quantised otherwise, by a scale for each channel or to other
integers, is rounded and bounded in float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx.convert.arithmetic import convert
from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.tensors import is_numeric, kind_of
from cnncc.frontends.onnx.types import Kind
from cnncc.frontends.onnx.values import Unsupported, Value, axis_of
from cnncc.ir.types import Quantization

if TYPE_CHECKING:
    from onnx import NodeProto

QUANTISED = re.compile(r"(Dynamic)?(Quantize|Dequantize)Linear|QLinear\w+|\w+Integer(ToFloat)?|QGemm|QAttention")
"""The ops of quantised models, those of ONNX Runtime's domain too."""
FLOATS = frozenset({"FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"})
INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))
OTHERWISE = "they are quantised otherwise than to 8 bits with one scale"


@dataclass(frozen=True)
class OnnxSteps:
    """How a tensor is quantised: scales and zero points as float64, one or one for each place of an axis, and the
    integer type."""

    scale: np.ndarray
    zero: np.ndarray
    kind: Kind

    @property
    def as_bytes(self) -> Quantization | None:
        """The same as a type here has it, if it has."""
        scale = float(np.float32(self.scale[0]))
        if self.kind not in BYTES or self.scale.size > 1 or self.zero.size > 1 or not 0 < scale < math.inf:
            return None
        return Quantization(scale, int(self.zero[0]))


def is_quantised(nodes: Iterable[NodeProto]) -> bool:
    """Whether nodes of a model say that it is quantised."""
    return any(QUANTISED.fullmatch(node.op_type) for node in nodes)


def quantize(site: OnnxSite) -> Tensor:
    """round(x / scale) + zero point, bounded by what the type can hold."""
    return to_steps(site, site.value(0), quantisation(site))


def to_steps(site: OnnxSite, value: Value, steps: OnnxSteps) -> Value:
    """A tensor of numbers quantised."""
    if (known := steps.as_bytes) is not None:
        node = site.add("quantize", value.node, element=steps.kind.name, scale=known.scale, zero=known.zero)
        return Value(node, value.shape, value.axes)
    site.b.because(OTHERWISE)
    steps_of = site.pointwise("round", divided(site, value, along_axis(site, value, steps.scale)))
    placed = added(site, steps_of, along_axis(site, value, steps.zero))
    limits = np.iinfo(steps.kind)
    return site.pointwise("clip", placed, low=float(limits.min), high=float(limits.max))


def divided(site: OnnxSite, value: Value, scale: np.ndarray) -> Value:
    """x / scale; by a multiplication where that gives the same bits: else what lies halfway may round to the other
    side."""
    if (np.frexp(scale)[0] == 0.5).all():
        return multiplied(site, value, 1 / scale)
    return merged(site, "div", value, scale.astype(np.float32))


def dequantize(site: OnnxSite) -> Tensor:
    """(x - zero point) * scale."""
    return from_steps(site, site.value(0), quantisation(site))


def from_steps(site: OnnxSite, value: Value, steps: OnnxSteps) -> Value:
    """The numbers of a quantised tensor."""
    if (known := steps.as_bytes) is not None:
        return Value(site.add("dequantize", bytes_of(site, value, steps.kind, known)), value.shape, value.axes)
    site.b.because(OTHERWISE)
    return placed(site, site.whole_numbers(value), steps)


def placed(site: OnnxSite, value: Value, steps: OnnxSteps) -> Value:
    """(x - zero point) * scale of whole numbers, in float32."""
    scale, zero = (along_axis(site, value, numbers) for numbers in (steps.scale, steps.zero))
    if scale.size == zero.size == 1:
        step = float(scale.reshape(()))
        return site.pointwise("affine", value, scale=step, shift=0.0 - step * float(zero.reshape(())))
    return multiplied(site, added(site, value, -zero), scale)


def bytes_of(site: OnnxSite, value: Value, kind: Kind, known: Quantization) -> str:
    """A node of the bytes of a tensor: what quantised it, or, of whole numbers that the caller passes or that have
    another scale here, the numbers that they stand for, quantised: those are the same bytes."""
    given = site.b.nodes[value.node].type
    if given.quantization == known and given.element.name == kind.name:
        return value.node
    steps = OnnxSteps(np.array([known.scale]), np.array([float(known.zero)]), kind)
    return to_steps(site, placed(site, site.whole_numbers(value), steps), steps).node


def quantisation(site: OnnxSite) -> OnnxSteps:
    """Scale, zero point and integer type of a QuantizeLinear or DequantizeLinear."""
    if site.integer("block_size", 0):
        raise Unsupported("quantisation in blocks along an axis")
    return steps_at(site, 1, 2)


def steps_at(site: OnnxSite, scale: int, zero: int) -> OnnxSteps:
    """The scale and the zero point that two inputs are."""
    point = site.const(zero, "the zero point") if site.has(zero) else np.zeros((), output_kind(site))
    factors = site.vector(scale, "the scale").astype(np.float64)
    kind = point.dtype
    nonzero = np.isfinite(factors).all() and factors.all()
    if kind.kind not in "iu" or not nonzero or point.size not in (1, factors.size):
        raise Unsupported("quantisation of a computed tensor other than by scales above 0, to an integer type")
    return OnnxSteps(factors, point.reshape(-1).astype(np.float64), kind)


def output_kind(site: OnnxSite) -> Kind:
    """The integer type where no zero point says it."""
    from onnx import helper

    number = site.integer("output_dtype", 0)
    if not number:
        read = site.kind(0)
        return read if read is not None and read.kind in "iu" else np.dtype(np.uint8)
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
    from onnx import helper

    number = site.integer("to")
    name = kind_of(number)
    if name not in FLOATS | INTEGERS | {"BOOL"}:
        raise Unsupported(f"a computed tensor as {name}")
    return convert(site, site.value(0), site.kind(0), helper.tensor_dtype_to_np_dtype(number))


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
