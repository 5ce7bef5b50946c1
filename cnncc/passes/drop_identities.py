"""Nodes that hand on their input unchanged go away."""

from __future__ import annotations

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
    for node in g.nodes:
        wired = _wire(node, nodes, redirect)
        if not _is_identity(wired, nodes):
            nodes[node.name] = wired
        elif node.name not in g.outputs:
            redirect[node.name] = wired.inputs[0]
        elif _may_rename(nodes[wired.inputs[0]], g):
            _rename(nodes, redirect, wired.inputs[0], node.name)
        else:
            nodes[node.name] = wired
    result = g.rebuild(nodes.values())
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


def _may_rename(source: Node, g: Graph) -> bool:
    return source.op not in ("input", "const") and source.name not in g.outputs


def _rename(nodes: dict[str, Node], redirect: dict[str, str], old: str, new: str) -> None:
    """The value `old` is from now on called `new`, for readers met already and for those to come."""
    for name in [n for n, target in redirect.items() if target == old]:
        redirect[name] = new
    redirect[old] = new
    for node in list(nodes.values()):
        if old in node.inputs:
            nodes[node.name] = node.with_(inputs=tuple(new if i == old else i for i in node.inputs))
    source = nodes.pop(old)
    nodes[new] = source.with_(name=new)
