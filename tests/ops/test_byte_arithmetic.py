"""The definition of quantised layers, against loops over Python's whole numbers and fractions."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ops import byte_arithmetic as q
from cnncc.ops.quantized import exact_sums

F32 = np.float32
STRIDED = {"kernel": (3, 2), "stride": (2, 1), "pad": (1, 1, 1, 1), "dilation": (1, 2), "groups": 2, "out": 4}


def near(exact: Fraction) -> np.float32:
    """The float32 nearest to a fraction that float64 has exactly, or nearly: products of two float32 and their sums."""
    return F32(exact.numerator / exact.denominator)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(0, 255))
def test_sums_are_those_of_whole_numbers(seed: int, zero: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.integers(0, 256, (1, 4, 5, 6)), rng.integers(-128, 128, (4, 2, 3, 2))
    bias = rng.integers(-(10**6), 10**6, 4)
    found = exact_sums(
        x.astype(np.uint8), weight.astype(np.int8), bias, zero, {**STRIDED, "bias": True, "rounding": "floor"}
    )
    assert found.dtype == np.int32
    padded = np.pad(x - zero, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for o, y, column in itertools.product(range(4), range(found.shape[2]), range(found.shape[3])):
        total = int(bias[o])
        for i, r, c in itertools.product(range(2), range(3), range(2)):
            total += int(padded[0, o // 2 * 2 + i, 2 * y + r, column + 2 * c]) * int(weight[o, i, r, c])
        assert found[0, o, y, column] == total


def test_a_sum_beyond_int32_is_an_error() -> None:
    x, weight = np.full((1, 2), 255, np.uint8), np.full((1, 2), 127, np.int8)
    room = 2**31 - 1 - 2 * 255 * 127
    assert q.exact_products(x, weight, np.array([room]), 0) == 2**31 - 1
    with pytest.raises(AssertionError, match="leaves int32"):
        q.exact_products(x, weight, np.array([room + 1]), 0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_product_and_sum_are_rounded_apart(seed: int) -> None:
    """Against fractions: a fused multiply-add would round once."""
    rng = np.random.default_rng(seed)
    total, factor, other = int(rng.integers(-(2**28), 2**28)), F32(rng.uniform(1e-7, 1e-6)), int(rng.integers(0, 256))
    residual = q.Residual(np.array([[other]], np.uint8), 7, F32(rng.uniform(0.3, 1.7)))
    product = near(Fraction(float(F32(total))) * Fraction(float(factor)))
    more = near(Fraction(other - 7) * Fraction(float(residual.scale)))
    wanted = near(Fraction(float(product)) + Fraction(float(more)))
    assert q.scaled(np.array([[total]], np.int32), np.array([factor]), residual)[0, 0] == wanted


def test_the_scale_is_rounded_twice_in_this_order() -> None:
    rng = np.random.default_rng(0)
    sx, sy, sw = (rng.uniform(0.001, 0.9, 300).astype(F32) for _ in range(3))
    for a, b, w in zip(sx, sy, sw, strict=True):
        product = near(Fraction(float(a)) * Fraction(float(w)))
        assert q.scales(a, np.array([w]), b)[0] == near(Fraction(float(product)) / Fraction(float(b)))


def test_halves_go_to_even_and_bounds_hold() -> None:
    value = np.array([-0.5, 0.5, 1.5, 2.5, -300, 300], F32)
    assert q.to_bytes(value, q.Bytes(10, 10, 12)).tolist() == [10, 10, 12, 12, 10, 12]
    assert q.to_bytes(value, q.Bytes(-3, -128, 127)).tolist() == [-3, -3, -1, -1, -128, 127]


def test_sums_of_two_tensors_and_means() -> None:
    a = q.Residual(np.array([0, 9, 255], np.uint8), 9, F32(0.5))
    b = q.Residual(np.array([3, 4, -128], np.int8), 4, F32(0.25))
    assert q.added_bytes(a, b, q.Bytes(100, 0, 255)).tolist() == [95, 100, 190]  # -4.75, 0, 123 - 33
    assert q.mean_factor(0.1, 49, 0.3) == F32(F32(0.1) / F32(F32(49) * F32(0.3)))


def test_channels_that_could_overflow_are_found() -> None:
    """A bound that every input keeps: the largest sum is reached by an input, the rule looks at twice that."""
    weight = np.full((3, 100), 127, np.int8)
    weight[1] = -128
    most = 2**31 - 1
    bias = np.array([most - 510 * 12700, -(most - 510 * 12800) - 1, 0])
    assert q.overflowing(weight, bias).tolist() == [1]
    assert q.overflowing(weight, bias + np.array([1, 1, 0])).tolist() == [0]
    factors = np.array([1e-3, 0.4, 2.0**30 / (255 * 12700) * 1.01], F32)
    assert q.unroundable(weight, np.zeros(3, np.int64), factors).tolist() == [2]
    assert q.unroundable(weight, np.zeros(3, np.int64), factors, added=2.0**30).tolist() == [0, 1, 2]


@settings(max_examples=100, deadline=None)
@given(st.floats(2.0**-80, 2.0**40), st.floats(2.0**-20, 2.0**10))
def test_with_the_least_scale_no_bias_is_too_large(bias: float, scale: float) -> None:
    least = q.least_weight_scales(np.array([bias, -bias]), scale)
    assert (np.abs(q.bias_steps(np.array([bias, -bias]), scale, least)) <= 2**30 * (1 + 2.0**-22)).all()
    assert q.bias_steps(np.array([bias]), scale, least[:1] * F32(0.99)) > 2**30
