"""Adds and activations join the op whose result they read."""

from __future__ import annotations

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
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
    return rewrite(g, RULES)


@rule()
def step_after_host(g: Draft, node: Node) -> Change | None:
    """act(host(x)) => host(x; act), host(x) + r => host(x, r; add)

    Must not fire when the host's value has other users, is a graph output or the same for all images, when the add
    broadcasts or has more than two arms, when what fills up a block of channels would become infinite, or when the
    epilogue would have more than MOST_STEPS steps.
    """
    if traits(node).kind is Kind.POINTWISE:
        hosts = [h for h in _hosts(g, node, Hosts.STEPS, Hosts.STEPS_AND_ADDS) if not _fills_badly(h, node)]
    elif node.op == ADD and len(node.inputs) == 2 and all(g[i].type == node.type for i in node.inputs):
        hosts = _hosts(g, node, Hosts.STEPS_AND_ADDS)
    else:
        return None
    # The later one: the other arm is then ready when it runs.
    host = max(hosts, key=lambda n: g.position(n.name), default=None)
    return Change((_fused(host, node),)) if host else None


RULES = (step_after_host,)


def _hosts(g: Draft, node: Node, *allowed: Hosts) -> list[Node]:
    """The inputs that allow it and could compute `node` on their way out."""
    return [
        g[i]
        for i in node.inputs
        if traits(g[i]).hosts in allowed and g.is_private(i) and not g.is_shared(i) and _fits(g[i], node)
    ]


def _fits(host: Node, node: Node) -> bool:
    """Whether both epilogues and the node itself are few enough steps."""
    return len(host.attrs["epilogue"]) + 1 + len(node.attrs.get("epilogue", ())) <= MOST_STEPS


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
