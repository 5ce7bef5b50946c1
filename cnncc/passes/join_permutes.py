"""Permutations that an exporter's order of axes needs go away where the image's own order does as well."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, remade, rewrite, rule
from cnncc.ops import traits
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.reference import through
from cnncc.ops.strides import Strides, whole
from cnncc.ops.traits import Kind
from cnncc.passes.join_moves import RULES as MOVES

COPIES = ("permute", "strided_slice")
"""Moves that copy values. The others are views."""
VIEWS = ("reshape", "slice")
SUMS = {"gsum": "gsum", "channel_sum": "gsum", "gap": "gap", "channel_mean": "gap"}
"""Sums and means, and what they are of each channel."""
LONGEST = 8
"""Moves in a row."""


def join_permutes(g: Graph) -> Graph:
    """permute(permute(x)) => permute(x), part(permute(x)) => permute(slice(x)), and moves behind what else there is.

    Must not fire when what takes the place copies as many values as before. With these rules attention between
    channels, which exporters write channels last, moves nothing but one transposition.
    """
    return rewrite(g, (*RULES, *MOVES))


@rule(*COPIES)
def copies_in_a_row(g: Draft, node: Node) -> Change | None:
    """permute(permute(x)) => permute(x), strided_slice(permute(x)) => permute(slice(x)), of all moves in a row

    Must not fire where one permutation of whole channels of x, or a view, does not do; moves in between stay if they
    have other users.
    """
    found, at = [node], node.inputs[0]
    best: Change | None = None
    while (move := g.made_by(at, *COPIES, *VIEWS)) and len(found) < LONGEST:
        found.insert(0, move)
        at = move.inputs[0]
        if g.made_by(move.name, *COPIES):
            best = _of_channels(g, node, g[at], found) or best
    return best


@rule("permute")
def transposition(g: Draft, node: Node) -> Change | None:
    """permute(x) => permute(reshape(x)), which exchanges rows and columns, if x has no such rows and columns

    Must not fire for a vector or when axes come in another order.
    """
    x = g[node.inputs[0]]
    strides = whole(x.type.shape[1:]).after(node.op, node.attrs)
    block = strides.block() if strides else None
    seen = _matrices(block, node) if block else None
    if seen is None or seen == x.type.shape[1:]:
        return None
    reshape = _view(g, node, x, seen)
    return Change((reshape, _permuted(node, reshape, seen, (0, 2, 1))))


@rule("div")
def length_of_permuted(g: Draft, node: Node) -> Change | None:
    """permute(x) / f(sum(permute(x)^2)) => permute(x / f(sum(x^2))), f being functions of one number

    Must not fire when the sum is not one of all pixels of a channel of x, goes to other channels, or when another op
    reads the permuted values or their squares.
    """
    permuted, other = g.made_by(node.inputs[0], "permute"), node.inputs[1]
    if permuted is None or len(g[permuted.inputs[0]].type.shape) != 4:
        return None
    after: list[Node] = []
    while (step := g.made_by(other, "expand", "permute", "reshape", "flatten", *RECORDS)) and len(after) < LONGEST:
        after.insert(0, step)
        other = step.inputs[0]
    total = g.private(other, *SUMS)
    squares = g.private(total.inputs[0], "mul") if total else None
    if total is None or squares is None or {*squares.inputs} != {permuted.name}:
        return None
    x, readers = g[permuted.inputs[0]], {user.name for user in g.users(permuted.name)}
    if readers != {squares.name, node.name} or g.is_output(permuted.name):
        return None
    if not _is_of_channels(x, permuted, total, after):
        return None
    return _divided(g, node, permuted, (squares, total, *(step for step in after if step.op in RECORDS)))


@rule("reshape")
def reshape_behind_pixels(g: Draft, node: Node) -> Change | None:
    """reshape(conv(reshape(x))) => conv(reshape(x)), for 1x1 convolutions, activations and norms of channels

    Must not fire when a value in between has other users or is a graph output, for ops that see several pixels, or when
    the number of channels changes.
    """
    if len(node.type.shape) != 4:
        return None
    found: list[Node] = []
    at = node.inputs[0]
    while g.is_private(at) and _is_of_pixels(g[at], node) and len(found) < LONGEST:
        found.insert(0, g[at])
        at = g[at].inputs[0]
    source = g.made_by(at, "reshape")
    if source is None or not found or found[-1].type.shape[1] != node.type.shape[1]:
        return None
    seen = _view(g, node, source, (source.type.shape[1], *node.type.shape[2:]))
    nodes = [seen]
    for step in found:
        kind = replace(step.type, shape=(*step.type.shape[:2], *node.type.shape[2:]))
        name = node.name if step is found[-1] else g.free_name(f"{step.name}.pixels")
        nodes.append(step.with_(name=name, inputs=(nodes[-1].name,), type=kind))
    return Change(tuple(nodes))


RULES = (copies_in_a_row, transposition, length_of_permuted, reshape_behind_pixels)


def _of_channels(g: Draft, node: Node, x: Node, moves: list[Node]) -> Change | None:
    """The moves of x as a view of some channels of x, or one permutation of these."""
    strides: Strides | None = whole(x.type.shape[1:])
    for move in moves:
        strides = strides.after(move.op, move.attrs) if strides else None
    block = strides.block() if strides else None
    if strides is None or block is None or len(x.type.shape) != 4:
        return None
    pixels = math.prod(x.type.shape[2:])
    first, count = strides.start // pixels, math.prod(strides.sizes) // pixels
    if strides.start % pixels or math.prod(strides.sizes) % pixels:
        return None
    made: list[Node] = []
    if count < x.type.shape[1]:
        kind = replace(x.type, shape=(x.type.shape[0], count, *x.type.shape[2:]))
        attrs = {"start": first, "stop": first + count}
        made.append(Node(g.free_name(f"{node.name}.slice"), "slice", (x.name,), kind, attrs, span=node.span))
    source = made[-1] if made else x
    sizes, order = block
    if list(order) == sorted(order):
        made.append(node.with_(op="reshape", inputs=(source.name,), attrs={"dims": node.type.shape[1:]}))
    else:
        made.append(_permuted(node, source, sizes, order))
    return Change(tuple(made))


def _permuted(node: Node, source: Node, sizes: tuple[int, ...], order: tuple[int, ...]) -> Node:
    attrs = {"split": sizes, "axes": order, "dims": node.type.shape[1:]}
    return node.with_(op="permute", inputs=(source.name,), attrs=attrs)


def _view(g: Draft, node: Node, source: Node, dims: tuple[int, ...]) -> Node:
    """A new reshape."""
    kind = replace(source.type, shape=(source.type.shape[0], *dims))
    return Node(g.free_name(f"{node.name}.view"), "reshape", (source.name,), kind, {"dims": dims}, span=node.span)


def _matrices(block: tuple[tuple[int, ...], tuple[int, ...]], node: Node) -> tuple[int, ...] | None:
    """The shape of the matrices that a permutation transposes, one a channel; None if it does something else."""
    sizes, order = block
    dims = node.type.shape[1:]
    if len(dims) != 3 or order not in ((1, 0), (0, 2, 1)) or 1 in dims:
        return None
    rows, columns = sizes[-2:]
    channels = sizes[0] if len(sizes) == 3 else 1
    return (channels, rows, columns) if dims == (channels, columns, rows) else None


def _is_of_channels(x: Node, permuted: Node, total: Node, after: list[Node]) -> bool:
    """Whether a sum of a permutation of x is one of each channel of x, and goes to all values of that channel: channels
    are numbered, and the numbers go the way of the values."""
    shape = x.type.shape[1:]
    channels = np.broadcast_to(np.arange(shape[0], dtype=np.float64).reshape(1, -1, 1, 1), (1, *shape))
    seen = through(channels, [permuted])
    flat = seen.reshape(seen.shape[1], -1)
    terms = flat if math.prod(total.type.shape[2:]) == 1 and total.type.shape[1] == flat.shape[0] else flat.T
    if terms.shape[1] != math.prod(shape[1:]) or (terms != terms[:, :1]).any():
        return False
    sums = terms[:, 0].reshape(1, *total.type.shape[1:])
    back = through(sums, [step for step in after if step.op not in RECORDS])
    return back.shape == seen.shape and bool((back == seen).all())


def _divided(g: Draft, node: Node, permuted: Node, steps: tuple[Node, ...]) -> Change:
    """permute(x / f(sum(x^2))) under the name of the node, of the steps that make the sum: squares first."""
    x = g[permuted.inputs[0]]
    column = replace(x.type, shape=(*x.type.shape[:2], 1, 1))
    nodes: list[Node] = []
    for step in (*steps, node):
        inputs = (nodes[-1].name,) if nodes else (x.name, x.name)
        inputs = (x.name, *inputs) if step is node else inputs
        kind = x.type if step in (steps[0], node) else column
        name = g.free_name(f"{step.name}.channels")
        nodes.append(step.with_(name=name, op=SUMS.get(step.op, step.op), inputs=inputs, type=kind))
    return Change((*nodes, remade(node, permuted, inputs=(nodes[-1].name,))))


def _is_of_pixels(at: Node, node: Node) -> bool:
    """Whether an op computes each pixel of that pixel alone, of one value."""
    if len(at.inputs) != 1 or len(at.type.shape) != 4 or at.attrs.get("epilogue"):
        return False
    if traits(at).kind is Kind.LINEAR:
        plain = at.attrs["kernel"] == at.attrs["stride"] == (1, 1) and not any(at.attrs["pad"])
        return plain and not traits(at).weight_by_input
    return traits(at).kind is Kind.POINTWISE or traits(at).folds is not None
