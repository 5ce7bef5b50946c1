"""Vectors of float64, for the few steps that need more digits than float32 has."""

from __future__ import annotations

from tvm import tirx

from cnncc.kernels.shared.arithmetic import horner_of, parts, vector_of
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat

_LOG2 = tuple(2 / ((2 * i + 1) * 0.6931471805599453) for i in range(9))
"""log2 of (1 + s) / (1 - s) over s, in powers of s^2; of |s| <= 1/5 to 1e-13."""


def number(value: float, lanes: int) -> Expr:
    """A constant as a vector."""
    return splat(tirx.FloatImm("float64", value), lanes)


def widened(x: Expr, lanes: int) -> Expr:
    """A float32 vector as float64."""
    return tirx.Cast(vector_of("float64", lanes), x)


def log2(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """The logarithm to base 2 of a normal float32 above 0, to 1e-13 of itself and 1e-15."""
    exponent, mantissa = parts(k, x, lanes)
    m = k.let(widened(mantissa, lanes))
    s = k.let((m - number(1.0, lanes)) / (m + number(1.0, lanes)))
    series = horner_of(k, k.let(s * s), [number(c, lanes) for c in _LOG2])
    return k.let(s * series + widened(exponent, lanes))
