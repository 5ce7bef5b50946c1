"""Batch norm disappears into the weights of what is before it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import Constant

_HOSTS = frozenset({"conv", "conv_transpose", "fc"})


def fold_batchnorm(g: Graph) -> Graph:
    """bn(conv(x, w) + b) => conv(x, w * s) + (b - mean) * s + shift, where s = scale / sqrt(variance + eps).

    Must not fire when the conv's value has other users or is a graph output, when the conv already has an epilogue, or
    when its weights are shared; conv_transpose and fc are convs too, a bn that follows anything else stays.
    """
    uses = Counter(c for n in g.nodes for c in n.weights.values())
    constants = dict(g.constants)
    nodes: dict[str, Node] = {}
    for node in g.nodes:
        host = nodes.get(node.inputs[0]) if node.op == "bn" else None
        if host is None or not _foldable(g, host, uses):
            nodes[node.name] = node
            continue
        del nodes[host.name]
        nodes[node.name], changed = _fold(host, node, constants)
        constants.update(changed)
    return g if len(nodes) == len(g.nodes) else g.rebuild(nodes.values(), constants=constants)


def _foldable(g: Graph, host: Node, uses: Counter[str]) -> bool:
    if host.op not in _HOSTS or host.attrs["epilogue"] or not g.is_private(host.name):
        return False
    return all(uses[c] <= 1 for c in host.weights.values())


def _fold(host: Node, bn: Node, constants: dict[str, Constant]) -> tuple[Node, dict[str, Constant]]:
    """The convolution under the name of `bn`, and its new constants under their old names."""
    scale, shift, mean, variance = (constants[bn.weights[s]] for s in ("weight", "bias", "running_mean", "running_var"))
    eps = bn.attrs["eps"]
    groups = host.attrs.get("groups", 1) if host.op == "conv_transpose" else 0
    weight_name = host.weights["weight"]
    bias_name = host.weights.get("bias", f"{weight_name.removesuffix('.weight')}.bias")
    weight = constants[weight_name]
    new_weight = weight.map(weight.shape, lambda w, a, v: _scaled(w, _factor(a, v, eps), groups), scale, variance)

    def new_bias(beta: np.ndarray, a: np.ndarray, m: np.ndarray, v: np.ndarray, *b: np.ndarray) -> np.ndarray:
        return (beta + (sum(b) - m.astype(np.float64)) * _factor(a, v, eps)).astype(np.float32)

    old_bias = (constants[host.weights["bias"]],) if "bias" in host.weights else ()
    bias = shift.map(shift.shape, new_bias, scale, mean, variance, *old_bias)
    attrs = {**host.attrs, "bias": True, "epilogue": bn.attrs["epilogue"]}
    folded = host.with_(
        name=bn.name,
        inputs=host.inputs + bn.inputs[1:],
        attrs=attrs,
        weights={"weight": weight_name, "bias": bias_name},
        type=bn.type,
    )
    return folded, {weight_name: new_weight, bias_name: bias}


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
