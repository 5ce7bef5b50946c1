"""Activations of vectors, and the epilogues that they make up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from tvm import tirx

from cnncc.kernels.shared import functions
from cnncc.kernels.shared.arithmetic import clamp, exp, full_log, horner, log, vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.spec import Epilogue

_ERF_SERIES = tuple(2 / math.sqrt(math.pi) * c for c in (1.0, -1 / 3, 1 / 10, -1 / 42, 1 / 216, -1 / 1320))


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
    """1 - (a1 t + ... + a5 t^5) e^(-x^2), t = 1 / (1 + p x), odd: Abramowitz and Stegun 7.1.26, error below 1.5e-7. Up
    to 1/2, where that would be much of the result, the first terms of its series."""
    one = splat(1.0, lanes)
    size = k.let(_abs(k, x, lanes))
    t = k.let(one / (one + size * splat(0.3275911, lanes)))
    series = k.let(t * horner(k, t, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429), lanes))
    value = k.let(one - series * exp(k, k.let(splat(0.0, lanes) - size * size), lanes))
    odd = k.let(tirx.Select(x < splat(0.0, lanes), splat(0.0, lanes) - value, value))
    small = k.let(x * horner(k, k.let(x * x), _ERF_SERIES, lanes))
    return k.let(tirx.Select(size < splat(0.5, lanes), small, odd))


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
    "log": full_log,
    "sqrt": lambda k, x, n: k.let(tirx.sqrt(x)),
    "reciprocal": lambda k, x, n: k.let(splat(1.0, n) / x),
    "abs": _abs,
    **functions.FUNCTIONS,
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
