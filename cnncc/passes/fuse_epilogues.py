"""Adds and activations join the op whose result they read."""

from __future__ import annotations

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ops import traits
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.traits import Finite, Kind, PostOps

ADD = "add"
"""The only merge that an epilogue has."""
ACTIVATIONS = (PostOps.ACTIVATIONS, PostOps.ACTIVATIONS_AND_ADDS)
"""What an op may say of its post-ops if activations are among them."""
LARGEST_BLOCK = 16
"""Blocks of channels have at most so many, and all sizes divide it."""
MOST_POST_OPS = 24
"""Post-ops of one epilogue: a longer one would make a kernel that takes long to compile."""


def fuse_epilogues(g: Graph) -> Graph:
    """act(conv(x)) => conv(x; act), conv(x) + r => conv(x, r; add); fc, bn, conv_transpose too; merges take act only.

    Must not fire for an activation of bytes that is more than bounds, when the producer's value has other users or is a
    graph output, nor for an add that broadcasts or has more than two arms, nor where zeros that fill up a block of
    channels would become infinite, or the epilogue would have more than MOST_POST_OPS post-ops. Of two arms that could
    have the post-op, the later one gets it: the other one is then ready when it runs.
    """
    return rewrite(g, RULES)


@rule()
def post_op_into_producer(g: Draft, node: Node) -> Change | None:
    """act(f(x)) => f(x; act), f(x) + r => f(x, r; add)

    Must not fire when the producer's value has other users, is a graph output or the same for all images, when the add
    broadcasts or has more than two arms, when what fills up a block of channels would become infinite, or when the
    epilogue would have more than MOST_POST_OPS post-ops.
    """
    if traits(node).kind is Kind.POINTWISE:
        bounds = (PostOps.BOUNDS,) if node.op in BOUNDED else ()
        found = [p for p in _producers(g, node, *ACTIVATIONS, *bounds) if not _fills_badly(p, node)]
    elif node.op == ADD and len(node.inputs) == 2 and all(g[i].type == node.type for i in node.inputs):
        found = _producers(g, node, PostOps.ACTIVATIONS_AND_ADDS)
    else:
        return None
    # The later one: the other arm is then ready when it runs.
    producer = max(found, key=lambda n: g.position(n.name), default=None)
    return Change((_fused(producer, node),)) if producer else None


RULES = (post_op_into_producer,)


def _producers(g: Draft, node: Node, *allowed: PostOps) -> list[Node]:
    """The nodes of the inputs that allow it and could compute `node` on their way out."""
    return [
        g[i]
        for i in node.inputs
        if traits(g[i]).post_ops in allowed and g.is_private(i) and not g.is_shared(i) and _fits(g[i], node)
    ]


def _fits(producer: Node, node: Node) -> bool:
    """Whether both epilogues and the node itself are few enough post-ops."""
    return len(producer.attrs["epilogue"]) + 1 + len(node.attrs.get("epilogue", ())) <= MOST_POST_OPS


def _fills_badly(producer: Node, node: Node) -> bool:
    """Whether what fills up the last block of channels could become infinite: only elementwise kernels clear it."""
    partial = len(node.type.shape) == 4 and node.type.shape[1] % LARGEST_BLOCK
    return bool(partial) and traits(node).finite is not Finite.ALWAYS and traits(producer).kind is not Kind.MERGE


def _fused(producer: Node, node: Node) -> Node:
    """`producer` computing the value of `node`, whose own epilogue (an add may have one) comes last."""
    if node.op == ADD:
        own = tuple(i for i in node.inputs if i != producer.name)
        added: tuple[tuple[str, tuple[tuple[str, object], ...]], ...] = ((ADD, ()), *node.attrs["epilogue"])
    else:
        own = ()
        added = ((node.op, tuple(sorted(node.attrs.items()))),)
    attrs = {**producer.attrs, "epilogue": (*producer.attrs["epilogue"], *added)}
    return producer.with_(name=node.name, inputs=(*producer.inputs, *own), attrs=attrs, type=node.type)
