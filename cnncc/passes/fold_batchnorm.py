"""Batch norm disappears into the weights of what is before it."""

from __future__ import annotations

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, remade, rewrite, rule
from cnncc.ops import LINEAR


def fold_batchnorm(g: Graph) -> Graph:
    """bn(conv(x, w) + b) => conv(x, w * s) + (b - mean) * s + shift, where s = scale / sqrt(variance + eps).

    Must not fire when the conv's value has other users or is a graph output, when the conv already has an epilogue, or
    when its weights are shared; conv_transpose and fc are convs too, a bn that follows anything else stays.
    """
    return rewrite(g, RULES)


@rule("bn")
def bn_after_conv(g: Draft, node: Node) -> Change | None:
    """bn(conv(x, w) + b) => conv(x, w * s) + (b - mean) * s + shift, where s = scale / sqrt(variance + eps)

    Must not fire when the conv's value has other users or is a graph output, when the conv already has an epilogue, or
    when its weights are shared.
    """
    linear = g.private(node.inputs[0], *LINEAR)
    if linear is None or any(g.constant_uses(c) > 1 for c in linear.weights.values()):
        return None
    return _folded(g, linear, node)


RULES = (bn_after_conv,)


def _folded(g: Draft, linear: Node, bn: Node) -> Change:
    """The convolution under the name of `bn`, and its new constants under their old names."""
    constants = g.constants
    scale, shift, mean, variance = (constants[bn.weights[s]] for s in ("weight", "bias", "running_mean", "running_var"))
    eps = bn.attrs["eps"]
    groups = linear.attrs["groups"] if linear.op == "conv_transpose" else 0
    weight_name = linear.weights["weight"]
    bias_name = linear.weights.get("bias", f"{weight_name.removesuffix('.weight')}.bias")
    weight = constants[weight_name]
    new_weight = weight.map(weight.shape, lambda w, a, v: _scaled(w, _factor(a, v, eps), groups), scale, variance)

    def new_bias(beta: np.ndarray, a: np.ndarray, m: np.ndarray, v: np.ndarray, *b: np.ndarray) -> np.ndarray:
        return (beta + (sum(b) - m.astype(np.float64)) * _factor(a, v, eps)).astype(np.float32)

    old_bias = (constants[linear.weights["bias"]],) if "bias" in linear.weights else ()
    bias = shift.map(shift.shape, new_bias, scale, mean, variance, *old_bias)
    folded = remade(
        bn,
        linear,
        inputs=linear.inputs + bn.inputs[1:],
        attrs={**linear.attrs, "bias": True, "epilogue": bn.attrs["epilogue"]},
        weights={"weight": weight_name, "bias": bias_name},
    )
    return Change((folded,), {weight_name: new_weight, bias_name: bias})


def _factor(scale: np.ndarray, variance: np.ndarray, eps: float) -> np.ndarray:
    return scale / np.sqrt(variance.astype(np.float64) + eps)


def _scaled(weight: np.ndarray, factor: np.ndarray, groups: int) -> np.ndarray:
    """Weight times factor along its output channels: axis 0, or (conv_transpose: groups > 0) axis 1 of each group."""
    if not groups:
        # In float64 piece by piece, rounded once: a whole copy of the weight in float64 takes longer than the product.
        result = np.empty(weight.shape, np.float32)
        factors = factor.reshape(-1, *[1] * (weight.ndim - 1))
        return np.multiply(weight, factors, out=result, dtype=np.float64, casting="same_kind")
    inputs, outs, kh, kw = weight.shape
    grouped = weight.reshape(groups, inputs // groups, outs, kh, kw) * factor.reshape(groups, 1, outs, 1, 1)
    return grouped.reshape(weight.shape).astype(np.float32)
