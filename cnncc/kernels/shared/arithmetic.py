"""Vector arithmetic that activations and kernels are made of: extremes, exp, ln (no libm, so they vectorise)."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from cnncc.base.dim import Dim
from cnncc.kernels.shared.builder import Expr, KernelBuilder, dtype_of, splat

LARGEST, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38
"""The largest float32, and the smallest normal one."""
LOWEST = float("-inf")
"""Below every number: what has not been compared never wins a maximum, not even over -inf alone."""

# Minimax-like (Taylor, degree 6) on |r| <= ln2/2: relative error below 2e-7 in float32.
EXP = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)
_TWICE_EXP = tuple(2 * c for c in EXP)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts (Cody and Waite), so that x - n ln 2 keeps all its bits."""


def real(number: Expr) -> Expr:
    """A whole number as a float32."""
    return splat(number, 1) if isinstance(number, int) else tirx.Cast("float32", number)


def quotient(index: Expr, size: Expr) -> Expr:
    """An index divided by a size, neither negative. Where the size is no number, C's division does it, which is short:
    TVM's has code for all signs."""
    return tirx.truncdiv(index, size) if isinstance(size, Dim) else index // size


def remainder(index: Expr, size: Expr) -> Expr:
    """What an index leaves when it is divided by a size."""
    return tirx.truncmod(index, size) if isinstance(size, Dim) else index % size


def share_of(k: KernelBuilder, count: Expr) -> Expr:
    """One over a number of values, a float32."""
    return 1.0 / count if isinstance(count, int) else k.let(splat(1.0, 1) / tirx.Cast("float32", count))


def vmax(a: Expr, b: Expr) -> Expr:
    """The larger one; b if either is NaN (one instruction on x86). So the data comes second: a NaN must not vanish."""
    return tirx.Select(a > b, a, b) if _is_float(b) else tirx.max(a, b)


def vmin(a: Expr, b: Expr) -> Expr:
    """The smaller one; b if either is NaN."""
    return tirx.Select(a < b, a, b) if _is_float(b) else tirx.min(a, b)


def nan_max(a: Expr, b: Expr) -> Expr:
    """The larger one; NaN if either is."""
    return tirx.Select(tirx.isnan(a), a, vmax(a, b))


def nan_min(a: Expr, b: Expr) -> Expr:
    """The smaller one; NaN if either is."""
    return tirx.Select(tirx.isnan(a), a, vmin(a, b))


def _is_float(value: Expr) -> bool:
    return not isinstance(value, int | Dim) and "float" in dtype_of(value)


def horner(k: KernelBuilder, x: Expr, coefficients: tuple[float, ...], lanes: int) -> Expr:
    """The polynomial of these coefficients, that of x^0 first."""
    return horner_of(k, x, [splat(c, lanes) for c in coefficients])


def horner_of(k: KernelBuilder, x: Expr, coefficients: Sequence[Expr]) -> Expr:
    """The same of vectors of any type."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return k.let(total)


def vector_of(base: str, lanes: int) -> str:
    """TVM's name of a vector type."""
    return base if lanes == 1 else f"{base}x{lanes}"


def exp(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """e^x by 2^n e^r; exact at 0, 0 below -87 (the end of the normal range), infinite above 88.73; NaN stays NaN."""
    x = clamp(k, x, -87.3, 89.0, lanes)
    n = k.let(tirx.floor(x * splat(1.4426950408889634, lanes) + splat(0.5, lanes)))
    r = k.let(x - n * splat(_LN2_HIGH, lanes) - n * splat(_LN2_LOW, lanes))
    # Twice e^r times 2^(n - 1): n goes up to 128, of which 2^n itself is no float32.
    twice = horner(k, r, _TWICE_EXP, lanes)
    bits = (tirx.Cast(vector_of("int32", lanes), n) + whole(126, lanes)) * whole(1 << 23, lanes)
    return k.let(twice * tirx.reinterpret(vector_of("float32", lanes), bits))


def whole(value: int, lanes: int) -> Expr:
    """A vector of one int32."""
    scalar = tirx.IntImm("int32", value)
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def parts(k: KernelBuilder, x: Expr, lanes: int) -> tuple[Expr, Expr]:
    """The exponent (int32) and the mantissa in [0.75, 1.5) of a normal positive x."""
    bits = k.let(tirx.reinterpret(vector_of("int32", lanes), x))
    # Shifting by the bits of 0.75 puts the mantissa in [0.75, 1.5), so that ln 1 is exactly 0.
    shifted = k.let(bits - whole(0x3F400000, lanes))
    exponent = k.let(tirx.shift_right(shifted, whole(23, lanes)))
    mantissa_bits = bits - exponent * whole(1 << 23, lanes)
    return exponent, k.let(tirx.reinterpret(vector_of("float32", lanes), mantissa_bits))


def log(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln x for normal positive x: the exponent, and 2 atanh((m - 1) / (m + 1)) of the mantissa."""
    exponent, m = parts(k, x, lanes)
    s = k.let((m - splat(1.0, lanes)) / (m + splat(1.0, lanes)))
    series = horner(k, k.let(s * s), (2.0, 2 / 3, 2 / 5, 2 / 7, 2 / 9), lanes)
    return k.let(s * series + tirx.Cast(vector_of("float32", lanes), exponent) * splat(0.6931471805599453, lanes))


def full_log(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln x of any float32: of those below the normal range too, -inf at 0, NaN below 0 and of NaN."""
    zero = splat(0.0, lanes)
    small = x < splat(SMALLEST, lanes)
    # 2^23 times a number below the normal range is a normal one. What is not above 0 is answered at the end.
    scaled = k.let(tirx.Select(small, x * splat(8388608.0, lanes), x))
    inside = k.let(log(k, k.let(vmax(splat(SMALLEST, lanes), scaled)), lanes))
    moved = k.let(tirx.Select(small, inside - splat(15.942385152878742, lanes), inside))
    edge = k.let(tirx.Select(x < zero, splat(float("nan"), lanes), splat(float("-inf"), lanes)))
    kept = k.let(tirx.Select(x > zero, moved, edge))
    return k.let(tirx.Select(x <= splat(LARGEST, lanes), kept, x))


def power(k: KernelBuilder, x: Expr, exponent: float, lanes: int) -> Expr:
    """x^exponent for x > 0; the exponents of published networks by square roots."""
    if exponent == -0.75:
        root = k.let(tirx.sqrt(x))
        return k.let(splat(1.0, lanes) / (root * tirx.sqrt(root)))
    if exponent == -0.5:
        return k.let(splat(1.0, lanes) / tirx.sqrt(x))
    if exponent == -1.0:
        return k.let(splat(1.0, lanes) / x)
    return exp(k, log(k, x, lanes) * splat(exponent, lanes), lanes)


def clamp(k: KernelBuilder, x: Expr, low: float, high: float, lanes: int) -> Expr:
    """x between two constants; NaN stays NaN. Each step is named, since a comparison writes its operands twice."""
    at_least = k.let(vmax(splat(low, lanes), k.let(x)))
    return k.let(vmin(splat(high, lanes), at_least))
