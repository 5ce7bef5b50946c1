"""Functions of one vector beyond what networks are usually made of: rounding, circular and hyperbolic functions.

Errors are below 3e-7 of the result, where nothing else is said. No function branches; what needs more digits than
float32 has (a remainder of pi, say) is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tvm import tirx

from cnncc.kernels.shared.arithmetic import exp, full_log, horner, vector_of, vmax, whole
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.pairs import power
from cnncc.kernels.shared.wide import number, widened
from cnncc.ops.elementary import FURTHEST

Function = Callable[..., Expr]

_HALF_PI_HIGH = round(math.pi / 2 * 2**25) / 2**25
"""The first 26 bits of pi / 2: times a whole number below 2^27 it is exact in float64."""
_HALF_PI_LOW = -1.3909067614167116e-08
"""The rest of it."""

_SINE = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880)
_COSINE = (1.0, -1 / 2, 1 / 24, -1 / 720, 1 / 40320)
# Chebyshev fits on |x| <= 1/2 and |x| <= tan(pi / 8), in powers of x^2, behind the first term.
_ARC_SINE = (0.166666724, 0.0749885507, 0.0450013801, 0.0265545422, 0.0380850235)
_ARC_TANGENT = (-0.333332866, 0.199912377, -0.140241428, 0.0852049204)


def _negated(x: Expr, lanes: int) -> Expr:
    """-x, of 0 too."""
    return x * splat(-1.0, lanes)


def _size(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """|x|"""
    return k.let(vmax(_negated(x, lanes), x))


def _signed(k: KernelBuilder, size: Expr, x: Expr, lanes: int) -> Expr:
    """A value that is not negative, with the sign of x."""
    return k.let(tirx.Select(x < splat(0.0, lanes), _negated(size, lanes), size))


def sign(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """-1, 0 or 1; NaN of NaN."""
    one = splat(1.0, lanes)
    below = k.let(tirx.Select(x < splat(0.0, lanes), splat(-1.0, lanes), x))
    return k.let(tirx.Select(x > splat(0.0, lanes), one, below))


# Circular functions


def quarter_turns(k: KernelBuilder, x: Expr, lanes: int) -> tuple[Expr, Expr, Expr]:
    """n modulo 4 and the sine and cosine of x - n pi / 2, which is at most pi / 4 (Cody and Waite, in float64). NaN
    from `FURTHEST` on."""
    size = _size(k, x, lanes)
    x = k.let(tirx.Select(size < splat(FURTHEST, lanes), x, splat(float("nan"), lanes)))
    exact = k.let(widened(x, lanes))
    n = k.let(tirx.nearbyint(exact * number(2 / math.pi, lanes)))
    rest = k.let(exact - n * number(_HALF_PI_HIGH, lanes))
    r = k.let(tirx.Cast(vector_of("float32", lanes), rest - n * number(_HALF_PI_LOW, lanes)))
    turns = k.let(tirx.bitwise_and(tirx.Cast(vector_of("int32", lanes), n), whole(3, lanes)))
    square = k.let(r * r)
    sine = k.let(r * horner(k, square, _SINE, lanes))
    return turns, sine, horner(k, square, _COSINE, lanes)


def _turned(k: KernelBuilder, turns: Expr, sine: Expr, cosine: Expr, lanes: int) -> Expr:
    """The sine of an angle and so many quarter turns."""
    odd = tirx.bitwise_and(turns, whole(1, lanes)) == whole(1, lanes)
    value = k.let(tirx.Select(odd, cosine, sine))
    return k.let(
        tirx.Select(tirx.bitwise_and(turns, whole(2, lanes)) == whole(2, lanes), _negated(value, lanes), value)
    )


def sin(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """NaN from 2^27 on."""
    return _turned(k, *quarter_turns(k, x, lanes), lanes)


def cos(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """The sine of a quarter turn more."""
    turns, sine, cosine = quarter_turns(k, x, lanes)
    return _turned(k, k.let(turns + whole(1, lanes)), sine, cosine, lanes)


def tan(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """The sine over the cosine, or after an odd number of quarter turns -1 over that."""
    turns, sine, cosine = quarter_turns(k, x, lanes)
    odd = tirx.bitwise_and(turns, whole(1, lanes)) == whole(1, lanes)
    above = k.let(tirx.Select(odd, _negated(cosine, lanes), sine))
    return k.let(above / tirx.Select(odd, sine, cosine))


def asin(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """A polynomial up to 1/2, above it pi / 2 - 2 asin(sqrt((1 - |x|) / 2)); NaN beyond 1."""
    size, half = _size(k, x, lanes), splat(0.5, lanes)
    outer = size > half
    square = k.let(tirx.Select(outer, (splat(1.0, lanes) - size) * half, size * size))
    root = k.let(tirx.Select(outer, tirx.sqrt(square), size))
    value = k.let(root + root * square * horner(k, square, _ARC_SINE, lanes))
    folded = k.let(splat(math.pi / 2, lanes) - (value + value))
    return _signed(k, k.let(tirx.Select(outer, folded, value)), x, lanes)


def acos(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """2 asin(sqrt((1 - x) / 2)) from 1/2 on, so that it is exact near 1; else pi / 2 - asin(x)."""
    half = splat(0.5, lanes)
    close = x > half
    root = k.let(tirx.sqrt((splat(1.0, lanes) - x) * half))
    value = asin(k, k.let(tirx.Select(close, root, x)), lanes)
    return k.let(tirx.Select(close, value + value, splat(math.pi / 2, lanes) - value))


def atan(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """pi / 2 - atan(1 / |x|) from 1 on; pi / 4 + atan((t - 1) / (t + 1)) from tan(pi / 8) on; below it a polynomial."""
    size, one = _size(k, x, lanes), splat(1.0, lanes)
    t = k.let(tirx.Select(size > one, one / size, size))
    upper = t > splat(math.tan(math.pi / 8), lanes)
    u = k.let(tirx.Select(upper, (t - one) / (t + one), t))
    square = k.let(u * u)
    series = k.let(u + u * square * horner(k, square, _ARC_TANGENT, lanes))
    value = k.let(tirx.Select(upper, series + splat(math.pi / 4, lanes), series))
    return _signed(k, k.let(tirx.Select(size > one, splat(math.pi / 2, lanes) - value, value)), x, lanes)


# Hyperbolic functions


def _half_power(k: KernelBuilder, size: Expr, lanes: int) -> Expr:
    """e^(|x| / 2): its square divided by 2 is finite where e^|x| is not."""
    return exp(k, k.let(size * splat(0.5, lanes)), lanes)


def sinh(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """(e^x - e^-x) / 2 from 1 on, below it the first terms of its series."""
    size, half = _size(k, x, lanes), splat(0.5, lanes)
    power = _half_power(k, size, lanes)
    large = k.let(power * half * power - half / power / power)
    square = k.let(x * x)
    small = k.let(size * horner(k, square, (1.0, 1 / 6, 1 / 120, 1 / 5040, 1 / 362880), lanes))
    return _signed(k, k.let(tirx.Select(size < splat(1.0, lanes), small, large)), x, lanes)


def cosh(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """(e^x + e^-x) / 2"""
    half = splat(0.5, lanes)
    power = _half_power(k, _size(k, x, lanes), lanes)
    return k.let(power * half * power + half / power / power)


def log1p(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln(1 + x): the error of 1 + x is that of a factor, which x itself shows (Kahan)."""
    one = splat(1.0, lanes)
    moved = k.let(one + x)
    share = k.let(x / (moved - one))
    kept = k.let(tirx.Select(tirx.abs(moved) <= splat(3e38, lanes), share, one))
    value = k.let(full_log(k, moved, lanes) * kept)
    return k.let(tirx.Select(moved == one, x, value))


def asinh(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln(|x| + sqrt(x^2 + 1)), with the sign of x; beyond 1e9, where the square is too large, ln |x| + ln 2."""
    size, one = _size(k, x, lanes), splat(1.0, lanes)
    square = k.let(size * size)
    inner = log1p(k, k.let(size + square / (one + tirx.sqrt(square + one))), lanes)
    return _signed(k, _of_large(k, size, inner, lanes), x, lanes)


def acosh(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln(x + sqrt(x^2 - 1)); NaN below 1."""
    above = k.let(x - splat(1.0, lanes))
    inner = log1p(k, k.let(above + tirx.sqrt(above * (above + splat(2.0, lanes)))), lanes)
    value = _of_large(k, x, inner, lanes)
    return k.let(tirx.Select(x < splat(1.0, lanes), splat(float("nan"), lanes), value))


def _of_large(k: KernelBuilder, size: Expr, value: Expr, lanes: int) -> Expr:
    """The value, or beyond 1e9 ln(2 size)."""
    far = k.let(full_log(k, size, lanes) + splat(math.log(2), lanes))
    return k.let(tirx.Select(size > splat(1e9, lanes), far, value))


def atanh(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln((1 + x) / (1 - x)) / 2; infinite at 1, NaN beyond."""
    size = _size(k, x, lanes)
    share = k.let((size + size) / (splat(1.0, lanes) - size))
    return _signed(k, k.let(log1p(k, share, lanes) * splat(0.5, lanes)), x, lanes)


FUNCTIONS: Mapping[str, Function] = {
    "log": full_log,
    "power": lambda k, x, n, exponent: power(k, x, splat(exponent, n), n),
    **{f.__name__: f for f in (sign, sin, cos, tan, asin, acos, atan, sinh, cosh, asinh, acosh, atanh)},
}
"""Name -> the value of a vector, for formulas of pointwise ops; numbers that it takes come last."""
