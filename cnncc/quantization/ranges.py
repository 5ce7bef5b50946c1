"""From the values that a tensor had to the range that its bytes cover, and from that to a scale and a zero point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnncc.base.elements import UINT8
from cnncc.ir.types import Quantization

BINS = 2048
"""Of a histogram."""
LEVELS = 256
"""Numbers that a byte has."""
CANDIDATES = 100
"""Ranges that are tried for the one with the least error."""
SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Histogram:
    """How often the values of a tensor were in each of BINS equal parts of [low, high], which all were in."""

    low: float
    high: float
    counts: npt.NDArray[np.int64]

    @property
    def width(self) -> float:
        return (self.high - self.low) / len(self.counts)

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.low + (np.arange(len(self.counts)) + 0.5) * self.width, np.float64)

    def outside(self, low: float, high: float) -> float:
        """The share of values outside a range."""
        total = int(self.counts.sum())
        inside = (self.centres >= low) & (self.centres <= high)
        return float(self.counts[~inside].sum()) / total if total else 0.0


Bounds = tuple[float, float]
Method = Callable[[Histogram], Bounds]


def minmax(values: Histogram) -> Bounds:
    """All values."""
    return values.low, values.high


def percentile(percent: float) -> Method:
    """All but so many of the values furthest from 0: `percent` of 99.9 leaves one of a thousand out."""

    def bounds(values: Histogram) -> Bounds:
        order = np.argsort(np.abs(values.centres), kind="stable")
        share = np.cumsum(values.counts[order]) / max(1, values.counts.sum())
        reach = abs(values.centres[order][min(len(order) - 1, int(np.searchsorted(share, percent / 100)))])
        reach += values.width / 2
        return max(values.low, -reach), min(values.high, reach)

    return bounds


def squared_error(values: Histogram) -> Bounds:
    """The range with the least squared error of the values, of CANDIDATES that are smaller and smaller."""
    return _least(values, _squared_error)


def _squared_error(values: Histogram, low: float, high: float) -> float:
    step = (high - low) / (LEVELS - 1)
    x = values.centres
    stored = np.clip(np.rint(x / step) * step, low, high)
    return float((values.counts * (x - stored) ** 2).sum())


def divergence(values: Histogram) -> Bounds:
    """The range of which the distribution of bytes tells least from that of the values (Kullback and Leibler 1951, as
    TensorRT calibrates: Migacz 2017, "8-bit inference with TensorRT")."""
    return _least(values, _divergence)


def _divergence(values: Histogram, low: float, high: float) -> float:
    x = values.centres
    inside = (x >= low) & (x <= high)
    given = np.where(inside, values.counts, 0).astype(np.float64)
    places = np.flatnonzero(inside)
    if not len(places):
        return np.inf
    given[places[0]] += values.counts[x < low].sum()
    given[places[-1]] += values.counts[x > high].sum()
    level = np.rint((x[places] - low) / max(high - low, SMALLEST) * (LEVELS - 1)).astype(int)
    there = values.counts[places] > 0
    sums = np.bincount(level, weights=values.counts[places], minlength=LEVELS)
    filled = np.bincount(level, weights=there, minlength=LEVELS)
    told = np.where(there, sums[level] / np.maximum(filled[level], 1), 0.0)
    p, q = given[places] / max(given.sum(), 1), told / max(told.sum(), 1)
    known = p > 0
    return float((p[known] * np.log(p[known] / np.maximum(q[known], 1e-12))).sum())


def _least(values: Histogram, error: Callable[[Histogram, float, float], float]) -> Bounds:
    """The least error of ranges that shrink evenly on both sides of 0."""
    low, high = min(0.0, values.low), max(0.0, values.high)
    found = [(low * share, high * share) for share in np.linspace(1.0, 0.2, CANDIDATES)]
    return min(found, key=lambda bounds: error(values, *bounds)) if high > low else (low, high)


METHODS: Mapping[str, Method] = {"minmax": minmax, "mse": squared_error, "entropy": divergence}
"""By the name that the command line has for them; `percentile P` comes with a number."""


def quantization(low: float, high: float) -> Quantization:
    """Scale and zero point of bytes (uint8) that cover a range and 0."""
    low, high = min(0.0, low), max(0.0, high)
    scale = np.float32(max((high - low) / (LEVELS - 1), SMALLEST)) if high > low else np.float32(1.0)
    zero = int(np.clip(np.rint(-low / np.float64(scale)), UINT8.least, UINT8.most))
    return Quantization(float(scale), zero)
