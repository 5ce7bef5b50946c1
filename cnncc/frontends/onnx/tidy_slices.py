"""Strided slices that follow each other, and those that together move pixels to channels."""

from __future__ import annotations

from cnncc.frontends.onnx.tidy_change import Change, private, remade
from cnncc.ir import Graph, Node
from cnncc.ops.parts import places


def strided_twice(graph: Graph, node: Node) -> Change | None:
    """strided_slice(strided_slice(x)) => strided_slice(x)"""
    inner = graph[node.inputs[0]] if node.op == "strided_slice" else None
    if inner is None or inner.op != "strided_slice":
        return None
    pairs = list(zip(places(inner.attrs), places(node.attrs), strict=True))
    start, step = tuple(a[b.start] for a, b in pairs), tuple(a.step * b.step for a, b in pairs)
    return Change(node.with_(inputs=inner.inputs, attrs={**node.attrs, "start": start, "step": step}))


def focus(graph: Graph, node: Node) -> Change | None:
    """concat of x[:, :, i::a, j::b] for all i and j => a permute of x: pixels to channels (YOLOv5 calls it Focus)"""
    arms = [private(graph, name, "strided_slice") for name in node.inputs] if node.op == "concat" else []
    first = arms[0] if arms else None
    if first is None or len(first.type.shape) != 4:
        return None
    shape = graph[first.inputs[0]].type.shape
    (c, h, w), (_, a, b) = first.attrs["dims"], first.attrs["step"] or (1, 1, 1)
    every = [(0, i, j) for i in range(a) for j in range(b)]
    if shape != (shape[0], c, h * a, w * b) or len(every) < 2:
        return None
    starts = [arm.attrs["start"] or (0, 0, 0) for arm in arms if arm is not None and alike(arm, first)]
    for order, axes in ((every, (2, 4, 0, 1, 3)), (sorted(every, key=lambda s: s[::-1]), (4, 2, 0, 1, 3))):
        if starts == order:
            attrs = {"split": (c, h, a, w, b), "axes": axes, "dims": node.type.shape[1:]}
            return Change(remade(node, first, op="permute", attrs=attrs))
    return None


def alike(a: Node, b: Node) -> bool:
    """Whether two strided slices differ in where they start only."""
    return a.inputs == b.inputs and all(a.attrs[key] == b.attrs[key] for key in ("dims", "step"))
