"""What a quantised layer computes: integers exactly, then one conversion to bytes. `docs/int8.md` is this in words.

Each function is one line of that page. NumPy computes float32 operation by operation, so that every rounding is the one
that is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.ir.types import Quantization, TensorType

Numbers = npt.NDArray[Any]

LEAST_SUM, MOST_SUM = -(2**31), 2**31 - 1
"""The range of int32."""
BYTES = 255
"""No byte is further from a zero point, nor from 0, than this."""
MOST_BIAS = 2**30
"""Of a bias in steps of a sum: half of what a sum may be, so that as much is left for the products."""
MOST_ROUNDED = 2.0**30
"""No result is larger before it is rounded: every machine makes the same int32 of it, and may add a zero point."""


@dataclass(frozen=True)
class Residual:
    """What is added to a result before it is rounded: (r - zero) * scale, with the scale in steps of the result."""

    values: Numbers
    zero: int
    scale: np.float32


@dataclass(frozen=True)
class Bytes:
    """How a result becomes bytes: its zero point, and the least and the largest number it may have."""

    zero: int
    low: int
    high: int


def known(kind: TensorType) -> Quantization:
    """The quantisation that a type is known to have."""
    assert kind.quantization is not None, kind
    return kind.quantization


def byte_bounds(kind: TensorType, low: float = -np.inf, high: float = np.inf) -> Bytes:
    """How results become bytes of a type that are within bounds: rne(f32(bound / scale)) + zero."""
    zero, element = known(kind).zero, kind.element

    def stored(bound: float) -> int:
        if not np.isfinite(bound):
            return int(element.least if bound < 0 else element.most)
        with np.errstate(over="ignore"):
            steps = np.rint(np.float32(bound) / np.float32(known(kind).scale)) + zero
        return int(np.clip(steps, element.least, element.most))

    return Bytes(zero, stored(low), stored(high))


def scales(input_scale: float, weight_scales: Numbers, result_scale: float = 1.0) -> Numbers:
    """Steps of the result for one step of the sum: f32(f32(sx sw) / sy), float32, one for each output channel. With
    `result_scale` 1 the result is the number itself."""
    product = np.float32(input_scale) * np.asarray(weight_scales, np.float32)
    return np.asarray(product / np.float32(result_scale), np.float32)


def least_weight_scales(bias: Numbers, input_scale: float) -> Numbers:
    """The smallest scales of weights with which each bias is at most `MOST_BIAS` steps of the sum; float32. A batch
    norm leaves channels with all but no weights, and the scales of those would be far smaller."""
    exact = np.abs(np.asarray(bias, np.float64)) / (np.float64(np.float32(input_scale)) * MOST_BIAS)
    near = exact.astype(np.float32)
    return np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)


def bias_steps(bias: Numbers, input_scale: float, weight_scales: Numbers) -> Numbers:
    """A bias in steps of the sum, rne(bias / f32(sx sw)); int64, since `overflowing` is to see what is too large."""
    steps = np.asarray(bias, np.float64) / scales(input_scale, weight_scales).astype(np.float64)
    return np.rint(np.clip(steps, -(2.0**62), 2.0**62)).astype(np.int64)


def overflowing(weight: Numbers, bias: Numbers) -> Numbers:
    """The output channels of which a sum could leave int32 for some input. `weight` is (outputs, ...), `bias` in steps.

    The bound holds for partial sums in any order, and whether bytes are summed from 0 or from a zero point.
    """
    total = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    bound = np.abs(bias.astype(np.float64)) + 2.0 * BYTES * total
    return np.nonzero(bound > MOST_SUM)[0]


def unroundable(weight: Numbers, bias: Numbers, factors: Numbers, added: float = 0.0) -> Numbers:
    """The output channels of which a result could be beyond `MOST_ROUNDED` before it is clamped. `factors` are
    `scales`, `added` is the most that a residual adds."""
    total = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    bound = (np.abs(bias.astype(np.float64)) + BYTES * total) * factors.astype(np.float64) + added
    return np.nonzero(bound > MOST_ROUNDED * (1 - 2.0**-20))[0]  # the rest is for what rounding adds


def exact_products(x: Numbers, weight: Numbers, bias: Numbers, zero: int) -> Numbers:
    """bias + sum of (x - zero) w of a fully connected layer, int32; x (n, inputs), weight (outputs, inputs)."""
    return int32_sums((x.astype(np.int64) - zero) @ weight.astype(np.int64).T + bias.astype(np.int64))


def int32_sums(sums: Numbers) -> Numbers:
    """Sums that are known to be within int32, as such."""
    assert sums.size == 0 or (sums.min() >= LEAST_SUM and sums.max() <= MOST_SUM), "a sum leaves int32"
    return sums.astype(np.int32)


def scaled(sums: Numbers, factors: Numbers, residual: Residual | None = None) -> Numbers:
    """f32(sum) * s[o], and plus f32(r - zero) * s_r. Every product, and the sum, is rounded to float32."""
    wide = factors.astype(np.float32).reshape(-1, *[1] * (sums.ndim - 2))
    value = np.asarray(sums.astype(np.float32) * wide, np.float32)
    if residual is None:
        return value
    return np.asarray(value + _steps(residual), np.float32)


def _steps(of: Residual) -> Numbers:
    """f32(r - zero) * s_r."""
    return np.asarray((of.values.astype(np.int32) - of.zero).astype(np.float32) * np.float32(of.scale), np.float32)


def to_bytes(value: Numbers, to: Bytes) -> Numbers:
    """clamp(rne(v) + zero, low, high), int64."""
    assert value.size == 0 or np.abs(value).max() <= MOST_ROUNDED, "a result leaves int32"
    return np.clip(np.rint(value).astype(np.int64) + to.zero, to.low, to.high)


def added_bytes(a: Residual, b: Residual, to: Bytes) -> Numbers:
    """The sum of two quantised tensors: clamp(rne(f32(a - za) s_a + f32(b - zb) s_b) + zero, low, high)."""
    return to_bytes(np.asarray(_steps(a) + _steps(b), np.float32), to)


def mean_factor(input_scale: float, count: int, result_scale: float = 1.0) -> np.float32:
    """Steps of the result for one step of the sum of `count` numbers: f32(sx / f32(n sy))."""
    return np.float32(np.float32(input_scale) / np.float32(np.float32(count) * np.float32(result_scale)))


def exact_totals(x: Numbers, zero: int) -> Numbers:
    """Sum of (x - zero) over each plane, int32; x (n, c, h, w)."""
    return int32_sums((x.astype(np.int64) - zero).sum(axis=(2, 3), keepdims=True))


def factored(x: Numbers, zero: int, factors: Numbers, ratio: np.float32) -> Numbers:
    """f32(f32(x - zero) * f32(f * ratio)), with a factor f for each channel."""
    steps = np.asarray(factors.astype(np.float32) * np.float32(ratio), np.float32)
    return np.asarray((x.astype(np.int32) - zero).astype(np.float32) * steps, np.float32)


def saturated(value: Numbers, to: Bytes) -> Numbers:
    """clamp(rne(v) + zero, low, high) of numbers without a bound; NaN becomes the zero. int64."""
    steps = np.where(np.isnan(value), 0, np.rint(value))
    return np.clip(steps, to.low - to.zero, to.high - to.zero).astype(np.int64) + to.zero
