"""Softmax over the columns of an image, which an exporter's axis has become."""

from __future__ import annotations

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule


def join_rows(g: Graph) -> Graph:
    """permute(softmax(permute(x))) => softmax_rows(x): the shares of attention, without moving them.

    Must not fire for other axes, or when another op reads a value in between.
    """
    return rewrite(g, RULES)


@rule("permute")
def softmax_of_rows(g: Draft, node: Node) -> Change | None:
    """permute(softmax(permute(x))) => softmax_rows(reshape(x)) if the last axis is put first, and back

    Must not fire when axes come in another order, when the axis is no row of the result, or when a value in between
    has other users or is a graph output.
    """
    softmax = g.private(node.inputs[0], "softmax")
    front = g.private(softmax.inputs[0], "permute") if softmax else None
    if softmax is None or front is None or len(node.type.shape) != 4 or not _are_rows(front, node):
        return None
    if g[front.inputs[0]].type == node.type:
        return Change((node.with_(op="softmax_rows", attrs={}, inputs=front.inputs),))
    seen = front.with_(op="reshape", attrs={"dims": node.attrs["dims"]}, type=node.type)
    return Change((seen, node.with_(op="softmax_rows", attrs={}, inputs=(front.name,))))


def _are_rows(front: Node, back: Node) -> bool:
    """Whether two permutations put the last axis first and back, and it is the columns of the result."""
    split, other = front.attrs["split"], back.attrs["split"]
    turned = tuple(front.attrs["axes"]) == (len(split) - 1, *range(len(split) - 1))
    returned = tuple(back.attrs["axes"]) == (*range(1, len(other)), 0)
    return turned and returned and {front.type.shape[1], other[0], back.attrs["dims"][-1]} == {split[-1]}


RULES = (softmax_of_rows,)
