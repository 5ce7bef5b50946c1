"""What a quantised model moves as numbers moves as bytes: dequantize goes behind the move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cnncc.ir import Node
from cnncc.ir.draft import Draft
from cnncc.ir.rewrite import Change, rule
from cnncc.ops import ShapeError, infer_type
from cnncc.ops.quantize import dequantized, stored_number

MOVES = (
    *("maxpool", "flatten", "reshape", "permute", "slice", "crop", "strided_slice", "take"),
    *("upsample", "resize", "pad", "concat"),
)
"""Ops that take bytes and give the same ones."""


def bytes_behind(g: Draft, name: str) -> Node | None:
    """The value of 8 bits that a value is the numbers of."""
    node = g.made_by(name, "dequantize")
    x = g[node.inputs[0]] if node else None
    return x if x is not None and x.type.element.bits == 8 else None


@rule(*MOVES)
def moved_as_bytes(g: Draft, node: Node) -> Change | None:
    """move(dequantize(x)) => dequantize(move(x))

    Must not fire when an argument is not dequantised, when arguments have several scales, or for a border of a number
    that the bytes do not have.
    """
    sources = [bytes_behind(g, name) for name in node.inputs]
    given = tuple(x for x in sources if x is not None)
    if len(given) < len(sources) or not fills(node, given[0]):
        return None
    try:
        kind = infer_type(node.op, tuple(x.type for x in given), node.attrs)
    except ShapeError:  # an interpolation, or scales that differ
        return None
    name = g.free_name(f"{node.name}.bytes")
    moved = node.with_(name=name, inputs=tuple(x.name for x in given), type=kind)
    return Change((moved, Node(node.name, "dequantize", (name,), node.type)))


def fills(node: Node, x: Node) -> bool:
    """Whether bytes of x have the number that a border is made of."""
    if node.op != "pad" or node.attrs["mode"] != "constant":
        return True
    value = node.attrs["value"]
    stored = np.array([stored_number(value, x.type)], x.type.element.dtype)
    return bool(dequantized(stored, x.type)[0] == np.float32(value))


@rule("quantize")
def joined_as_bytes(g: Draft, node: Node) -> Change | None:
    """quantize(concat(dequantize(x), ..)) => concat(quantize(dequantize(x)), ..), each of which is a table

    Must not fire when the joined value has other users or is a graph output, or when an argument is not dequantised.
    """
    joined = g.private(node.inputs[0], "concat")
    if joined is None or any(bytes_behind(g, name) is None for name in joined.inputs):
        return None
    arms = [
        node.with_(
            name=g.free_name(f"{node.name}.{i}"), inputs=(name,), type=replace(node.type, shape=g[name].type.shape)
        )
        for i, name in enumerate(joined.inputs)
    ]
    made = joined.with_(name=node.name, inputs=tuple(arm.name for arm in arms), type=node.type)
    return Change((*arms, made))


@rule("quantize")
def quantised_once(g: Draft, node: Node) -> Change | None:
    """quantize(x), quantize(x) => one of them

    Must not fire for a graph output, or for other scales.
    """
    for other in g.users(node.inputs[0]):
        before = g.position(other.name) < g.position(node.name)
        if other.op == node.op and other.attrs == node.attrs and before and not g.is_output(node.name):
            return Change(instead={node.name: other.name})
    return None


@rule("quantize")
def same_bytes(g: Draft, node: Node) -> Change | None:
    """quantize(dequantize(x)) => x

    Must not fire for other scales, nor for a graph output.
    """
    x = bytes_behind(g, node.inputs[0])
    if x is None or x.type.numbers != node.type.numbers or g.is_output(node.name):
        return None
    return Change(instead={node.name: x.name})


RULES = (moved_as_bytes, quantised_once, same_bytes, joined_as_bytes)
