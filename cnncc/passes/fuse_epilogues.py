"""Adds and activations join the op whose result they read."""

from __future__ import annotations

from cnncc.ir.graph import Graph, Node
from cnncc.ops import traits
from cnncc.ops.traits import Finite, Hosts, Kind

ADD = "add"
"""The only merge that an epilogue has."""
LARGEST_BLOCK = 16
"""Blocks of channels have at most so many, and all sizes divide it."""
MOST_STEPS = 24
"""Steps of one epilogue: a longer one would make a kernel that takes long to compile."""


def fuse_epilogues(g: Graph) -> Graph:
    """act(conv(x)) => conv(x; act), conv(x) + r => conv(x, r; add); fc, bn, conv_transpose too; merges take act only.

    Must not fire when the host's value has other users or is a graph output, nor for an add that broadcasts or has
    more than two arms, nor where zeros that fill up a block of channels would become infinite, or the epilogue would
    have more than MOST_STEPS steps. Of two arms that could be host, the later one is: the other one is then ready when
    it runs.
    """
    order = {n.name: i for i, n in enumerate(g.nodes)}
    fixed = _independent(g)
    nodes: dict[str, Node] = {}
    for node in g.nodes:
        hosts = [nodes[i] for i in node.inputs if i not in fixed and _accepts(g, nodes[i], node)]
        if not hosts:
            nodes[node.name] = node
            continue
        host = max(hosts, key=lambda n: order[n.name])
        del nodes[host.name]
        nodes[node.name] = _fused(host, node)
    return g if len(nodes) == len(g.nodes) else g.rebuild(nodes.values())


def _independent(g: Graph) -> set[str]:
    """Values that depend on no input: all images share them, so one cannot be host to an add of values that differ."""
    fixed: set[str] = set()
    for node in g.nodes:
        if traits(node).kind is not Kind.INPUT and fixed.issuperset(node.inputs):
            fixed.add(node.name)
    return fixed


def _accepts(g: Graph, host: Node, node: Node) -> bool:
    """Whether `host` can compute `node` on its way out."""
    steps = len(host.attrs.get("epilogue", ())) + 1 + len(node.attrs.get("epilogue", ()))
    if not g.is_private(host.name) or steps > MOST_STEPS:
        return False
    hosts = traits(host).hosts
    if traits(node).kind is Kind.POINTWISE:
        return hosts is not Hosts.NOTHING and not _fills_badly(host, node)
    if node.op != ADD or len(node.inputs) != 2:
        return False
    return hosts is Hosts.STEPS_AND_ADDS and all(g[i].type == node.type for i in node.inputs)


def _fills_badly(host: Node, node: Node) -> bool:
    """Whether what fills up the last block of channels could become infinite: only elementwise kernels clear it."""
    partial = len(node.type.shape) == 4 and node.type.shape[1] % LARGEST_BLOCK
    return bool(partial) and traits(node).finite is not Finite.ALWAYS and traits(host).kind is not Kind.MERGE


def _fused(host: Node, node: Node) -> Node:
    """`host` computing the value of `node`, whose own epilogue (an add may have one) comes last."""
    if node.op == ADD:
        own = tuple(i for i in node.inputs if i != host.name)
        step: tuple[tuple[str, tuple[tuple[str, object], ...]], ...] = ((ADD, ()), *node.attrs["epilogue"])
    else:
        own = ()
        step = ((node.op, tuple(sorted(node.attrs.items()))),)
    attrs = {**host.attrs, "epilogue": (*host.attrs["epilogue"], *step)}
    return host.with_(name=node.name, inputs=(*host.inputs, *own), attrs=attrs, type=node.type)
