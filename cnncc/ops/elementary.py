"""Elementary functions as pointwise ops: exponentials, roundings, circular and hyperbolic functions."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ops.domains import Tenths, Values
from cnncc.ops.onnx import Onnx
from cnncc.ops.pointwise import Formula, Function, Number, Pointwise, pointwise_ops
from cnncc.ops.table import Array, Attrs
from cnncc.ops.traits import Finite
from cnncc.ops.vectors import FUNCTIONS, Value, Vectors

FURTHEST = float(1 << 27)
"""Where the periodic functions end: float32 numbers are 16 apart there, further than a period."""
PERIODIC = ("sin", "cos", "tan")
_ERF_SERIES = tuple(2 / math.sqrt(math.pi) * c for c in (1.0, -1 / 3, 1 / 10, -1 / 42, 1 / 216, -1 / 1320))


def erf_formula(v: Vectors, x: Value) -> Value:
    """1 - (a1 t + ... + a5 t^5) e^(-x^2), t = 1 / (1 + p x), odd: Abramowitz and Stegun 7.1.26, error below 1.5e-7. Up
    to 1/2, where that would be much of the result, the first terms of its series."""
    one = v.number(1.0)
    size = v.let(v.let(v.max(v.number(0.0) - x, x)))
    t = v.let(one / (one + size * v.number(0.3275911)))
    series = v.let(t * v.polynomial(t, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)))
    value = v.let(one - series * v.exp(v.let(v.number(0.0) - size * size)))
    odd = v.let(v.select(x < v.number(0.0), v.number(0.0) - value, value))
    small = v.let(x * v.polynomial(v.let(x * x), _ERF_SERIES))
    return v.let(v.select(size < v.number(0.5), small, odd))


def erf(x: Array, attrs: Attrs) -> Array:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x"""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x)).astype(x.dtype)


def called(name: str) -> Formula:
    """A function that kernels have a routine for."""
    return lambda v, x, **numbers: v.call(name, x, *numbers.values())


def of_numpy(name: str) -> Function:
    """The same in NumPy; NaN where it is not defined."""

    def function(x: Array, attrs: Attrs) -> Array:
        with np.errstate(all="ignore"):
            return FUNCTIONS[name](x, *attrs.values())

    return function


def periodic(name: str) -> Function:
    """The same, but NaN from |x| = FURTHEST on."""
    function = of_numpy(name)
    return lambda x, attrs: np.where(np.abs(x) < FURTHEST, function(x, attrs), x.dtype.type(np.nan))


def rounding(name: str, formula: Formula, onnx: str | None, *synonyms: str) -> Pointwise:
    """A function that jumps from one whole number to the next."""
    theirs = Onnx(onnx) if onnx else None
    return Pointwise(name, formula, 0.0, Finite.ALWAYS, theirs, Values.EXACT, synonyms=synonyms)


def circular(name: str, finite: Finite, values: Values) -> Pointwise:
    """A circular or hyperbolic function, or the inverse of one."""
    reference = periodic(name) if name in PERIODIC else of_numpy(name)
    return Pointwise(name, called(name), 2e-6, finite, Onnx(name.capitalize()), values, reference=reference)


OPS = pointwise_ops(
    Pointwise(
        "exp",
        lambda v, x: v.exp(x),
        tolerance=2e-6,
        finite=Finite.AT_ZERO,
        onnx=Onnx("Exp"),
        values=Values.POSITIVE,
    ),
    Pointwise(
        "log",
        called("log"),
        tolerance=2e-6,
        finite=Finite.NOT_AT_ZERO,
        onnx=Onnx("Log"),
        values=Values.POSITIVE,
        reference=of_numpy("log"),
    ),
    Pointwise(
        "sqrt",
        lambda v, x: v.let(v.sqrt(x)),
        tolerance=2e-6,
        finite=Finite.AT_ZERO,
        onnx=Onnx("Sqrt"),
        values=Values.POSITIVE,
    ),
    Pointwise(
        "reciprocal",
        lambda v, x: v.let(v.number(1.0) / x),
        tolerance=2e-6,
        finite=Finite.NOT_AT_ZERO,
        onnx=Onnx("Reciprocal"),
        values=Values.POSITIVE,
    ),
    Pointwise(
        "power",
        called("power"),
        tolerance=2e-6,
        finite=Finite.NOT_AT_ZERO,
        onnx=None,
        values=Values.POSITIVE,
        numbers={"exponent": Number(2.0, Tenths(-30, 30))},
        reference=of_numpy("power"),
        first="exponent",
        example="power 0.5",
    ),
    Pointwise(
        "erf",
        erf_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Erf"),
        values=Values.ANY,
        reference=erf,
    ),
    rounding("round_down", lambda v, x: v.let(v.floor(x)), "Floor", "floor"),
    rounding("round_up", lambda v, x: v.let(v.ceil(x)), "Ceil", "ceil"),
    rounding("round_to_zero", lambda v, x: v.let(v.trunc(x)), None, "trunc", "truncate"),
    rounding("round", lambda v, x: v.let(v.rint(x)), "Round"),
    rounding("sign", called("sign"), "Sign"),
    circular("sin", Finite.ALWAYS, Values.ANY),
    circular("cos", Finite.ALWAYS, Values.ANY),
    circular("tan", Finite.AT_ZERO, Values.POSITIVE),
    circular("asin", Finite.AT_ZERO, Values.POSITIVE),
    circular("acos", Finite.AT_ZERO, Values.POSITIVE),
    circular("atan", Finite.ALWAYS, Values.ANY),
    circular("sinh", Finite.AT_ZERO, Values.POSITIVE),
    circular("cosh", Finite.AT_ZERO, Values.POSITIVE),
    circular("asinh", Finite.ALWAYS, Values.ANY),
    circular("acosh", Finite.NOT_AT_ZERO, Values.ABOVE_ONE),
    circular("atanh", Finite.AT_ZERO, Values.INSIDE),
)
