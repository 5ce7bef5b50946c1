"""Vector arithmetic for kernels: activations, epilogues, exp and log as polynomials (no libm, so they vectorise)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tvm import tirx

from cnncc.kernels.builder import Expr, KernelBuilder, dtype_of, splat
from cnncc.kernels.spec import Epilogue

LARGEST = 3.4028234663852886e38
LOWEST = -LARGEST
"""The most negative float32: padding never wins a maximum."""

# Minimax-like (Taylor, degree 6) on |r| <= ln2/2: relative error below 2e-7 in float32.
_EXP = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts (Cody and Waite), so that x - n ln 2 keeps all its bits."""


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
    return not isinstance(value, int) and "float" in dtype_of(value)


def _horner(k: KernelBuilder, x: Expr, coefficients: tuple[float, ...], lanes: int) -> Expr:
    total = splat(coefficients[-1], lanes)
    for c in reversed(coefficients[:-1]):
        total = total * x + splat(c, lanes)
    return k.let(total)


def _dtype(base: str, lanes: int) -> str:
    return base if lanes == 1 else f"{base}x{lanes}"


def exp(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """e^x by 2^n e^r; exact at 0, saturates at the ends of the float32 range (never infinite; NaN stays NaN)."""
    x = clamp(k, x, -87.0, 88.0, lanes)
    n = k.let(tirx.floor(x * splat(1.4426950408889634, lanes) + splat(0.5, lanes)))
    r = k.let(x - n * splat(_LN2_HIGH, lanes) - n * splat(_LN2_LOW, lanes))
    mantissa = _horner(k, r, _EXP, lanes)
    bits = (tirx.Cast(_dtype("int32", lanes), n) + _int(127, lanes)) * _int(1 << 23, lanes)
    return k.let(mantissa * tirx.reinterpret(_dtype("float32", lanes), bits))


def _int(value: int, lanes: int) -> Expr:
    scalar = tirx.IntImm("int32", value)
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def log(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln x for normal positive x: the exponent, and 2 atanh((m - 1) / (m + 1)) of the mantissa in [0.75, 1.5)."""
    bits = k.let(tirx.reinterpret(_dtype("int32", lanes), x))
    # Shifting by the bits of 0.75 puts the mantissa in [0.75, 1.5), so that ln 1 is exactly 0.
    shifted = k.let(bits - _int(0x3F400000, lanes))
    exponent = k.let(tirx.shift_right(shifted, _int(23, lanes)))
    mantissa_bits = bits - exponent * _int(1 << 23, lanes)
    m = k.let(tirx.reinterpret(_dtype("float32", lanes), mantissa_bits))
    s = k.let((m - splat(1.0, lanes)) / (m + splat(1.0, lanes)))
    series = _horner(k, k.let(s * s), (2.0, 2 / 3, 2 / 5, 2 / 7, 2 / 9), lanes)
    return k.let(s * series + tirx.Cast(_dtype("float32", lanes), exponent) * splat(0.6931471805599453, lanes))


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


def _sigmoid(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    one = splat(1.0, lanes)
    return k.let(one / (one + exp(k, splat(0.0, lanes) - x, lanes)))


def _tanh(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    one = splat(1.0, lanes)
    return k.let(one - splat(2.0, lanes) / (exp(k, x + x, lanes) + one))


def _leaky(k: KernelBuilder, x: Expr, lanes: int, slope: float) -> Expr:
    zero = splat(0.0, lanes)
    return k.let(vmax(zero, x) + vmin(zero, x) * splat(slope, lanes))


def _hard_sigmoid(k: KernelBuilder, x: Expr, lanes: int, alpha: float, beta: float) -> Expr:
    return clamp(k, x * splat(alpha, lanes) + splat(beta, lanes), 0.0, 1.0, lanes)


def _affine(k: KernelBuilder, x: Expr, lanes: int, scale: float, shift: float) -> Expr:
    return k.let(x * splat(scale, lanes) + splat(shift, lanes))


def _elu(k: KernelBuilder, x: Expr, lanes: int, alpha: float) -> Expr:
    zero = splat(0.0, lanes)
    below = k.let(exp(k, k.let(vmin(zero, x)), lanes) - splat(1.0, lanes))
    return k.let(vmax(zero, x) + below * splat(alpha, lanes))


def _softplus(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """max(x, 0) + ln(1 + e^-|x|): nothing overflows."""
    small = exp(k, k.let(splat(0.0, lanes) - _abs(k, x, lanes)), lanes)
    return k.let(vmax(splat(0.0, lanes), x) + log(k, k.let(splat(1.0, lanes) + small), lanes))


def _softsign(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    return k.let(x / (splat(1.0, lanes) + _abs(k, x, lanes)))


def _mish(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """tanh(ln(1 + n)) = (n^2 + 2n) / (n^2 + 2n + 2) with n = e^x; from x = 20 on it is 1 in float32."""
    n = exp(k, k.let(vmin(splat(20.0, lanes), x)), lanes)
    square = k.let(n * (n + splat(2.0, lanes)))
    return k.let(x * (square / (square + splat(2.0, lanes))))


def _abs(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    return k.let(vmax(splat(0.0, lanes) - x, x))


def _erf(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """1 - (a1 t + ... + a5 t^5) e^(-x^2), t = 1 / (1 + p x), odd: Abramowitz and Stegun 7.1.26, error below 1.5e-7."""
    one = splat(1.0, lanes)
    size = k.let(_abs(k, x, lanes))
    t = k.let(one / (one + size * splat(0.3275911, lanes)))
    series = k.let(t * _horner(k, t, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429), lanes))
    value = k.let(one - series * exp(k, k.let(splat(0.0, lanes) - size * size), lanes))
    return k.let(tirx.Select(x < splat(0.0, lanes), splat(0.0, lanes) - value, value))


def _gelu(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    half = splat(0.5, lanes)
    return k.let(x * half * (splat(1.0, lanes) + _erf(k, k.let(x * splat(0.7071067811865476, lanes)), lanes)))


def _gelu_tanh(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    cubic = k.let(x * (splat(1.0, lanes) + x * x * splat(0.044715, lanes)))
    return k.let(
        x * splat(0.5, lanes) * (splat(1.0, lanes) + _tanh(k, cubic * splat(0.7978845608028654, lanes), lanes))
    )


def _thresholded(k: KernelBuilder, x: Expr, lanes: int, alpha: float) -> Expr:
    return k.let(tirx.Select(x <= splat(alpha, lanes), splat(0.0, lanes), x))


def _log(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """ln x, also where `log` has no answer: -inf at 0, NaN below 0 and of NaN."""
    zero = splat(0.0, lanes)
    # 0/0 and -1/0 of the argument itself: constants would be folded, and a NaN keeps being one.
    at_least = k.let(vmax(splat(1.17549435e-38, lanes), x))
    inside = log(k, at_least, lanes)
    edge = k.let(tirx.Select(x < zero, splat(float("nan"), lanes), splat(float("-inf"), lanes)))
    kept = k.let(tirx.Select(x > zero, inside, edge))
    return k.let(tirx.Select(x <= splat(LARGEST, lanes), kept, x))


ACTIVATIONS: Mapping[str, Callable[..., Expr]] = {
    "relu": lambda k, x, n: k.let(vmax(splat(0.0, n), x)),
    "relu6": lambda k, x, n: clamp(k, x, 0.0, 6.0, n),
    "leaky_relu": _leaky,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda k, x, n: k.let(x * _hard_sigmoid(k, x, n, 1 / 6, 0.5)),
    "silu": lambda k, x, n: k.let(x * _sigmoid(k, x, n)),
    "clip": lambda k, x, n, low, high: clamp(k, x, low, high, n),
    "affine": _affine,
    "elu": _elu,
    "softplus": _softplus,
    "softsign": _softsign,
    "mish": _mish,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "thresholded_relu": _thresholded,
    "erf": _erf,
    "exp": lambda k, x, n: exp(k, x, n),
    "log": _log,
    "sqrt": lambda k, x, n: k.let(tirx.sqrt(x)),
    "reciprocal": lambda k, x, n: k.let(splat(1.0, n) / x),
    "abs": _abs,
}
"""Name of an activation -> its value of a vector; its attributes come as keywords."""


def apply_epilogue(k: KernelBuilder, x: Expr, epilogue: Epilogue, extras: Iterable[Expr], lanes: int) -> Expr:
    """The steps after a sum: activations, and adds of the vectors in `extras`, one after the other."""
    waiting = iter(extras)
    x = k.let(x)
    for name, attributes in epilogue:
        x = k.let(x + next(waiting)) if name == "add" else ACTIVATIONS[name](k, x, lanes, **dict(attributes))
    return x


def horizontal(k: KernelBuilder, vector: Expr, lanes: int, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """One scalar from a vector: a tree over its lanes, in a fixed order (the same bits every time)."""
    spill = k.registers(lanes)
    spill.store(0, vector, lanes)
    values = [spill.load(i) for i in range(lanes)]
    while len(values) > 1:
        half = len(values) // 2
        values = [k.let(combine(values[i], values[i + half])) for i in range(half)]
    return values[0]
