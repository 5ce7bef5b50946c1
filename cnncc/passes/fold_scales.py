"""Learned numbers per channel join the weights of the op before them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, arms, remade, rewrite, rule
from cnncc.ir.types import Constant
from cnncc.ops import LINEAR, traits
from cnncc.ops.traits import Kind


def fold_scales(g: Graph) -> Graph:
    """bn(x; w, b) * c => bn(x; w c, b c), bn(x; w, b) + c => bn(x; w, b + c), conv(x; w) + c => conv(x; w, c).

    Must not fire when the first op's value has other users, is a graph output or has an epilogue, or when c is not one
    learned number per channel.
    """
    return rewrite(g, RULES)


@rule("mul")
def scale_after_norm(g: Draft, node: Node) -> Change | None:
    """bn(x; w, b) * c => bn(x; w c, b c), of group_norm too

    Must not fire when the norm's value has other users or is a graph output, has an epilogue or no scale, or when c is
    not one learned number per channel.
    """
    found = _channel_arm(g, node, "bn", "group_norm")
    if found is None or "weight" not in found[0].weights:
        return None
    norm, c = found
    return _with_constants(g, node, norm, {slot: _joined(g, norm, slot, np.multiply, c) for slot in ("weight", "bias")})


@rule("add")
def shift_after_norm(g: Draft, node: Node) -> Change | None:
    """bn(x; w, b) + c => bn(x; w, b + c), of group_norm too

    Must not fire when the norm's value has other users or is a graph output, has an epilogue or no shift, or when c is
    not one learned number per channel.
    """
    found = _channel_arm(g, node, "bn", "group_norm")
    if found is None or "bias" not in found[0].weights:
        return None
    norm, c = found
    return _with_constants(g, node, norm, {"bias": _joined(g, norm, "bias", np.add, c)})


@rule("add")
def bias_after_conv(g: Draft, node: Node) -> Change | None:
    """conv(x; w) + c => conv(x; w, c), of conv_transpose and fc too

    Must not fire when the conv's value has other users, is a graph output, has an epilogue or a bias, or when c is not
    one learned number per channel.
    """
    found = _channel_arm(g, node, *LINEAR)
    if found is None or found[0].attrs["bias"]:
        return None
    conv, c = found
    name = g.free_name(f"{node.name}.bias")
    made = remade(node, conv, attrs={**conv.attrs, "bias": True}, weights={**conv.weights, "bias": name})
    return Change((made,), {name: c.map((node.type.shape[1],), _column)})


RULES = (scale_after_norm, shift_after_norm, bias_after_conv)


def _channel_arm(g: Draft, node: Node, *ops: str) -> tuple[Node, Constant] | None:
    """The arm of a merge that one of the ops computes, and the learned numbers per channel that are the other arm."""
    for name, other in arms(node):
        made, column = g.private(name, *ops), g[other]
        channels = node.type.shape[1]
        if made is None or made.type != node.type or traits(column).kind is not Kind.CONSTANT:
            continue
        if column.type.shape in ((1, channels), (1, channels, 1, 1)):
            return made, g.constants[column.weights["value"]]
    return None


def _with_constants(g: Draft, node: Node, norm: Node, changed: dict[str, Constant]) -> Change:
    """The norm under the name of `node`, all of its constants too."""
    names = {slot: g.free_name(f"{node.name}.{slot}") for slot in norm.weights}
    constants = {name: changed.get(slot, g.constants[norm.weights[slot]]) for slot, name in names.items()}
    return Change((remade(node, norm, weights=names),), constants)


def _joined(g: Draft, norm: Node, slot: str, op: Callable[..., np.ndarray], c: Constant) -> Constant:
    """A constant of the norm and c under a NumPy function: computed in float64, rounded to float32."""
    own = g.constants[norm.weights[slot]]

    def compute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):  # weights may be infinite
            return op(a.astype(np.float64), b.reshape(-1)).astype(np.float32)

    return own.map(own.shape, compute, c)


def _column(c: np.ndarray) -> np.ndarray:
    return c.reshape(-1).astype(np.float32)
