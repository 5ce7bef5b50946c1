"""Of one activation after another that changes nothing any more, the second goes away."""

from __future__ import annotations

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule


def drop_repeats(g: Graph) -> Graph:
    """relu(relu(x)) => relu(x)

    Must not fire for two different activations.
    """
    return rewrite(g, RULES)


@rule("relu", "relu6")
def repeated(g: Draft, node: Node) -> Change | None:
    """relu(relu(x)) => relu(x), relu6(relu6(x)) => relu6(x)

    Must not fire for two different activations, nor for a graph output, whose name has to stay.
    """
    (x,) = node.inputs
    if g[x].op != node.op or g.is_output(node.name):
        return None
    return Change(instead={node.name: x})


RULES = (repeated,)
