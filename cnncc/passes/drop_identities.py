"""Nodes that hand on their input unchanged go away."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.ir.graph import Graph, Node

_ALWAYS = frozenset({"dropout", "identity"})
_SAME_SHAPE = frozenset({"crop", "pad", "upsample", "slice", "reshape", "flatten"})
"""Ops that only move or add values: with the same shape before and after, nothing was moved."""


def drop_identities(g: Graph) -> Graph:
    """dropout(x) => x, identity(x) => x, so any op that only moves values and keeps the shape; fc(flatten(x)) => fc(x).

    Must not fire where it would cost a graph output its name: the name moves to x instead, and a graph input,
    a constant or another output (whose own name must stay) keeps its copy.
    """
    nodes: dict[str, Node] = {}
    redirect: dict[str, str] = {}
    """Values that are gone, and the node that has their value."""
    renamed: dict[str, str] = {}
    """Nodes that take the name of an output."""
    for node in g.nodes:
        wired = _wire(node, nodes, redirect)
        source = wired.inputs[0] if _is_identity(wired, nodes) else None
        if source is None or (g.is_output(node.name) and not _may_rename(nodes[source], g, renamed)):
            nodes[node.name] = wired
            continue
        redirect[node.name] = source
        if g.is_output(node.name):
            renamed[source] = node.name
            nodes[source] = nodes.pop(source)  # comes as late as the output did
    result = g.rebuild([_renamed(n, renamed) for n in nodes.values()])
    return g if result.nodes == g.nodes else result


def _wire(node: Node, nodes: dict[str, Node], redirect: dict[str, str]) -> Node:
    inputs = tuple(redirect.get(i, i) for i in node.inputs)
    if node.op == "fc" and _is_flattening(nodes[inputs[0]]):
        inputs = (nodes[inputs[0]].inputs[0], *inputs[1:])
    return node if inputs == node.inputs else node.with_(inputs=inputs)


def _is_flattening(node: Node) -> bool:
    """A vector of all channels, rows and columns in the order in which fc reads an image anyway."""
    return node.op in ("flatten", "reshape") and len(node.type.shape) == 2


def _is_identity(node: Node, nodes: dict[str, Node]) -> bool:
    if node.op in _ALWAYS:
        return True
    return node.op in _SAME_SHAPE and nodes[node.inputs[0]].type.shape == node.type.shape and not _shifts(node)


def _shifts(node: Node) -> bool:
    """Whether a node that keeps the shape still moves values: a pad of (1, 0, -1, 0), say."""
    return node.op == "pad" and any(node.attrs["pad"])


def _may_rename(source: Node, g: Graph, renamed: Mapping[str, str]) -> bool:
    return source.op not in ("input", "const") and not g.is_output(source.name) and source.name not in renamed


def _renamed(node: Node, renamed: Mapping[str, str]) -> Node:
    """The node with its name and those of its inputs as they are now."""
    name, inputs = renamed.get(node.name, node.name), tuple(renamed.get(i, i) for i in node.inputs)
    return node if (name, inputs) == (node.name, node.inputs) else node.with_(name=name, inputs=inputs)
