"""Pointwise nonlinearities. They also appear by name in the epilogues of other ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnncc.ops.table import Array, Arrays, Attrs, Op, Weights, no_macs, no_weights, pointwise, same_shape

Function = Callable[[Array, Attrs], Array]


def relu(x: Array, attrs: Attrs) -> Array:
    """max(x, 0)"""
    return np.maximum(x, 0)


def relu6(x: Array, attrs: Attrs) -> Array:
    """min(max(x, 0), 6)"""
    return np.clip(x, 0, 6)


def leaky_relu(x: Array, attrs: Attrs) -> Array:
    """x if x > 0, else slope * x"""
    return np.where(x > 0, x, x * x.dtype.type(attrs["slope"]))


def sigmoid(x: Array, attrs: Attrs) -> Array:
    """1 / (1 + exp(-x)), written with tanh so that nothing overflows"""
    return (np.tanh(x / 2) + 1) / 2


def tanh(x: Array, attrs: Attrs) -> Array:
    """tanh(x)"""
    return np.tanh(x)


def hard_sigmoid(x: Array, attrs: Attrs) -> Array:
    """min(max(alpha * x + beta, 0), 1)"""
    kind = x.dtype.type
    return np.clip(x * kind(attrs["alpha"]) + kind(attrs["beta"]), 0, 1)


def hard_swish(x: Array, attrs: Attrs) -> Array:
    """x * min(max(x / 6 + 1/2, 0), 1)  (MobileNetV3)"""
    return x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1)


def silu(x: Array, attrs: Attrs) -> Array:
    """x * sigmoid(x)"""
    return x * sigmoid(x, attrs)


def clip(x: Array, attrs: Attrs) -> Array:
    """min(max(x, low), high)"""
    kind = x.dtype.type
    return np.clip(x, kind(attrs["low"]), kind(attrs["high"]))


def affine(x: Array, attrs: Attrs) -> Array:
    """scale * x + shift, the same for all channels"""
    kind = x.dtype.type
    return x * kind(attrs["scale"]) + kind(attrs["shift"])


def elu(x: Array, attrs: Attrs) -> Array:
    """x if x > 0, else alpha * (exp(x) - 1)"""
    return np.where(x > 0, x, x.dtype.type(attrs["alpha"]) * np.expm1(np.minimum(x, 0)))


def softplus(x: Array, attrs: Attrs) -> Array:
    """ln(1 + exp(x))"""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softsign(x: Array, attrs: Attrs) -> Array:
    """x / (1 + |x|)"""
    return x / (1 + np.abs(x))


def mish(x: Array, attrs: Attrs) -> Array:
    """x * tanh(ln(1 + exp(x)))  (Misra 2019)"""
    return x * np.tanh(softplus(x, attrs))


def gelu(x: Array, attrs: Attrs) -> Array:
    """x * (1 + erf(x / sqrt(2))) / 2  (Hendrycks and Gimpel 2016)"""
    return x * (1 + erf(x * x.dtype.type(math.sqrt(0.5)), attrs)) / 2


def gelu_tanh(x: Array, attrs: Attrs) -> Array:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, an approximation of gelu that some networks are made of"""
    kind = x.dtype.type
    return x * (1 + np.tanh(kind(math.sqrt(2 / math.pi)) * (x + kind(0.044715) * x * x * x))) / 2


def thresholded_relu(x: Array, attrs: Attrs) -> Array:
    """x if x > alpha, else 0"""
    return np.where(np.isnan(x), x, np.where(x > edge_of(x, attrs["alpha"]), x, x.dtype.type(0)))


def edge_of(x: Array, edge: float) -> Any:
    """An edge where a function jumps, in float32 as kernels have it: a value on it lies on one side for all."""
    return x.dtype.type(np.float32(edge))


def erf(x: Array, attrs: Attrs) -> Array:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x"""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x)).astype(x.dtype)


def exp(x: Array, attrs: Attrs) -> Array:
    """exp(x)"""
    return np.exp(x)


def log(x: Array, attrs: Attrs) -> Array:
    """The natural logarithm; -inf at 0, NaN below"""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


def sqrt(x: Array, attrs: Attrs) -> Array:
    """The square root; NaN below 0"""
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


def reciprocal(x: Array, attrs: Attrs) -> Array:
    """1 / x"""
    with np.errstate(divide="ignore"):
        return 1 / x


def abs(x: Array, attrs: Attrs) -> Array:
    """|x|"""
    return np.abs(x)


def round_down(x: Array, attrs: Attrs) -> Array:
    """The largest whole number that is not above x"""
    return np.floor(x)


def round_up(x: Array, attrs: Attrs) -> Array:
    """The smallest whole number that is not below x"""
    return np.ceil(x)


def round_to_zero(x: Array, attrs: Attrs) -> Array:
    """x without what is behind the point"""
    return np.trunc(x)


def round(x: Array, attrs: Attrs) -> Array:
    """The nearest whole number; of two the even one"""
    return np.rint(x)


def sign(x: Array, attrs: Attrs) -> Array:
    """-1, 0 or 1"""
    return np.sign(x)


def power(x: Array, attrs: Attrs) -> Array:
    """x to a number; NaN of a negative x where that is not whole"""
    with np.errstate(all="ignore"):
        return np.power(x, np.full_like(x, attrs["exponent"]))  # of a scalar 0.5 NumPy takes the root


def shrink(x: Array, attrs: Attrs) -> Array:
    """x - shift above edge, x + shift below -edge, else 0"""
    shift, edge = x.dtype.type(attrs["shift"]), edge_of(x, attrs["edge"])
    inside = np.where(np.isnan(x), x, x.dtype.type(0))
    return np.where(x > edge, x - shift, np.where(x < -edge, x + shift, inside))


def of_numpy(name: str, theirs: np.ufunc, most: float = math.inf) -> Function:
    """A function that NumPy has; NaN where it is not defined, and from |x| = `most` on."""

    def function(x: Array, attrs: Attrs) -> Array:
        with np.errstate(all="ignore"):
            return np.where(np.abs(x) < most, theirs(x), x.dtype.type(np.nan)) if most < math.inf else theirs(x)

    function.__name__ = name
    return function


PERIODIC: Mapping[str, np.ufunc] = {"sin": np.sin, "cos": np.cos, "tan": np.tan}
FURTHEST = float(1 << 27)
"""Where the periodic functions end: float32 numbers are 16 apart there, further than a period."""
CIRCULAR: Mapping[str, np.ufunc] = {
    **{"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh},
    **{"asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh},
}
"""Inverse and hyperbolic functions."""
FUNCTIONS: Mapping[str, Function] = {
    f.__name__: f
    for f in (
        *(relu, relu6, leaky_relu, sigmoid, tanh, hard_sigmoid, hard_swish, silu, clip, affine, elu, softplus),
        *(softsign, mish, gelu, gelu_tanh, thresholded_relu, erf, exp, log, sqrt, reciprocal, abs),
        *(round_down, round_up, round_to_zero, round, sign, power, shrink),
        *(of_numpy(name, theirs, FURTHEST) for name, theirs in PERIODIC.items()),
        *(of_numpy(name, theirs) for name, theirs in CIRCULAR.items()),
    )
}
UNBOUNDED = frozenset(
    "exp log sqrt reciprocal power tan asin acos acosh atanh sinh cosh".split()
)  # fmt: skip
"""Functions that may be infinite or NaN where the argument is finite. What fills up a block of channels must not become
that: a convolution multiplies it by zero."""
LARGEST = 3.4028234663852886e38
"""The largest float32: what `clip` is bounded by where nothing is said."""
DEFAULTS: Mapping[str, Attrs] = {
    "leaky_relu": {"slope": 0.01},
    "hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5},
    "clip": {"low": -LARGEST, "high": LARGEST},
    "affine": {"scale": 1.0, "shift": 0.0},
    "elu": {"alpha": 1.0},
    "thresholded_relu": {"alpha": 1.0},
    "power": {"exponent": 2.0},
    "shrink": {"shift": 0.0, "edge": 0.5},
}
ROUNDING = ("round_down", "round_up", "round_to_zero", "round")
EXACT = ("relu", "relu6", "clip", "thresholded_relu", "abs", "sign", *ROUNDING)
TOLERANCES = {**dict.fromkeys(EXACT, 0.0), "leaky_relu": 1e-6}


def activation(name: str, function: Function) -> Op:
    """The op of a pointwise function of one tensor."""

    def reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
        return function(xs[0], attrs)

    return Op(
        name=name,
        arity=(1, 1),
        attributes=DEFAULTS.get(name, {}),
        weights=no_weights,
        shape=same_shape,
        macs=no_macs,
        window=pointwise,
        reference=reference,
        tolerance=TOLERANCES.get(name, 2e-6),
    )


OPS = tuple(activation(name, function) for name, function in FUNCTIONS.items())
