"""Taps of a convolution that lie in the padding whatever pixel is computed go away."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc import ops
from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ops.table import Attrs
from cnncc.ops.window import Axis, axes


def drop_taps(g: Graph) -> Graph:
    """conv(x, w) => conv(x, rows and columns of w that see the image) with less padding.

    Must not fire when the padding left on a side would be negative.
    """
    return rewrite(g, RULES)


@rule("conv")
def taps_in_the_padding(g: Draft, node: Node) -> Change | None:
    """conv(x, w) => conv(x, rows and columns of w that see the image) with less padding; one tap stays at least

    Must not fire when the padding left on a side would be negative, or when there would be another number of windows.
    """
    shapes = tuple(g[name].type.shape for name in node.inputs)
    over = axes(shapes[0], node.attrs)
    kept = tuple(_kept(axis, count) for axis, count in zip(over, node.type.shape[2:], strict=True))
    attrs = {**node.attrs, **_cropped(over, kept)}
    if attrs["kernel"] == node.attrs["kernel"] or min(attrs["pad"]) < 0:
        return None
    if ops.infer("conv", shapes, attrs) != node.type.shape:
        return None
    rows, columns = (slice(taps.start, taps.stop) for taps in kept)
    weight, name = g.constants[node.weights["weight"]], g.free_name(f"{node.name}.taps")
    smaller = weight.map((*weight.shape[:2], *attrs["kernel"]), lambda w: w[:, :, rows, columns])
    return Change((node.with_(attrs=attrs, weights={**node.weights, "weight": name}),), {name: smaller})


RULES = (taps_in_the_padding,)


def _kept(axis: Axis, count: int) -> range:
    """The taps between the first and the last that see the image in one of `count` windows."""
    seeing = [tap for tap in range(axis.kernel) if _sees(axis, tap, count)] or [0]
    return range(seeing[0], seeing[-1] + 1)


def _cropped(over: Sequence[Axis], kept: Sequence[range]) -> Attrs:
    """The attributes of the window that change where only these taps are kept; taps that go take padding with them."""
    both = tuple(zip(over, kept, strict=True))
    before = (axis.before - taps.start * axis.dilation for axis, taps in both)
    after = (axis.after - (axis.kernel - taps.stop) * axis.dilation for axis, taps in both)
    return {
        "kernel": tuple(map(len, kept)),
        "pad": (*before, *after),
        "dilation": tuple(axis.dilation if len(taps) > 1 else 1 for axis, taps in both),
    }


def _sees(axis: Axis, tap: int, count: int) -> bool:
    """Whether the tap lies in the image in one of `count` windows."""
    at = tap * axis.dilation - axis.before
    first = max(0, -(at // axis.stride))  # the first window whose tap is not before the image
    return first < count and at + first * axis.stride < axis.size
