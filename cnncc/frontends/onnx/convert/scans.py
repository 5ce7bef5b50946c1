"""Running sums, products along axes, and what is one-hot or triangular."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.reduce import channelled
from cnncc.frontends.onnx.convert.shapes import joined
from cnncc.frontends.onnx.convert.slices import taken
from cnncc.frontends.onnx.convert.windows import one_padded
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axis_of


def running_sum(site: OnnxSite) -> Tensor:
    """CumSum along a known axis, in log2(n) steps: each adds what is 1, 2, 4, .. places before (Hillis, Steele)."""
    value = site.value(0)
    axis = axis_of(site.ints(1, "the axis", 1)[0], len(value.shape))
    count, back = value.shape[axis], site.flag("reverse")
    if site.flag("exclusive"):
        value = moved(site, value, axis, back)
    step = 1
    while step < count:
        kept, first, second = parts(count, step, back)
        before, after = taken(site, value, axis, first), taken(site, value, axis, second)
        added = merged(site, "add", before, after)
        untouched = taken(site, value, axis, kept)
        value = joined(site, [added, untouched] if back else [untouched, added], axis)
        step *= 2
    return value


def parts(count: int, step: int, back: bool) -> tuple[range, range, range]:
    """Places that keep their value, and the two ranges whose sums the others get."""
    low, high = range(count - step), range(step, count)
    return (range(count - step, count) if back else range(step)), low, high


def moved(site: OnnxSite, value: Value, axis: int, back: bool) -> Value:
    """The values one place further, with a zero in front; or one back, with a zero behind."""
    count = value.shape[axis]
    wide = one_padded(site, value, axis, int(not back), int(back), {"mode": "constant", "value": 0.0})
    return taken(site, wide, axis, range(1, count + 1) if back else range(count))


def hardmax(site: OnnxSite) -> Tensor:
    """1 at the first of the largest values, else 0."""
    value = site.value(0)
    rank = len(value.shape)
    if site.opset < 13 and rank > 2 and any(s != 1 for s in value.shape[axis_of(site.integer("axis", 1), rank) + 1 :]):
        raise Unsupported("hardmax of several axes together, as before opset 13")
    axis = axis_of(site.integer("axis", -1 if site.opset >= 13 else 1), rank)
    arranged, node = channelled(site, "topk", value, axis, k=1, indices=True)
    place = Value(node, tuple(1 if i == axis else s for i, s in enumerate(value.shape)), arranged.axes)
    return merged(site, "equal", site.b.expand(place, value.shape, site.hint), along(value.shape[axis], axis, rank))


def along(count: int, axis: int, rank: int) -> np.ndarray:
    """0, 1, 2, .. along an axis."""
    return np.arange(count, dtype=np.float32).reshape([count if i == axis else 1 for i in range(rank)])


def triangle(site: OnnxSite) -> Tensor:
    """The upper or lower triangle of the last two axes; zeros in the other."""
    value = site.value(0)
    if len(value.shape) < 2:
        raise Unsupported(f"a triangle of {list(value.shape)}")
    offset = site.ints(1, "k", 1)[0] if site.has(1) else 0
    rows, columns = value.shape[-2:]
    limit = rows + columns
    ones = np.tri(rows, columns, max(-limit, min(limit, offset - site.flag("upper", True))))
    mask = 1 - ones if site.flag("upper", True) else ones
    return merged(site, "where", mask, value, np.zeros((1, 1)))


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "CumSum": running_sum,
    "Hardmax": hardmax,
    "Trilu": triangle,
}
"""Of one result each."""
