"""Activations that were written in several ops are the one op they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, arms, remade, rewrite, rule
from cnncc.passes.drop_identities import RULES as IDENTITIES

HALF = {"scale": 0.5, "shift": 0.0}
NOTHING = {"scale": 1.0, "shift": 0.0}
PLUS_3 = {"scale": 1.0, "shift": 3.0}
PLUS_1 = {"scale": 1.0, "shift": 1.0}


def join_activations(g: Graph) -> Graph:
    """x * sigmoid(x) => silu(x), and so mish, hard_sigmoid, hard_swish and gelu; a (b x + c) + d => a b x + (a c + d).

    Must not fire when a value in between has other users, is a graph output or has an epilogue, or when a number is not
    that of the definition.
    """
    return rewrite(g, (*RULES, *IDENTITIES))


@rule("mul")
def silu(g: Draft, node: Node) -> Change | None:
    """x * sigmoid(x) => silu(x)

    Must not fire when the gate is of another value, has other users or is a graph output.
    """
    return _gated(g, node, "sigmoid", op="silu")


@rule("mul")
def mish(g: Draft, node: Node) -> Change | None:
    """x * tanh(softplus(x)) => mish(x)

    Must not fire when the gate is of another value, or when it or softplus(x) has other users or is a graph output.
    """
    return _gated(g, node, "tanh", "softplus", op="mish")


def _gated(g: Draft, node: Node, *gate: str, op: str) -> Change | None:
    """x * gate(x) as one op without attributes."""
    for x, other in arms(node):
        chain = g.chain(other, *gate)
        if chain and chain[-1].inputs == (x,):
            return Change((remade(node, chain[-1], op=op, attrs={}),))
    return None


@rule("mul")
def hard_swish(g: Draft, node: Node) -> Change | None:
    """x * hard_sigmoid(x) => hard_swish(x), for alpha of 1/6 and beta of 1/2

    Must not fire for another alpha or beta, or when the gate is of another value, has other users or is an output.
    """
    for x, other in arms(node):
        gate = g.private(other, "hard_sigmoid")
        if gate and gate.inputs == (x,) and _near(g, gate.attrs["alpha"], 1 / 6) and _near(g, gate.attrs["beta"], 0.5):
            return Change((remade(node, gate, op="hard_swish", attrs={}),))
    return None


@rule("mul")
def gelu_of_half(g: Draft, node: Node) -> Change | None:
    """(x / 2) * (1 + erf(x / sqrt(2))) => gelu(x)

    Must not fire for other numbers, or when a value in between has other users or is a graph output.
    """
    for half, gate in arms(node):
        halved = g.private(half, "affine")
        if halved and halved.attrs == HALF and _is_erf_gate(g, gate, halved.inputs[0]):
            return Change((node.with_(op="gelu", inputs=halved.inputs, attrs={}),))
    return None


@rule("affine")
def half_gelu(g: Draft, node: Node) -> Change | None:
    """(x * (1 + erf(x / sqrt(2)))) / 2 => gelu(x)

    Must not fire for other numbers, or when a value in between has other users or is a graph output.
    """
    product = g.private(node.inputs[0], "mul") if node.attrs == HALF else None
    for x, gate in arms(product):
        if _is_erf_gate(g, gate, x):
            return Change((node.with_(op="gelu", inputs=(x,), attrs={}),))
    return None


def _is_erf_gate(g: Draft, gate: str, x: str) -> bool:
    """Whether a value is 1 + erf(x / sqrt(2))."""
    chain = g.chain(gate, "affine", "erf", "affine")
    if not chain or chain[0].attrs != PLUS_1 or chain[-1].inputs != (x,):
        return False
    return _scales(g, chain[-1].attrs, 0.5**0.5)


@rule("affine")
def hard_sigmoid(g: Draft, node: Node) -> Change | None:
    """relu6(x + 3) / 6 => hard_sigmoid(x)

    Must not fire for other numbers, or when a value in between has other users or is a graph output.
    """
    chain = g.chain(node.inputs[0], "relu6", "affine") if _scales(g, node.attrs, 1 / 6) else ()
    if not chain or chain[-1].attrs != PLUS_3:
        return None
    return Change((remade(node, chain[-1], op="hard_sigmoid", attrs={"alpha": 1 / 6, "beta": 0.5}),))


@rule("affine")
def hard_swish_over_6(g: Draft, node: Node) -> Change | None:
    """(x * relu6(x + 3)) / 6 => hard_swish(x)

    Must not fire for other numbers, or when a value in between has other users or is a graph output.
    """
    product = g.private(node.inputs[0], "mul") if _scales(g, node.attrs, 1 / 6) else None
    for x, gate in arms(product):
        chain = g.chain(gate, "relu6", "affine")
        if chain and chain[-1].inputs == (x,) and chain[-1].attrs == PLUS_3:
            return Change((remade(node, chain[-1], op="hard_swish", attrs={}),))
    return None


@rule("affine")
def affine_of_nothing(g: Draft, node: Node) -> Change | None:
    """1 x + 0 => identity(x)

    Must not fire for any other scale or shift.
    """
    return Change((node.with_(op="identity", attrs={}),)) if node.attrs == NOTHING else None


@rule("affine")
def affine_twice(g: Draft, node: Node) -> Change | None:
    """a (b x + c) + d => a b x + (a c + d)

    Must not fire when the inner value has other users or is a graph output, or when a number is beyond float32.
    """
    inner = g.private(node.inputs[0], "affine")
    if inner is None:
        return None
    a, d = node.attrs["scale"], node.attrs["shift"]
    attrs = {"scale": a * inner.attrs["scale"], "shift": a * inner.attrs["shift"] + d}
    return Change((remade(node, inner, attrs=attrs),)) if all(map(_is_safe, attrs.values())) else None


RULES = (
    *(silu, hard_swish, mish, gelu_of_half, half_gelu, hard_sigmoid, hard_swish_over_6),
    *(affine_of_nothing, affine_twice),
)


def _near(g: Draft, a: float, b: float) -> bool:
    """Whether a number is that of a definition."""
    return np.float32(a) == np.float32(b) or abs(a - b) <= g.close * abs(b)


def _scales(g: Draft, attrs: Mapping[str, Any], factor: float) -> bool:
    """Whether an affine only scales, by that factor."""
    return not attrs["shift"] and _near(g, attrs["scale"], factor)


def _is_safe(number: float) -> bool:
    """Whether float32 holds the number about as well as float64 does."""
    low, high = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    return number == 0 or (math.isfinite(number) and low <= abs(number) <= high)
