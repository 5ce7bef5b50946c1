"""Norms that were written in several ops are the one op they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, arms, rewrite, rule
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.reference import through
from cnncc.passes.fold_scales import RULES as SCALES

REORDERS = ("permute", "reshape", "flatten")
MOVES = (*REORDERS, "expand")
OF_PIXELS = ("gap", "gsum")
OF_CHANNELS = ("channel_mean", "channel_sum")
LONGEST = 16
"""Ops between a value and a statistic of it."""
CLOSE = 1e-6
"""How near a factor of a sum must be to one over the number of its terms."""


def join_norms(g: Graph) -> Graph:
    """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) => layernorm(x), and so rmsnorm and grn.

    Must not fire for statistics of anything but the channels of each pixel, or when a number is not that of the
    definition.
    """
    return rewrite(g, (*RULES, *SCALES))


@dataclass(frozen=True)
class Statistic:
    """f(scale * mean(x) + shift) for each pixel, the mean being one of its channels, and f the ops `then`."""

    x: str
    scale: float
    shift: float
    then: tuple[str, ...]


@rule("div", "mul")
def layer_norm(g: Draft, node: Node) -> Change | None:
    """d / sqrt(mean(d^2) + eps) => layernorm(x) if d is x - mean(x), else rmsnorm(d)

    Must not fire when a mean is not one of the channels of each pixel, or when d^2 is not the square of that d.
    """
    for d, found in _quotients(g, node.name):
        squared = _squared(g, found.x) if found.then == ("sqrt",) and found.scale == 1 and found.shift >= 0 else None
        attrs = {"eps": _written(found.shift), "affine": False, "epilogue": ()}
        x = _centred(g, d)
        if squared is not None and x is not None and _centred(g, squared) == x:
            return Change((node.with_(op="layernorm", inputs=(x,), attrs={**attrs, "bias": True}),))
        if squared == d:
            return Change((node.with_(op="rmsnorm", inputs=(d,), attrs=attrs),))
    return None


@rule("add")
def response_norm(g: Draft, node: Node) -> Change | None:
    """x + (w x n + b) => grn(x; w, b), n being l / (mean(l) + eps) of l, the lengths of the channels of x

    Must not fire when a sum is not one of all pixels of a channel, a mean not one of all channels, or when the scaled
    value has other users, is a graph output or has no shift.
    """
    for x, other in arms(node):
        scaled = g.private(other, "scale")
        product = g.private(scaled.inputs[0], "mul") if scaled and "bias" in scaled.weights else None
        for first, share in arms(product):
            eps = _share_of_length(g, share, x) if first == x and scaled else None
            if eps is not None and scaled:
                attrs = {"eps": _written(eps), "epilogue": ()}
                return Change((node.with_(op="grn", inputs=(x,), attrs=attrs, weights=scaled.weights),))
    return None


RULES = (layer_norm, response_norm)


def _quotients(g: Draft, name: str) -> Iterator[tuple[str, Statistic]]:
    """Pairs (y, s) for which the value is y / s, also if it is written y * (1 / s)."""
    product, quotient = g.made_by(name, "mul"), g.made_by(name, "div")
    for y, other in arms(product):
        for found in _statistics(g, other):
            if found.then[-1:] == ("reciprocal",):
                yield y, replace(found, then=found.then[:-1])
    if quotient:
        yield from ((quotient.inputs[0], found) for found in _statistics(g, quotient.inputs[1]))


def _squared(g: Draft, name: str) -> str | None:
    """d if the value is d * d."""
    return next((d for d, other in arms(g.made_by(name, "mul")) if d == other), None)


def _centred(g: Draft, name: str) -> str | None:
    """x if the value is x - mean(x)."""
    for x, other in arms(g.made_by(name, "add")):
        if Statistic(x, -1.0, 0.0, ()) in _statistics(g, other):
            return x
    return None


def _share_of_length(g: Draft, name: str, x: str) -> float | None:
    """eps if the value is l / (mean(l) + eps) of the lengths l of the channels of x."""
    for lengths, found in _quotients(g, name):
        root = g.made_by(lengths, "sqrt")
        total = g.made_by(root.inputs[0], "gsum") if root else None
        if total and _squared(g, total.inputs[0]) == x and (found.x, found.scale, found.then) == (lengths, 1.0, ()):
            return found.shift
    return None


def _statistics(g: Draft, name: str) -> Iterator[Statistic]:
    """What the value may be a statistic of: the op that takes the mean reads it, or what it is a move of."""
    after: list[Node] = []
    while (step := _step(g, name)) and len(after) < LONGEST:
        after.append(step)
        name = step.inputs[0]
    mean = g.made_by(name, *OF_PIXELS, *OF_CHANNELS)
    read = _read(g, mean, after[::-1]) if mean else None
    if mean is None or read is None:
        return
    before: list[Node] = []
    at = mean.inputs[0]
    while len(before) < LONGEST:
        if _is_per_pixel(g[at], before, mean, after[::-1]):
            yield Statistic(at, *read)
        move = g.made_by(at, *REORDERS)
        if move is None:
            return
        before.insert(0, move)
        at = move.inputs[0]


def _step(g: Draft, name: str) -> Node | None:
    """The node of that name if it moves values, or is a function of each."""
    return g.made_by(name, *MOVES, *RECORDS)


def _read(g: Draft, mean: Node, after: list[Node]) -> tuple[float, float, tuple[str, ...]] | None:
    """Scale, shift and the functions after these, of what comes behind a mean or a sum, in order."""
    shape, scale = g[mean.inputs[0]].type.shape, 1.0
    if g.made_by(mean.name, "gsum", "channel_sum"):
        scale = float(math.prod(shape[2:]) if g.made_by(mean.name, *OF_PIXELS) else shape[1])
    shift, then = 0.0, [n for n in after if n.op in RECORDS]
    while then and g.made_by(then[0].name, "affine"):
        a, b = (then[0].attrs[key] for key in ("scale", "shift"))
        scale, shift, then = scale * a, shift * a + b, then[1:]
    near = float(round(scale)) if abs(scale - round(scale)) < CLOSE else scale
    return None if any(n.attrs for n in then) else (near, shift, tuple(n.op for n in then))


def _is_per_pixel(x: Node, before: list[Node], mean: Node, after: list[Node]) -> bool:
    """Whether the mean is one of the channels of each pixel, and goes to all channels of that pixel: pixels are
    numbered, and the numbers go the way of the values."""
    shape = x.type.shape[1:]
    pixels = np.arange(math.prod(shape[1:]), dtype=np.float64).reshape(1, 1, *shape[1:])
    read = through(np.broadcast_to(pixels, (1, *shape)), before)
    flat = read.reshape(read.shape[1], -1)
    rows = flat if math.prod(mean.type.shape[2:]) == 1 else flat.T
    if rows.shape[1] != shape[0] or (rows != rows[:, :1]).any():
        return False
    seen = through(rows[:, 0].reshape(1, *mean.type.shape[1:]), [n for n in after if n.op not in RECORDS])
    return seen.shape[2:] == shape[1:] and bool((seen == pixels).all())


def _written(eps: float) -> float:
    """As people write it."""
    return float(f"{eps:.7g}")
