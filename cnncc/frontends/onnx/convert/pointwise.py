"""ONNX ops that look at one element at a time, of one tensor or of several that broadcast."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.site import OnnxRule, OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, broadcast
from cnncc.ops import traits
from cnncc.ops.activation import LARGEST
from cnncc.ops.onnx import Onnx
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.traits import Kind


def named(op: str, onnx: Onnx) -> OnnxRule:
    """A pointwise op that ONNX has too."""

    def rule(site: OnnxSite) -> Value:
        given = {ours: site.number(theirs, default) for theirs, (ours, default) in onnx.numbers.items()}
        return site.pointwise(op, site.value(0), **given)

    return rule


# Two tensors


def combined(site: OnnxSite, op: str, a: Tensor, b: Tensor) -> Value:
    """add, mul, max or min of two tensors that broadcast, in any order; one may be known."""
    if not isinstance(a, Value):
        a, b = b, a
    if not isinstance(a, Value):
        a = site.b.constant(np.asarray(a), f"{site.hint}.left")
    shape = broadcast(a.shape, b.shape)
    if not isinstance(b, Value):
        return with_known(site, op, site.b.expand(a, shape, site.hint), np.asarray(b))
    if a.shape != shape and b.shape == shape:
        a, b = b, a
    return merged(site, op, a, b)


def with_known(site: OnnxSite, op: str, value: Value, known: np.ndarray) -> Value:
    """The same with a known tensor: a number, one for each channel, or a learned tensor."""
    if known.size == 1 and op in ("add", "mul") and not (op == "add" and is_bias(site, value, known)):
        number = float(known.reshape(()))
        return site.pointwise("affine", value, **({"shift": number} if op == "add" else {"scale": number}))
    return merged(site, op, value, known)


def is_bias(site: OnnxSite, value: Value, known: np.ndarray) -> bool:
    """Whether a tensor of one number is the bias of a layer of one output. It stays a weight, whatever it is: training
    changes it, and the text should not change with it."""
    node = site.b.nodes[value.node]
    return known.ndim > 0 and traits(node).kind is Kind.LINEAR and node.attrs["out"] == 1 and not node.attrs["bias"]


def negated(site: OnnxSite, tensor: Tensor) -> Tensor:
    return site.pointwise("affine", tensor, scale=-1.0) if isinstance(tensor, Value) else np.asarray(-tensor)


def operands(site: OnnxSite) -> list[Tensor]:
    return [t for t in site.inputs if t is not None]


def merge(op: str) -> OnnxRule:
    """A merge of any number of tensors; of one it is that tensor."""

    def rule(site: OnnxSite) -> Tensor:
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


def mean(site: OnnxSite) -> Tensor:
    """The sum, divided."""
    total = merge("add")(site)
    assert isinstance(total, Value)
    return site.pointwise("affine", total, scale=1 / len(operands(site)))


# Activations


def clip(site: OnnxSite) -> Tensor:
    """By numbers, or by bounds that are computed; where they cross, the upper one wins. What is not bounded is bounded
    by the largest float32, so that infinities become that (ONNX)."""
    if any(site.has(i) and isinstance(site.inputs[i], Value) for i in (1, 2)):
        value = site.value(0)
        for i, op, open_side in ((1, "max", {"high": math.inf}), (2, "min", {"low": -math.inf})):
            one_side = not site.has(i)
            value = (
                site.pointwise("clip", value, **open_side) if one_side else combined(site, op, value, site.tensor_at(i))
            )
        return value
    low, high = (
        site.scalar(i, name, finite=False) if site.has(i) else site.unbounded(name, default)
        for i, name, default in ((1, "min", -LARGEST), (2, "max", LARGEST))
    )
    low, high = (math.copysign(LARGEST, b) if LARGEST < abs(b) < math.inf else b for b in (low, high))
    low = min(low, high)
    names = {(0.0, 6.0): "relu6", (0.0, math.inf): "relu"}
    if (low, high) in names:
        return site.pointwise(names[low, high], site.value(0))
    return site.pointwise("clip", site.value(0), low=low, high=high)


def selu(site: OnnxSite) -> Tensor:
    """gamma * elu(x)."""
    alpha = site.number("alpha", 1.67326319217681884765625)
    gamma = site.number("gamma", 1.05070102214813232421875)
    return site.pointwise("affine", site.pointwise("elu", site.value(0), alpha=alpha), scale=gamma)


def celu(site: OnnxSite) -> Tensor:
    """alpha * elu(x / alpha)."""
    alpha = site.number("alpha", 1.0)
    if not alpha:
        raise Unsupported("attribute alpha: divides, and is 0")
    inner = site.pointwise("affine", site.value(0), scale=1 / alpha)
    return site.pointwise("affine", site.pointwise("elu", inner, alpha=1.0), scale=alpha)


def gelu(site: OnnxSite) -> Tensor:
    approximate = site.choice("approximate", ("none", "tanh"), "none") == "tanh"
    return site.pointwise("gelu_tanh" if approximate else "gelu", site.value(0))


def swish(site: OnnxSite) -> Tensor:
    """x * sigmoid(alpha x)."""
    value, alpha = site.value(0), site.number("alpha", 1.0)
    if alpha == 1:
        return site.pointwise("silu", value)
    gate = site.pointwise("sigmoid", site.pointwise("affine", value, scale=alpha))
    return combined(site, "mul", value, gate)


def prelu(site: OnnxSite) -> Tensor:
    """One slope for all, one for each channel, or relu(x) - slope * relu(-x). Slopes align with the last axes, as those
    of any tensor that broadcasts."""
    value, slope = site.value(0), site.tensor_at(1)
    if broadcast(value.shape, slope.shape) != value.shape:
        raise Unsupported(f"the slope {list(slope.shape)} is larger than the tensor {list(value.shape)}")
    if isinstance(slope, np.ndarray):
        if slope.size == 1:
            return site.pointwise("leaky_relu", value, slope=float(slope.reshape(())))
        channels = value.shape[1] if len(value.shape) in (2, 3, 4) else 0
        column = (channels, *(1,) * (len(value.shape) - 2))
        if slope.size == channels and slope.shape[-len(column) :] == column:
            arranged, node = site.b.front(value, 1)
            made = site.add("prelu", node, weights=[slope.reshape(-1).astype(np.float32)])
            return Value(made, value.shape, arranged.axes)
    below = site.pointwise("relu", site.pointwise("affine", value, scale=-1.0))
    return combined(site, "add", site.pointwise("relu", value), negated(site, combined(site, "mul", below, slope)))


def shrink(site: OnnxSite) -> Tensor:
    return site.pointwise("shrink", site.value(0), shift=site.number("bias", 0.0), edge=site.number("lambd", 0.5))


def unchanged(site: OnnxSite) -> Tensor:
    return site.value(0)


RULES: Mapping[str, OnnxRule] = {
    "Neg": lambda site: site.pointwise("affine", site.value(0), scale=-1.0),
    "Clip": clip,
    "Selu": selu,
    "Celu": celu,
    "Gelu": gelu,
    "Swish": swish,
    "PRelu": prelu,
    "Shrink": shrink,
    "Identity": unchanged,
    "Sum": merge("add"),
    "Max": merge("max"),
    "Min": merge("min"),
    "Mean": mean,
    **{r.onnx.name: named(r.name, r.onnx) for r in RECORDS.values() if r.onnx},
}
"""Of one result each. What an op says of itself comes last: a rule may stand here for what it became an op of."""
