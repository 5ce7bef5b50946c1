"""Functions of two vectors that formulas of merges call: powers and remainders."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm import tirx

from cnncc.kernels.shared.arithmetic import (
    EXP,
    LARGEST,
    SMALLEST,
    horner,
    vector_of,
    vmax,
    vmin,
    whole,
)
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.wide import log2, number, widened

Pair = Callable[[KernelBuilder, Expr, Expr, int], Expr]

_FAR, _INFINITE = 1e15, 1e50
"""Exponents beyond the first give 0, 1 or infinity of every float32 but 0, 1 and infinity, whose logarithm is 0 or the
second here."""
_DIGITS = 28
"""Bits of a quotient that a step of a remainder finds: with the 24 of a float32 they are exact in float64."""
_STEPS = 10
"""Steps of a remainder: a quotient of two float32 numbers has at most 277 bits."""


def power(k: KernelBuilder, x: Expr, y: Expr, lanes: int) -> Expr:
    """x^y = 2^(y log2 |x|) as IEEE 754 has it: a negative x takes whole exponents, x^0 and 1^y are 1.

    The logarithm is a float64, so that the error stays below 3e-7 of the result for every exponent.
    """
    size = k.let(tirx.abs(x))
    value = _exp2(k, k.let(_log2_of_any(k, size, lanes) * _bounded(k, k.let(widened(y, lanes)), _FAR, lanes)), lanes)
    half, zero = k.let(y * splat(0.5, lanes)), splat(0.0, lanes)
    whole_exponent = y == tirx.floor(y)
    odd = tirx.And(whole_exponent, half != tirx.floor(half))
    negative = tirx.reinterpret(vector_of("int32", lanes), x) < whole(0, lanes)
    value = k.let(tirx.Select(tirx.And(negative, odd), value * splat(-1.0, lanes), value))
    nan, one = splat(float("nan"), lanes), splat(1.0, lanes)
    no_root = tirx.And(tirx.And(x < zero, size <= splat(LARGEST, lanes)), tirx.Not(whole_exponent))
    value = k.let(tirx.Select(no_root, nan, value))
    value = k.let(tirx.Select(tirx.Or(tirx.isnan(x), tirx.isnan(y)), nan, value))
    return k.let(tirx.Select(tirx.Or(x == one, y == zero), one, value))


def _log2_of_any(k: KernelBuilder, size: Expr, lanes: int) -> Expr:
    """log2 of what is not negative, in float64; of 0 and infinity a number as far out as any product needs."""
    small = size < splat(SMALLEST, lanes)
    scaled = k.let(tirx.Select(small, size * splat(8388608.0, lanes), size))
    bounded = k.let(vmin(splat(LARGEST, lanes), k.let(vmax(splat(SMALLEST, lanes), scaled))))
    inside = log2(k, bounded, lanes)
    moved = k.let(tirx.Select(small, inside - number(23.0, lanes), inside))
    above = k.let(tirx.Select(size > splat(0.0, lanes), moved, number(-_INFINITE, lanes)))
    return k.let(tirx.Select(size > splat(LARGEST, lanes), number(_INFINITE, lanes), above))


def _bounded(k: KernelBuilder, x: Expr, most: float, lanes: int) -> Expr:
    return k.let(vmin(number(most, lanes), k.let(vmax(number(-most, lanes), x))))


def _exp2(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """2 to the power of a float64, as a float32: infinite or 0 beyond its range."""
    x = _bounded(k, x, 200.0, lanes)
    n = k.let(tirx.floor(x + number(0.5, lanes)))
    r = k.let(tirx.Cast(vector_of("float32", lanes), (x - n) * number(0.6931471805599453, lanes)))
    count = k.let(tirx.Cast(vector_of("int32", lanes), n))
    half = k.let(tirx.shift_right(count, whole(1, lanes)))
    value = horner(k, r, EXP, lanes)
    # In two factors: neither is out of the range of float32.
    return k.let(value * _two_to_the(half, lanes) * _two_to_the(count - half, lanes))


def _two_to_the(n: Expr, lanes: int) -> Expr:
    return tirx.reinterpret(vector_of("float32", lanes), (n + whole(127, lanes)) * whole(1 << 23, lanes))


def fmod(k: KernelBuilder, x: Expr, y: Expr, lanes: int) -> Expr:
    """x - y trunc(x / y), exactly: the remainder has the sign of x. NaN of an infinite x, and of y = 0."""
    size, step = k.let(tirx.abs(x)), k.let(tirx.abs(y))
    rest, unit = k.let(widened(size, lanes)), k.let(widened(step, lanes))
    for i in reversed(range(_STEPS)):
        rest = _reduced(k, rest, k.let(unit * number(2.0 ** (_DIGITS * i), lanes)), lanes)
    rest = k.let(tirx.Select(rest >= unit, rest - unit, rest))
    found = k.let(tirx.Cast(vector_of("float32", lanes), rest))
    signed = k.let(tirx.Select(x < splat(0.0, lanes), found * splat(-1.0, lanes), found))
    inside = k.let(tirx.Select(step > splat(LARGEST, lanes), x, signed))
    known = tirx.And(size <= splat(LARGEST, lanes), step > splat(0.0, lanes))
    return k.let(tirx.Select(known, inside, splat(float("nan"), lanes)))


def _reduced(k: KernelBuilder, rest: Expr, unit: Expr, lanes: int) -> Expr:
    """The remainder of a number below 2^28 units."""
    quotient = k.let(tirx.trunc(rest / unit))
    left = k.let(rest - quotient * unit)
    # The quotient is rounded, and may be one too many.
    return k.let(tirx.Select(left < number(0.0, lanes), left + unit, left))


def mod(k: KernelBuilder, x: Expr, y: Expr, lanes: int) -> Expr:
    """x - y floor(x / y): the remainder has the sign of y."""
    rest, zero = fmod(k, x, y, lanes), splat(0.0, lanes)
    other = tirx.Or(tirx.And(rest < zero, y > zero), tirx.And(rest > zero, y < zero))
    return k.let(tirx.Select(other, rest + y, rest))


PAIRS: Mapping[str, Pair] = {"pow": power, "mod": mod, "fmod": fmod}
"""Name -> the value of two vectors, for formulas of merges."""
