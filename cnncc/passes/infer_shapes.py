"""Types from inputs to outputs."""

from __future__ import annotations

from dataclasses import replace

from cnncc import ops
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import TensorType


def infer_shapes(g: Graph) -> Graph:
    """type(op(x, ...)) => rule(op)(type(x), ...), for every node from the inputs on; layouts (blocks) stay as they are.

    Must not fire (returns `g` itself) when every type already is what the rules of the table say.
    """
    done: dict[str, Node] = {}
    for node in g.nodes:
        shapes = tuple(done[name].type.shape for name in node.inputs)
        inferred = TensorType(ops.infer(node.op, shapes, node.attrs), node.type.block)
        done[node.name] = node if inferred == node.type else node.with_(type=inferred)
    if all(done[n.name] is n for n in g.nodes):
        return g
    return replace(g, nodes=tuple(done.values()))
