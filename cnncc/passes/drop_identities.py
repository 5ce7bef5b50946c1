"""Nodes that hand on their input unchanged go away."""

from __future__ import annotations

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ops import of_trait, traits
from cnncc.ops.traits import Kind, always, never

SOURCES = (Kind.INPUT, Kind.CONSTANT)
"""Kinds of ops that compute nothing: their names are those that weights and images are given for."""


def drop_identities(g: Graph) -> Graph:
    """dropout(x) => x, identity(x) => x, so any op that only moves values and keeps the shape; fc(flatten(x)) => fc(x).

    Must not fire where it would cost a graph output its name: the name moves to x instead, and a graph input,
    a constant or another output (whose own name must stay) keeps its copy.
    """
    return rewrite(g, RULES)


@rule(*of_trait(lambda t: t.unchanged is always))
def identity(g: Draft, node: Node) -> Change | None:
    """identity(x) => x, dropout(x) => x

    Must not fire for a graph output whose name x cannot take.
    """
    return _handed_on(g, node)


@rule(*of_trait(lambda t: t.unchanged not in (always, never)))
def nothing_moved(g: Draft, node: Node) -> Change | None:
    """move(x) => x for a move that keeps the shape: an op that only moves or adds values has moved none then

    Must not fire for another shape, nor for a graph output whose name x cannot take.
    """
    source, result = g[node.inputs[0]].type.shape, node.type.shape
    return _handed_on(g, node) if traits(node).unchanged(source, result, node.attrs) else None


def _handed_on(g: Draft, node: Node) -> Change | None:
    """x instead of a node that has the same value; if that is an output, its name moves to x."""
    x = g[node.inputs[0]]
    if not g.is_output(node.name):
        return Change(instead={node.name: x.name})
    if traits(x).kind in SOURCES or g.is_output(x.name):
        return None
    return Change((x.with_(name=node.name),), instead={x.name: node.name})


@rule("fc")
def fc_of_flatten(g: Draft, node: Node) -> Change | None:
    """fc(flatten(x)) => fc(x), which reads an image in the order of a flattened one

    Must not fire for a flattened value that is added in the epilogue.
    """
    return _reading_through(g, node, "flatten")


@rule("fc")
def fc_of_reshape(g: Draft, node: Node) -> Change | None:
    """fc(reshape(x)) => fc(x), whatever the shapes: the order of the values is the same

    Must not fire for a reshaped value that is added in the epilogue.
    """
    return _reading_through(g, node, "reshape")


def _reading_through(g: Draft, node: Node, op: str) -> Change | None:
    x, *added = node.inputs
    return Change((node.with_(inputs=(g[x].inputs[0], *added)),)) if g[x].op == op else None


RULES = (identity, nothing_moved, fc_of_flatten, fc_of_reshape)
