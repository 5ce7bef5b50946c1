"""Types from inputs to outputs."""

from __future__ import annotations

from dataclasses import replace

from cnncc import ops
from cnncc.ir.graph import Graph, Node


def infer_shapes(g: Graph) -> Graph:
    """type(op(x, ...)) => rule(op)(type(x), ...), for every node from the inputs on; layouts (blocks) stay as they are.

    Must not fire (returns `g` itself) when every type already is what the rules of the table say.
    """
    done: dict[str, Node] = {}
    for node in g.nodes:
        types = tuple(done[name].type for name in node.inputs)
        inferred = ops.infer_type(node.op, types, node.attrs).with_block(node.type.block)
        done[node.name] = node if inferred == node.type else node.with_(type=inferred)
    if all(done[n.name] is n for n in g.nodes):
        return g
    return replace(g, nodes=tuple(done.values()))
