"""Ops that only move values, one after the other, are one op; some join the op that reads them."""

from __future__ import annotations

import math

import numpy as np

from cnncc import ops
from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, remade, rewrite, rule
from cnncc.ops.parts import places
from cnncc.ops.reference import through
from cnncc.ops.traits import Kind
from cnncc.passes.drop_identities import RULES as IDENTITIES

LONGEST = 8
"""Moves between a column and what reads it."""


def join_moves(g: Graph) -> Graph:
    """reshape(reshape(x)) => reshape(x), and so crops and strided slices; conv(pad(x)) => conv(x) with more padding.

    Must not fire when the moves together are not one op, or when another op reads a value in between and would have to
    wait for a second copy of it.
    """
    return rewrite(g, (*RULES, *IDENTITIES))


@rule("conv", "avgpool")
def pad_before_window(g: Draft, node: Node) -> Change | None:
    """conv(pad(x)) => conv(x) with more padding, of zeros; of average pools too, where all padding counts

    Must not fire when the padded value has other users or is a graph output, for another mode or value, for a pool
    that does not count its own padding, or when there would be another number of windows.
    """
    pad = g.private(node.inputs[0], "pad")
    if pad is None or pad.attrs["mode"] != "constant" or pad.attrs["value"] != 0:
        return None
    if any(node.attrs["pad"]) and not node.attrs.get("count_include_pad", True):
        return None
    attrs = dict(node.attrs) | ({"count_include_pad": True} if "count_include_pad" in node.attrs else {})
    attrs["pad"] = tuple(a + b for a, b in zip(node.attrs["pad"], pad.attrs["pad"], strict=True))
    inputs = (*pad.inputs, *node.inputs[1:])
    try:
        same = ops.infer(node.op, tuple(g[i].type.shape for i in inputs), attrs) == node.type.shape
    except ops.ShapeError:
        return None
    return Change((node.with_(inputs=inputs, attrs=attrs),)) if same else None


@rule("reshape")
def reshape_to_the_same(g: Draft, node: Node) -> Change | None:
    """reshape(x) => identity(x) if x has that shape

    Must not fire for any other shape.
    """
    return Change((node.with_(op="identity", attrs={}),)) if g[node.inputs[0]].type == node.type else None


@rule("reshape")
def reshape_twice(g: Draft, node: Node) -> Change | None:
    """reshape(reshape(x)) => reshape(x)

    Must not fire for what else moves values; the inner one stays if it has other users.
    """
    source = g[node.inputs[0]]
    return Change((node.with_(inputs=source.inputs),)) if source.op == node.op else None


@rule("reshape")
def reshape_of_permute(g: Draft, node: Node) -> Change | None:
    """reshape(permute(x)) => permute(x), which has a shape of its own

    Must not fire when the permuted value has other users or is a graph output: it would be permuted twice.
    """
    permute = g.private(node.inputs[0], "permute")
    attrs = {**permute.attrs, "dims": node.attrs["dims"]} if permute else {}
    return Change((remade(node, permute, attrs=attrs),)) if permute else None


@rule("reshape")
def reshape_to_vector(g: Draft, node: Node) -> Change | None:
    """reshape(x) => flatten(x) if the result is a vector

    Must not fire for an image.
    """
    return Change((node.with_(op="flatten", attrs={}),)) if len(node.type.shape) == 2 else None


@rule("crop")
def crop_twice(g: Draft, node: Node) -> Change | None:
    """crop(crop(x)) => crop(x)

    Must not fire when the inner value has other users or is a graph output: then it is there to be read.
    """
    inner = g.private(node.inputs[0], "crop")
    if inner is None:
        return None
    moved = {key: node.attrs[key] + inner.attrs[key] for key in ("top", "left")}
    return Change((node.with_(inputs=inner.inputs, attrs={**node.attrs, **moved}),))


@rule("strided_slice")
def strided_twice(g: Draft, node: Node) -> Change | None:
    """strided_slice(strided_slice(x)) => strided_slice(x)

    Must not fire for other ops that take parts; the inner one stays if it has other users.
    """
    inner = g[node.inputs[0]]
    if inner.op != node.op:
        return None
    pairs = list(zip(places(inner.attrs), places(node.attrs), strict=True))
    start, step = tuple(a[b.start] for a, b in pairs), tuple(a.step * b.step for a, b in pairs)
    return Change((node.with_(inputs=inner.inputs, attrs={**node.attrs, "start": start, "step": step}),))


@rule("concat")
def focus(g: Draft, node: Node) -> Change | None:
    """concat of x[:, :, i::a, j::b] for all i and j => a permute of x: pixels to channels (YOLOv5 calls it Focus)

    Must not fire when a part is missing, twice there, in another order, has other users or is a graph output.
    """
    arms = [arm for name in node.inputs if (arm := g.private(name, "strided_slice"))]
    if len(arms) < len(node.inputs) or len(arms[0].type.shape) != 4 or not all(_alike(arm, arms[0]) for arm in arms):
        return None
    shape = g[arms[0].inputs[0]].type.shape
    (c, h, w), (_, a, b) = arms[0].attrs["dims"], arms[0].attrs["step"] or (1, 1, 1)
    every = [(0, i, j) for i in range(a) for j in range(b)]
    if shape != (shape[0], c, h * a, w * b):
        return None
    starts = [arm.attrs["start"] or (0, 0, 0) for arm in arms]
    for order, axes in ((every, (2, 4, 0, 1, 3)), (sorted(every, key=lambda s: s[::-1]), (4, 2, 0, 1, 3))):
        if starts == order:
            attrs = {"split": (c, h, a, w, b), "axes": axes, "dims": node.type.shape[1:]}
            return Change((remade(node, arms[0], op="permute", attrs=attrs),))
    return None


def _alike(a: Node, b: Node) -> bool:
    """Whether two strided slices differ in where they start only."""
    return a.inputs == b.inputs and all(a.attrs[key] == b.attrs[key] for key in ("dims", "step"))


@rule()
def growing_concats(g: Draft, node: Node) -> Change | None:
    """concat(a, b), concat(a, b, c) => concat(a, b), concat(concat(a, b), c), for all concats that begin with a node

    Must not fire where the arms of the shorter concat are not the first ones of the longer, or are all of them.
    """
    begun = [n for n in g.users(node.name) if ops.traits(n).kind is Kind.CONCAT and n.inputs[0] == node.name]
    shorter = {n.inputs: n.name for n in begun}
    counts = sorted({len(inputs) for inputs in shorter}, reverse=True)
    longer: list[Node] = []
    for n in begun:
        count = next((c for c in counts if c < len(n.inputs) and n.inputs[:c] in shorter), None)
        if count is not None:
            longer.append(n.with_(inputs=(shorter[n.inputs[:count]], *n.inputs[count:])))
    return Change(tuple(longer)) if longer else None


@rule(*(name for name, op in ops.TABLE.items() if op.traits.kind is Kind.MERGE))
def expanded_column(g: Draft, node: Node) -> Change | None:
    """x * expand(c) => x * c, of all merges, where c is one value for each channel: they expand it themselves

    Must not fire when c is expanded along the channels, moved otherwise, or when no other arm has all values.
    """
    for place, arm in enumerate(node.inputs):
        column = _column(g, arm)
        others = (*node.inputs[:place], *node.inputs[place + 1 :])
        if column is not None and any(g[o].type.shape[1:] == node.type.shape[1:] and o != arm for o in others):
            return Change((node.with_(inputs=(*node.inputs[:place], column, *node.inputs[place + 1 :])),))
    return None


def _column(g: Draft, name: str) -> str | None:
    """c if the value is c, one value for each channel, for all pixels."""
    moves: list[Node] = []
    shape = g[name].type.shape
    while (move := g.made_by(name, "expand", "reshape")) and len(moves) < LONGEST:
        moves.insert(0, move)
        name = move.inputs[0]
        if g[name].type.shape[1:] == (shape[1], *(1,) * (len(shape) - 2)) and math.prod(shape[2:]) > 1:
            column = np.arange(shape[1], dtype=np.float64).reshape(1, -1, *(1,) * (len(shape) - 2))
            return name if (through(column, moves) == column).all() else None
    return None


RULES = (
    *(
        pad_before_window,
        reshape_to_the_same,
        reshape_twice,
        reshape_of_permute,
        reshape_to_vector,
        crop_twice,
    ),
    *(strided_twice, focus, growing_concats, expanded_column),
)
