"""ONNX ops that look at one element at a time, of one tensor or of several that broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx_site import Site, Tensor
from cnncc.frontends.onnx_values import Builder, Unsupported, Value, broadcast, ranked
from cnncc.ops.activation import LARGEST

Rule = Callable[[Site], Tensor]

MOST_POWERS = 8
"""Whole exponents up to this are products."""


def same(op: str) -> Rule:
    """An op that has the same meaning here, without numbers."""
    return lambda site: site.pointwise(op, site.value(0))


def numbered(op: str, **names: tuple[str, float]) -> Rule:
    """An op with numbers: ours = (ONNX's, its default there)."""

    def rule(site: Site) -> Value:
        given = {ours: site.number(theirs, default) for ours, (theirs, default) in names.items()}
        return site.pointwise(op, site.value(0), **given)

    return rule


# Two tensors


def combined(site: Site, op: str, a: Tensor, b: Tensor) -> Value:
    """add, mul, max or min of two tensors that broadcast; one may be known."""
    if not isinstance(a, Value):
        a, b = b, a
    if not isinstance(a, Value):
        a = site.b.constant(np.asarray(a), f"{site.hint}.left")
    shape = broadcast(a.shape, b.shape)
    if not isinstance(b, Value):
        return with_known(site, op, site.b.expand(a, shape, site.hint), np.asarray(b))
    a, b = ranked(a, len(shape)), ranked(b, len(shape))
    if a.axes != b.axes:
        b = site.b.arrange(b, a.order)
    if a.shape != shape and b.shape == shape:
        a, b = b, a
    a = site.b.expand(a, shape, site.hint)
    node = a.node
    if not per_channel(site.b, b, a):
        b = site.b.expand(b, shape, site.hint)
        other = site.b.seen(b.node, site.b.shape(node)[1:], site.hint)
    else:
        other = site.b.seen(b.node, (site.b.shape(node)[1], 1, 1), site.hint)
    return Value(site.add(op, node, other), a.shape, a.axes)


def per_channel(b: Builder, value: Value, image: Value) -> bool:
    """Whether a value, stored like an image, has one element for each of the channels of the image's node."""
    shape, first = b.shape(image.node), int(b.batch > 1)
    if len(shape) != 4 or math.prod(shape[2:]) == 1 or (first and value.shape[0] != b.batch):
        return False
    sizes = image.stored[first:]
    channels = next((j for j, size in enumerate(sizes) if size != 1), 0) if shape[1] > 1 else None
    if channels is not None and sizes[channels] != shape[1]:
        return False  # the node's channels are several axes, or a part of one
    return value.stored[first:] == tuple(s if j == channels else 1 for j, s in enumerate(sizes))


def with_known(site: Site, op: str, value: Value, known: np.ndarray) -> Value:
    """The same with a known tensor: a number, one for each channel, or a learned tensor."""
    if known.size == 1 and op in ("add", "mul"):
        number = float(known.reshape(()))
        return site.pointwise("affine", value, **({"shift": number} if op == "add" else {"scale": number}))
    places = np.arange(known.size).reshape((1,) * (len(value.shape) - known.ndim) + known.shape)
    column = places.transpose(value.order)
    if site.b.batch > 1:
        if column.shape[0] != 1:
            raise Unsupported("a known tensor that differs from image to image")
        full = np.broadcast_to(column[0], value.stored[1:])
    else:
        full = np.broadcast_to(column, value.stored)
    dims = site.b.shape(value.node)[1:]
    array = np.asarray(known, np.float32).reshape(-1)[channel_column(full.reshape(dims))]
    node = site.b.add("const", [], f"{site.hint}.value", [array[None]], dims=array.shape)
    return Value(site.add(op, value.node, node), value.shape, value.axes)


def channel_column(array: np.ndarray) -> np.ndarray:
    """An image of places in a tensor as c x 1 x 1 if each channel has one place: by where values come from, not by what
    they are, so that a network is written alike before and after training."""
    if array.ndim == 3 and np.array_equal(array, np.broadcast_to(array[:, :1, :1], array.shape)):
        return np.ascontiguousarray(array[:, :1, :1])
    return np.ascontiguousarray(array)


def negated(site: Site, tensor: Tensor) -> Tensor:
    return site.pointwise("affine", tensor, scale=-1.0) if isinstance(tensor, Value) else np.asarray(-tensor)


def inverse(site: Site, tensor: Tensor) -> Tensor:
    if isinstance(tensor, Value):
        return site.pointwise("reciprocal", tensor)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.asarray(tensor, np.float64))


def operands(site: Site) -> list[Tensor]:
    return [t for t in site.inputs if t is not None]


def merge(op: str) -> Rule:
    """A merge of any number of tensors; of one it is that tensor."""

    def rule(site: Site) -> Tensor:
        first, *rest = operands(site)
        nodes = [t.node for t in (first, *rest) if isinstance(t, Value)]
        alike = {(t.shape, t.axes) for t in (first, *rest) if isinstance(t, Value)}
        if len(nodes) == len(rest) + 1 > 2 and len(alike) == 1 and isinstance(first, Value):
            dims = site.b.shape(first.node)[1:]
            return Value(site.add(op, *(site.b.seen(n, dims) for n in nodes)), first.shape, first.axes)
        for other in rest:
            first = combined(site, op, first, other)
        return first

    return rule


def subtract(site: Site) -> Tensor:
    """a + -b, which rounds as a - b does."""
    a, b = operands(site)
    return combined(site, "add", a, negated(site, b))


def divide(site: Site) -> Tensor:
    """a times 1 / b."""
    a, b = operands(site)
    return combined(site, "mul", a, inverse(site, b))


def mean(site: Site) -> Tensor:
    """The sum, divided."""
    total = merge("add")(site)
    assert isinstance(total, Value)
    return site.pointwise("affine", total, scale=1 / len(operands(site)))


def power(site: Site) -> Tensor:
    """Products for small whole exponents, roots, else exp(e ln x)."""
    base, exponent = operands(site)
    if isinstance(exponent, np.ndarray) and exponent.size == 1 and isinstance(base, Value):
        return raised(site, base, float(exponent.reshape(())))
    if isinstance(base, np.ndarray):
        logarithm: Tensor = np.log(np.asarray(base, np.float64))
    else:
        logarithm = site.pointwise("log", base)
    return site.pointwise("exp", combined(site, "mul", logarithm, exponent))


def raised(site: Site, base: Value, exponent: float) -> Value:
    """A tensor to the power of a number."""
    if exponent < 0:
        return site.pointwise("reciprocal", raised(site, base, -exponent))
    if exponent == 0.5:
        return site.pointwise("sqrt", base)
    if exponent == int(exponent) and 1 <= exponent <= MOST_POWERS:
        result = base
        for _ in range(int(exponent) - 1):
            result = Value(site.add("mul", result.node, base.node), base.shape, base.axes)
        return result
    return site.pointwise("exp", site.pointwise("affine", site.pointwise("log", base), scale=exponent))


# Activations


def bounds(site: Site) -> tuple[float, float]:
    """Clip's bounds, inputs from opset 11 on."""
    found = []
    for i, (name, default) in enumerate((("min", -LARGEST), ("max", LARGEST)), start=1):
        given = site.scalar(i, name, finite=False) if site.has(i) else site.unbounded(name, default)
        found.append(min(max(given, -LARGEST), LARGEST))
    return found[0], found[1]


def clip(site: Site) -> Tensor:
    """relu and relu6 by their names."""
    low, high = bounds(site)
    if low > high:  # ONNX: the upper bound wins
        low = high
    names = {(0.0, 6.0): "relu6", (0.0, LARGEST): "relu"}
    if (low, high) in names:
        return site.pointwise(names[low, high], site.value(0))
    return site.pointwise("clip", site.value(0), low=low, high=high)


def selu(site: Site) -> Tensor:
    """gamma * elu(x)."""
    alpha = site.number("alpha", 1.67326319217681884765625)
    gamma = site.number("gamma", 1.05070102214813232421875)
    return site.pointwise("affine", site.pointwise("elu", site.value(0), alpha=alpha), scale=gamma)


def celu(site: Site) -> Tensor:
    """alpha * elu(x / alpha)."""
    alpha = site.number("alpha", 1.0)
    if not alpha:
        raise Unsupported("attribute alpha: divides, and is 0")
    inner = site.pointwise("affine", site.value(0), scale=1 / alpha)
    return site.pointwise("affine", site.pointwise("elu", inner, alpha=1.0), scale=alpha)


def gelu(site: Site) -> Tensor:
    approximate = site.choice("approximate", ("none", "tanh"), "none") == "tanh"
    return site.pointwise("gelu_tanh" if approximate else "gelu", site.value(0))


def swish(site: Site) -> Tensor:
    """x * sigmoid(alpha x)."""
    value, alpha = site.value(0), site.number("alpha", 1.0)
    if alpha == 1:
        return site.pointwise("silu", value)
    gate = site.pointwise("sigmoid", site.pointwise("affine", value, scale=alpha))
    return combined(site, "mul", value, gate)


def prelu(site: Site) -> Tensor:
    """One slope for all, one for each channel, or relu(x) - slope * relu(-x)."""
    value, slope = site.value(0), site.tensor_at(1)
    if isinstance(slope, np.ndarray):
        if slope.size == 1:
            return site.pointwise("leaky_relu", value, slope=float(slope.reshape(())))
        channels = value.shape[1] if len(value.shape) > 1 else 0
        if (
            len(value.shape) in (2, 3, 4)
            and slope.size == channels == slope.shape[-min(len(value.shape) - 1, slope.ndim)]
        ):
            arranged, node = site.b.front(value, 1)
            made = site.add("prelu", node, weights=[slope.reshape(-1).astype(np.float32)])
            return Value(made, value.shape, arranged.axes)
    below = site.pointwise("relu", site.pointwise("affine", value, scale=-1.0))
    return combined(site, "add", site.pointwise("relu", value), negated(site, combined(site, "mul", below, slope)))


def unchanged(site: Site) -> Tensor:
    return site.value(0)


RULES: Mapping[str, Rule] = {
    **{
        theirs: same(ours)
        for theirs, ours in {
            "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hard_swish", "Mish": "mish",
            "Softplus": "softplus", "Softsign": "softsign", "Exp": "exp", "Log": "log", "Sqrt": "sqrt",
            "Reciprocal": "reciprocal", "Abs": "abs", "Erf": "erf",
        }.items()
    },
    "LeakyRelu": numbered("leaky_relu", slope=("alpha", 0.01)),
    "HardSigmoid": numbered("hard_sigmoid", alpha=("alpha", 0.2), beta=("beta", 0.5)),
    "Elu": numbered("elu", alpha=("alpha", 1.0)),
    "ThresholdedRelu": numbered("thresholded_relu", alpha=("alpha", 1.0)),
    "Neg": lambda site: site.pointwise("affine", site.value(0), scale=-1.0),
    "Clip": clip,
    "Selu": selu,
    "Celu": celu,
    "Gelu": gelu,
    "Swish": swish,
    "PRelu": prelu,
    "Identity": unchanged,
    "Add": merge("add"),
    "Sum": merge("add"),
    "Mul": merge("mul"),
    "Max": merge("max"),
    "Min": merge("min"),
    "Mean": mean,
    "Sub": subtract,
    "Div": divide,
    "Pow": power,
}  # fmt: skip
"""Of one result each."""
