"""One wide 1x1 convolution instead of several narrow ones over the same tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ir.types import Constant
from cnncc.ops import traits
from cnncc.ops.traits import Kind

CHANNELS = 16
"""Siblings have a multiple of this many channels: the slices are then whole blocks of any target, views, not copies."""


def merge_siblings(g: Graph) -> Graph:
    """conv1x1(x, a), conv1x1(x, b) => slices of conv1x1(x, [a; b]) along the output channels, under the old names.

    Must not fire for strides, pads, groups, different attributes or epilogues, residual inputs, or for channel counts
    that are no multiple of 16; nor for a graph output or an arm of a concat: written in place, a slice costs a copy.
    """
    return rewrite(g, RULES)


@rule()
def narrow_convs_of_one_tensor(g: Draft, node: Node) -> Change | None:
    """x read by conv1x1(x, a), conv1x1(x, b) => x read by conv1x1(x, [a; b]), whose slices have the old names

    Must not fire for convs with strides, pads, groups or residual inputs, with different attributes or epilogues, or
    with channel counts that are no multiple of 16; nor for a graph output or an arm of a concat.
    """
    families: dict[Hashable, list[Node]] = defaultdict(list)
    for reader in g.users(node.name):
        if _mergeable(g, reader):
            families[_key(reader)].append(reader)
    nodes: list[Node] = []
    constants: dict[str, Constant] = {}
    for siblings in families.values():
        if len(siblings) > 1:
            merged, pool = _merged(g, siblings)
            nodes += [merged, *_slices(merged, siblings)]
            constants |= pool
    return Change(tuple(nodes), constants) if nodes else None


RULES = (narrow_convs_of_one_tensor,)


def _mergeable(g: Draft, node: Node) -> bool:
    if node.op != "conv" or len(node.inputs) != 1 or g.is_output(node.name) or node.attrs["out"] % CHANNELS:
        return False
    a = node.attrs
    plain = a["kernel"] == a["stride"] == (1, 1) and not any(a["pad"]) and a["groups"] == 1
    return plain and all(traits(user).kind is not Kind.CONCAT for user in g.users(node.name))


def _key(node: Node) -> Hashable:
    return node.inputs, tuple(sorted((k, v) for k, v in node.attrs.items() if k != "out"))


def _merged(g: Draft, siblings: list[Node]) -> tuple[Node, dict[str, Constant]]:
    first = siblings[0]
    out = sum(n.attrs["out"] for n in siblings)
    name = g.free_name(f"{first.name}.merged")
    n, _, h, w = first.type.shape
    weights = {slot: f"{name}.{slot}" for slot in first.weights}
    pool = {weights[slot]: _stacked([g.constants[s.weights[slot]] for s in siblings]) for slot in first.weights}
    merged = first.with_(
        name=name, type=replace(first.type, shape=(n, out, h, w)), attrs={**first.attrs, "out": out}, weights=weights
    )
    return merged, pool


def _stacked(parts: list[Constant]) -> Constant:
    shape = (sum(p.shape[0] for p in parts), *parts[0].shape[1:])
    return parts[0].map(shape, lambda *values: np.concatenate(values), *parts[1:])


def _slices(merged: Node, siblings: list[Node]) -> list[Node]:
    start = 0
    slices = []
    for s in siblings:
        attrs = {"start": start, "stop": start + s.attrs["out"]}
        slices.append(s.with_(op="slice", inputs=(merged.name,), attrs=attrs, weights={}))
        start = attrs["stop"]
    return slices
