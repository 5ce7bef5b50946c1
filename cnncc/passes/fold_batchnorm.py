"""Batch norms and learned scales disappear into the weights of what is before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, remade, rewrite, rule
from cnncc.ops import LINEAR, TABLE, traits
from cnncc.ops.folding import scaled, shifted


def fold_batchnorm(g: Graph) -> Graph:
    """bn(conv(x, w) + b) => conv(x, w * s) + (b - mean) * s + shift, where s = scale / sqrt(variance + eps).

    Must not fire when the conv's value has other users or is a graph output, when the conv already has an epilogue, or
    when its weights are shared; conv_transpose and fc are convs too, a bn that follows anything else stays.
    """
    return rewrite(g, RULES)


@rule(*(name for name, op in TABLE.items() if op.traits.folds))
def bn_after_conv(g: Draft, node: Node) -> Change | None:
    """bn(conv(x, w) + b) => conv(x, w * s) + (b - mean) * s + shift, where s = scale / sqrt(variance + eps)

    Must not fire when the conv's value has other users or is a graph output, when the conv already has an epilogue, or
    when its weights are shared. A learned scale is a bn without mean and variance.
    """
    linear = g.private(node.inputs[0], *LINEAR)
    if linear is None or any(g.constant_uses(c) > 1 for c in linear.weights.values()):
        return None
    return _folded(g, linear, node)


RULES = (bn_after_conv,)


def _folded(g: Draft, linear: Node, bn: Node) -> Change:
    """The convolution under the name of `bn`, and its new constants under their old names."""
    constants, slots = g.constants, tuple(bn.weights)
    given = [constants[bn.weights[slot]] for slot in slots]
    groups = linear.attrs["groups"] if traits(linear).weight_by_input else 0
    weight_name = linear.weights["weight"]
    weight = constants[weight_name]

    def numbers(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, scale and shift."""
        folds = traits(bn).folds
        assert folds is not None
        return folds(dict(zip(slots, arrays, strict=True)), bn.attrs)

    def new_bias(*arrays: np.ndarray) -> np.ndarray:
        mean, scale, shift = numbers(arrays[: len(slots)])
        return shifted(sum(arrays[len(slots) :]), mean, scale, shift)

    weights = {"weight": weight_name}
    changed = {weight_name: weight.map(weight.shape, lambda w, *a: scaled(w, numbers(a)[1], groups), *given)}
    if "bias" in bn.weights or "bias" in linear.weights:
        bias_name = linear.weights.get("bias", f"{weight_name.removesuffix('.weight')}.bias")
        old = (constants[linear.weights["bias"]],) if "bias" in linear.weights else ()
        changed[bias_name] = given[0].map(given[0].shape, new_bias, *given[1:], *old)
        weights["bias"] = bias_name
    attrs = {**linear.attrs, "bias": "bias" in weights, "epilogue": bn.attrs["epilogue"]}
    folded = remade(bn, linear, inputs=linear.inputs + bn.inputs[1:], attrs=attrs, weights=weights)
    return Change((folded,), changed)
