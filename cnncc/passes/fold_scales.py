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

SCALED = ("weight", "bias")
"""Slots that a factor behind a norm goes into."""
AVERAGES = ("avgpool", "gap")
"""Ops that a factor goes through: what they pad with is 0."""
LARGEST_FACTOR = 2.0**20
"""That goes into weights; and its inverse. With others, weights could leave what float32 has."""


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
    found = _channel_arm(g, node, "bn", "group_norm", "layernorm", "rmsnorm", "scale")
    if found is None or "weight" not in found[0].weights:
        return None
    norm, c = found
    slots = [slot for slot in norm.weights if slot in SCALED]
    return _with_constants(g, node, norm, {slot: _joined(g, norm, slot, np.multiply, c) for slot in slots})


@rule("add")
def shift_after_norm(g: Draft, node: Node) -> Change | None:
    """bn(x; w, b) + c => bn(x; w, b + c), of group_norm too

    Must not fire when the norm's value has other users or is a graph output, has an epilogue or no shift, or when c is
    not one learned number per channel.
    """
    found = _channel_arm(g, node, "bn", "group_norm", "layernorm", "scale")
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


@rule("mul")
def scale_of_column(g: Draft, node: Node) -> Change | None:
    """x * c => scale(x; c)

    Must not fire when c is not one learned number per channel, when x has another shape than the product, or when x is
    learned too.
    """
    for name, other in arms(node):
        c = _column_of(g, node, other)
        if c is not None and g[name].type == node.type and traits(g[name]).kind is not Kind.CONSTANT:
            slot = g.free_name(f"{node.name}.weight")
            attrs = {"bias": False, "epilogue": node.attrs.get("epilogue", ())}
            made = node.with_(op="scale", inputs=(name,), attrs=attrs, weights={"weight": slot})
            return Change((made,), {slot: c.map((node.type.shape[1],), _column)})
    return None


@rule("add")
def bias_after_scale(g: Draft, node: Node) -> Change | None:
    """scale(x; w) + c => scale(x; w, c), of layernorm too

    Must not fire when the value before has other users, is a graph output, has an epilogue, no scale or a bias, or when
    c is not one learned number per channel.
    """
    found = _channel_arm(g, node, "scale", "layernorm")
    if found is None or "weight" not in found[0].weights or "bias" in found[0].weights:
        return None
    scale, c = found
    name = g.free_name(f"{node.name}.bias")
    made = remade(node, scale, attrs={**scale.attrs, "bias": True}, weights={**scale.weights, "bias": name})
    return Change((made,), {name: c.map((node.type.shape[1],), _column)})


@rule("mul")
def weight_of_norm(g: Draft, node: Node) -> Change | None:
    """layernorm(x) * c => layernorm(x; c), of rmsnorm too, where the norm has no weights of its own

    Must not fire when the norm's value has other users, is a graph output or has an epilogue, or when c is not one
    learned number per channel.
    """
    found = _channel_arm(g, node, "layernorm", "rmsnorm")
    if found is None or found[0].weights:
        return None
    norm, c = found
    name = g.free_name(f"{node.name}.weight")
    attrs = {**norm.attrs, "affine": True} | ({"bias": False} if "bias" in norm.attrs else {})
    made = remade(node, norm, attrs=attrs, weights={"weight": name})
    return Change((made,), {name: c.map((node.type.shape[1],), _column)})


@rule(*LINEAR)
def factor_before_conv(g: Draft, node: Node) -> Change | None:
    """conv(s x; w), conv(avgpool(s x); v) => conv(x; s w), conv(avgpool(x); s v), of conv_transpose, fc and gap too

    Must not fire when something else reads s x or a pool of it, when one of these is a graph output, when something is
    added to it, when the weights are shared, or for factors that are 0, not finite, or far from 1.
    """
    scaled = _before_pool(g, node.inputs[0])
    readers = _absorbing(g, scaled.name) if scaled and _is_factor(scaled) else None
    if not scaled or not readers:
        return None
    unscaled = {scaled.name: scaled.inputs[0]}
    nodes: list[Node] = []
    constants: dict[str, Constant] = {}
    for reader in readers:
        inputs = (unscaled[reader.inputs[0]], *reader.inputs[1:])
        if reader.weights:
            name = g.free_name(f"{reader.name}.weight")
            constants[name] = _times(g.constants[reader.weights["weight"]], scaled.attrs["scale"])
            nodes.append(reader.with_(inputs=inputs, weights={**reader.weights, "weight": name}))
        else:
            name = unscaled[reader.name] = g.free_name(f"{reader.name}.unscaled")
            nodes.append(reader.with_(name=name, inputs=inputs))
    return Change(tuple(nodes), constants)


@rule("affine")
def factor_after_conv(g: Draft, node: Node) -> Change | None:
    """s conv(x; w, b) => conv(x; s w, s b), of conv_transpose and fc too

    Must not fire when the conv's value has other users, is a graph output or has an epilogue, when something is added,
    when the weights are shared, or for factors that are 0, not finite, or far from 1.
    """
    conv, factor = g.private(node.inputs[0], *LINEAR), node.attrs["scale"]
    if conv is None or not _is_factor(node) or any(g.constant_uses(c) > 1 for c in conv.weights.values()):
        return None
    names = {slot: g.free_name(f"{node.name}.{slot}") for slot in conv.weights}
    constants = {name: _times(g.constants[conv.weights[slot]], factor) for slot, name in names.items()}
    return Change((remade(node, conv, weights=names),), constants)


def _is_factor(affine: Node) -> bool:
    """Whether an affine only scales, by a number that may go into weights."""
    return not affine.attrs["shift"] and 1 / LARGEST_FACTOR <= abs(affine.attrs["scale"]) <= LARGEST_FACTOR


def _before_pool(g: Draft, name: str) -> Node | None:
    """The affine that a value is, or is an average of."""
    pool = g.made_by(name, *AVERAGES)
    return g.made_by(pool.inputs[0] if pool else name, "affine")


def _absorbing(g: Draft, name: str, pools: bool = True) -> list[Node] | None:
    """All that reads a value, if it is convolutions that can take in a factor of it, and averages that only such
    convolutions read, each before those; else None."""
    found: list[Node] = []
    for reader in g.users(name):
        behind: list[Node] | None = []
        if pools and g.made_by(reader.name, *AVERAGES):
            behind = _absorbing(g, reader.name, pools=False)
        elif traits(reader).kind is not Kind.LINEAR or reader.inputs.index(name) or name in reader.inputs[1:]:
            return None
        elif g.constant_uses(reader.weights["weight"]) > 1:
            return None
        if behind is None:
            return None
        found += [reader, *behind]
    return found if found and not g.is_output(name) else None


def _times(weight: Constant, factor: float) -> Constant:
    """The weight times a number: computed in float64, rounded to float32."""

    def compute(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):  # weights may be infinite
            return (values.astype(np.float64) * factor).astype(np.float32)

    return weight.map(weight.shape, compute)


RULES = (
    *(scale_after_norm, shift_after_norm, bias_after_conv),
    *(weight_of_norm, bias_after_scale, factor_before_conv, factor_after_conv),
    scale_of_column,  # takes what no other does
)


def _channel_arm(g: Draft, node: Node, *ops: str) -> tuple[Node, Constant] | None:
    """The arm of a merge that one of the ops computes, and the learned numbers per channel that are the other arm."""
    for name, other in arms(node):
        made, column = g.private(name, *ops), _column_of(g, node, other)
        if made is not None and made.type == node.type and column is not None:
            return made, column
    return None


def _column_of(g: Draft, node: Node, arm: str) -> Constant | None:
    """The constant that an arm of a merge is, if it is one learned number for each of its channels."""
    column, channels = g[arm], node.type.shape[1]
    if traits(column).kind is not Kind.CONSTANT or column.type.shape not in ((1, channels), (1, channels, 1, 1)):
        return None
    return g.constants[column.weights["value"]]


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
