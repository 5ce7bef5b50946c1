"""Initial weights of an op, and how values spread through it: rules that an op names, applied by `cnncc.weights`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from cnncc.ir.rules import Attrs, Shape

SAMPLES = 1024
_CHUNK = 1 << 16

Initial = Callable[[np.random.Generator, Shape, Attrs, float], np.ndarray]
"""A tensor of a shape, from a generator, the node's attributes, and the second moment of what the node reads."""


def normal(std: float) -> Initial:
    """Normal numbers with mean 0."""
    return lambda rng, shape, attrs, moment: _normal(rng, shape, std)


def uniform(low: float, high: float) -> Initial:
    return lambda rng, shape, attrs, moment: _uniform(rng, shape, low, high)


def he_normal(fan_in: Callable[[Shape, Attrs], float]) -> Initial:
    """He et al. 2015, Delving Deep into Rectifiers: std sqrt(2 / fan_in)."""
    return lambda rng, shape, attrs, moment: _normal(rng, shape, math.sqrt(2 / fan_in(shape, attrs)))


def products(shape: Shape, attrs: Attrs) -> float:
    """Products added up per value of the result, of a weight whose first axis is that of the results."""
    return float(math.prod(shape[1:]))


BATCH_NORM: Mapping[str, Initial] = {
    "weight": uniform(0.5, 1.5),
    "bias": normal(0.05),
    "running_mean": lambda rng, shape, attrs, m: _normal(rng, shape, 0.1 * math.sqrt(m)),
    "running_var": lambda rng, shape, attrs, m: _uniform(rng, shape, 0.8 * m, 1.25 * m),
}
BIAS_VALUES = normal(0.03)


def _normal(rng: np.random.Generator, shape: Shape, std: float) -> np.ndarray:
    values = np.empty(math.prod(shape), np.float32)
    for start in range(0, values.size, _CHUNK):  # filled and scaled while in the cache: twice as fast for VGG
        part = values[start : start + _CHUNK]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= np.float32(std)
    return values.reshape(shape)


def _uniform(rng: np.random.Generator, shape: Shape, low: float, high: float) -> np.ndarray:
    return (low + (high - low) * rng.random(shape, dtype=np.float32)).astype(np.float32)


@dataclass(frozen=True)
class Spread:
    """The values that a node reads, as SAMPLES numbers for each input, sample i being "a channel and pixel picked at
    random", and what else decides how its result is spread."""

    args: list[np.ndarray]
    shapes: tuple[Shape, ...]
    attrs: Attrs
    rng: np.random.Generator
    reference: Callable[..., np.ndarray]
    """Of the op."""


SpreadRule = Callable[[Spread], np.ndarray]
"""Samples of the result."""


def kept(s: Spread) -> np.ndarray:
    """Of ops that move values, or whose result is spread alike."""
    return s.args[0]


def gaussian(s: Spread) -> np.ndarray:
    """Of inputs and learned tensors."""
    return _gaussian(s.rng)


def he_scaled(s: Spread) -> np.ndarray:
    """Of sums of products with weights of `he_normal`."""
    return math.sqrt(2 * np.mean(s.args[0] ** 2)) * _gaussian(s.rng)


def normalized(s: Spread) -> np.ndarray:
    return s.args[0] / math.sqrt(np.mean(s.args[0] ** 2)) * s.rng.uniform(0.5, 1.5, SAMPLES)


def normalized_and_shifted(s: Spread) -> np.ndarray:
    scale = s.rng.uniform(0.5, 1.5, SAMPLES)
    return s.args[0] / math.sqrt(np.mean(s.args[0] ** 2)) * scale + 0.05 * _gaussian(s.rng)


def merged(s: Spread) -> np.ndarray:
    """Of a function of one element of each input: computed."""
    return np.asarray(s.reference(tuple(s.args), {}, {**s.attrs, "epilogue": ()}))


def activated(s: Spread) -> np.ndarray:
    """Computed with the samples as channels of one pixel, which serves the normalisation across channels too."""
    return s.reference((s.args[0].reshape(1, -1, 1, 1),), {}, s.attrs).reshape(-1)


def largest_of_window(s: Spread) -> np.ndarray:
    pixels = math.prod(s.attrs["kernel"])
    return np.max([s.args[0], *(s.rng.permutation(s.args[0]) for _ in range(1, min(pixels, 16)))], axis=0)


def mixture(s: Spread) -> np.ndarray:
    """Each sample from one of the arms, as often as the arm has channels."""
    channels = [shape[1] for shape in s.shapes]
    shares = np.cumsum(channels) / sum(channels)
    arm = np.searchsorted(shares, s.rng.permutation(SAMPLES) / SAMPLES, side="right")
    return np.stack(s.args)[arm, np.arange(SAMPLES)]


@cache
def _quantiles() -> np.ndarray:
    """Evenly spread samples of a standard normal, with a second moment of exactly 1."""
    from statistics import NormalDist  # only here: it takes a while to import

    distribution = NormalDist()
    values = np.array([distribution.inv_cdf((i + 0.5) / SAMPLES) for i in range(SAMPLES)])
    return values / np.sqrt(np.mean(values**2))


def _gaussian(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(_quantiles())
