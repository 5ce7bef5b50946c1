"""From values to ranges, and from ranges to scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.quantization.ranges import METHODS, Histogram, minmax, percentile, quantization, squared_error


def histogram(values: np.ndarray, bins: int = 2048) -> Histogram:
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, np.histogram(values, bins=bins, range=(low, high))[0])


TAILED = histogram(np.concatenate([np.random.default_rng(0).normal(0, 1, 100_000), [40.0, -30.0]]))


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_a_scale_covers_its_range_and_zero(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    known = quantization(low, high)
    assert 0 <= known.zero <= 255
    least, most = -known.zero * known.scale, (255 - known.zero) * known.scale
    assert least <= min(low, 0.0) + 0.51 * known.scale
    assert most >= max(high, 0.0) - 0.51 * known.scale
    assert float(np.float32(known.scale)) == known.scale


def test_nothing_but_zeros_has_a_scale() -> None:
    assert quantization(0.0, 0.0).scale == 1.0


def test_minmax_covers_all() -> None:
    assert minmax(TAILED) == (-30.0, 40.0)


def test_a_percentile_leaves_out_what_is_furthest_from_zero() -> None:
    low, high = percentile(99.9)(TAILED)
    assert 3.0 < high == -low < 4.0
    assert TAILED.outside(low, high) == pytest.approx(0.001, abs=3e-4)
    assert percentile(100)(TAILED) == (-30.0, 40.0)


def test_the_least_squared_error_is_less_than_that_of_all_values() -> None:
    values = np.random.default_rng(0).normal(0, 1, 50_000)
    both = histogram(np.concatenate([values, [60.0]]))
    few = replace(both, counts=np.where(both.centres < 50, 1000 * both.counts, both.counts))  # one of 50 million

    def error(bounds: tuple[float, float]) -> float:
        known = quantization(*bounds)
        stored = np.clip(np.rint(values / known.scale) + known.zero, 0, 255)
        return float((((stored - known.zero) * known.scale - values) ** 2).mean())

    assert error(squared_error(few)) < 0.5 * error(minmax(few))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_range_inside_that_of_the_values(name: str) -> None:
    for values in (
        TAILED,
        histogram(np.array([0.0, 1.0])),
        histogram(np.array([3.0, 3.5])),
        histogram(-np.arange(9.0)),
    ):
        low, high = METHODS[name](values)
        assert min(0.0, values.low) - 1e-9 <= low <= high <= max(0.0, values.high) + 1e-9
