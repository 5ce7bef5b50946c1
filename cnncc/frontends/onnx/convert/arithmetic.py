"""Arithmetic of two tensors. Whole numbers are float32 here, exact up to 2^24: what ONNX does to integers is done to
them by rounding, and by wrapping around for types of 8 and 16 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.pointwise import combined, merge, negated, operands
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.types import Kind, is_whole
from cnncc.frontends.onnx.values import Value

MOST_POWERS = 8
"""Whole exponents up to this are products."""
MOST_BITS = 16
"""Of integer types whose largest value is a float32."""


def wrapped(site: OnnxSite, value: Value, kind: Kind | None, most: int = MOST_BITS) -> Value:
    """x - 2^b floor((x - lowest) / 2^b): a whole number as an integer type of b bits, up to `most`, has it."""
    if kind is None or not is_whole(kind) or kind.itemsize * 8 > most:
        return value
    count, lowest = 2.0 ** (kind.itemsize * 8), float(np.iinfo(kind).min)
    turns = site.pointwise("round_down", site.pointwise("affine", value, scale=1 / count, shift=-lowest / count))
    return combined(site, "add", value, site.pointwise("affine", turns, scale=-count))


def wrapping(rule: Callable[[OnnxSite], Tensor]) -> Callable[[OnnxSite], Tensor]:
    """A rule whose result has the integer type of its operands."""

    def wrapper(site: OnnxSite) -> Tensor:
        result = rule(site)
        return wrapped(site, result, site.kind(0)) if isinstance(result, Value) else result

    return wrapper


def subtract(site: OnnxSite) -> Tensor:
    """a + -b, which rounds as a - b does."""
    a, b = operands(site)
    b = b if isinstance(b, Value) else np.asarray(b, np.float64)
    return combined(site, "add", a, negated(site, b))


def divide(site: OnnxSite) -> Tensor:
    """a / b; of integers what is in front of the point. By a known number it is a product."""
    a, b = operands(site)
    if is_whole(site.kind(0)):
        return wrapped(site, site.pointwise("round_to_zero", quotient(site, a, b)), site.kind(0))
    if isinstance(b, np.ndarray):
        with np.errstate(divide="ignore"):
            inverse = 1 / np.asarray(b, np.float64)
        if np.isfinite(inverse.astype(np.float32)).all() and inverse.all():
            return combined(site, "mul", a, inverse)
    if isinstance(a, np.ndarray) and isinstance(b, Value) and a.size == 1 and float(a.reshape(())) == 1:
        return site.b.expand(site.pointwise("reciprocal", b), np.broadcast_shapes(a.shape, b.shape), site.hint)
    return quotient(site, a, b)


def quotient(site: OnnxSite, a: Tensor, b: Tensor) -> Value:
    return merged(site, "div", a, b)


def remainder(site: OnnxSite) -> Tensor:
    """With the sign of the dividend for `fmod`, else of the divisor."""
    a, b = operands(site)
    return merged(site, "fmod" if site.flag("fmod") else "mod", a, b)


def shift(site: OnnxSite) -> Tensor:
    """A product with 2^b, or what is in front of the point of a quotient. A shift beyond the width leaves nothing."""
    a, b = operands(site)
    left = site.choice("direction", ("LEFT", "RIGHT")) == "LEFT"
    kind = site.kind(0)
    bits = 8 * kind.itemsize if kind is not None and is_whole(kind) else 64
    base, beyond = (2.0, 0.0) if left else (0.5, 0.5**bits)
    if isinstance(b, Value):
        ones = (1,) * len(b.shape)
        inside = merged(
            site,
            "mul",
            merged(site, "greater_equal", b, np.zeros(ones)),
            merged(site, "greater", np.full(ones, bits), b),
        )
        factor: Tensor = merged(
            site, "where", inside, merged(site, "pow", np.full(ones, base), b), np.full(ones, beyond)
        )
    else:
        factor = np.where((b >= 0) & (b < bits), base ** np.clip(b, 0, bits).astype(np.float64), beyond)
    product = combined(site, "mul", a, factor)
    return wrapped(site, product, kind, 32) if left else site.pointwise("round_down", product)


# Powers


def power(site: OnnxSite) -> Tensor:
    """Products for small whole exponents, roots and reciprocals by name, else the power itself."""
    base, exponent = operands(site)
    if isinstance(exponent, np.ndarray) and exponent.size and (exponent == exponent.flat[0]).all():
        if isinstance(base, Value) and np.broadcast_shapes(base.shape, exponent.shape) == base.shape:
            return whole_power(site, raised(site, base, float(exponent.flat[0])))
    return whole_power(site, merged(site, "pow", base, exponent))


def whole_power(site: OnnxSite, value: Value) -> Value:
    """A power as the type of its base has it: that of integers is whole, and computed to a few digits only."""
    if not is_whole(site.kind(0)):
        return value
    return wrapped(site, site.pointwise("round" if is_whole(site.kind(1)) else "round_to_zero", value), site.kind(0))


def raised(site: OnnxSite, base: Value, exponent: float) -> Value:
    """A tensor to the power of a number."""
    if exponent == -1:
        return site.pointwise("reciprocal", base)
    if exponent == 0.5:
        return site.pointwise("sqrt", base)
    if exponent == -0.5:
        return site.pointwise("reciprocal", site.pointwise("sqrt", base))
    if exponent != int(exponent) if np.isfinite(exponent) else True:
        return site.pointwise("power", base, exponent=exponent)
    if not 1 <= exponent <= MOST_POWERS:
        return site.pointwise("power", base, exponent=exponent)
    result = base
    for _ in range(int(exponent) - 1):
        result = Value(site.add("mul", result.node, base.node), base.shape, base.axes)
    return result


# Types


def convert(site: OnnxSite, value: Value, old: Kind | None, new: Kind) -> Value:
    """A tensor of one type as another: integers are cut off at the point, and wrapped if they do not fit. All
    floating-point types are float32 here."""
    if new.kind == "b":
        return value if old is not None and old.kind == "b" else truth(site, value)
    if not is_whole(new) or (old is not None and (old.kind == "b" or np.can_cast(old, new))):
        return value
    whole = value if is_whole(old) else site.pointwise("round_to_zero", value)
    return wrapped(site, whole, new)


def truth(site: OnnxSite, value: Value) -> Value:
    """1 for whatever is not 0, NaN too."""
    zero = np.zeros((1,) * len(value.shape), np.float32)
    return site.pointwise("affine", merged(site, "equal", value, zero), scale=-1.0, shift=1.0)


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "Add": wrapping(merge("add")),
    "Mul": wrapping(merge("mul")),
    "Sub": wrapping(subtract),
    "Div": divide,
    "Mod": remainder,
    "BitShift": shift,
    "Pow": power,
}
"""Of one result each."""
