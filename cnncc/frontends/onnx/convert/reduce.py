"""Sums, means, extremes and softmax along axes, and what is largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnncc.frontends.onnx.convert.arms import channel_axes, merged
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.convert.shapes import joined, without
from cnncc.frontends.onnx.convert.slices import taken
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.types import is_whole
from cnncc.frontends.onnx.values import Value, axes_of, axis_of, plain_value
from cnncc.ir.rules import Shape
from cnncc.ops.activation import LARGEST

MOST_SLICES = 8
FEWEST_CHANNELS = 4
"""Of a slice: with fewer, each would fill a small part of a vector."""
BY_SLICES = {"gsum": ("add", False), "gap": ("add", True), "gmp": ("max", False)}
"""The merge that reduces slices, and whether it is divided by their number."""
BY_CHANNELS = {"gsum": "channel_sum", "gap": "channel_mean", "gmp": "channel_max"}


def reduced(site: OnnxSite, op: str, value: Value, axes: Shape) -> Value:
    """gap, gmp or gsum of the axes, which stay as 1. Those that are kept lie in front, in the order they have."""
    gone = set(axes)
    for axis in gone:
        site.b.refuse_batch(value, axis)
    if (sliced := by_slices(site, op, value, gone)) is not None:
        return sliced
    if (pooled := by_channels(site, op, value, gone)) is not None:
        return pooled
    order = [i for i in value.order if i not in gone] + [i for i in value.order if i in gone]
    value = site.b.arrange(value, order, site.hint)
    kept = math.prod(value.shape[i] for i in order if i not in gone) // (site.b.batch if site.b.batch > 1 else 1)
    shape = site.b.shape(value.node)
    node = value.node
    if len(shape) != 4 or shape[1] != kept:
        node = site.b.seen(node, (kept, 1, math.prod(shape[1:]) // kept), site.hint)
    return Value(site.add(op, node), tuple(1 if i in gone else s for i, s in enumerate(value.shape)), value.axes)


def by_slices(site: OnnxSite, op: str, value: Value, gone: set[int]) -> Value | None:
    """The same of few axes that are stored first, as a merge of slices of the channels: a sum of branches, say."""
    stored = [i for i in value.order if value.shape[i] != 1 and not (site.b.batch > 1 and value.axes[i] == 0)]
    wide = {i for i in gone if value.shape[i] != 1}
    count = math.prod(value.shape[i] for i in wide)
    each = site.b.channels_each(value.node, count)
    if set(stored[: len(wide)]) != wide or not 1 < count <= MOST_SLICES or each < FEWEST_CHANNELS:
        return None
    parts = [site.add("slice", value.node, start=i * each, stop=(i + 1) * each) for i in range(count)]
    merge, scale = BY_SLICES[op]
    result = Value(site.add(merge, *parts), tuple(1 if i in gone else s for i, s in enumerate(value.shape)), value.axes)
    return site.pointwise("affine", result, scale=1.0 / count) if scale else result


def by_channels(site: OnnxSite, op: str, value: Value, gone: set[int]) -> Value | None:
    """The same of the axes that make up the channels of an image, where these are stored first."""
    outer = channel_axes(site.b, value)
    images = 1 if site.b.batch > 1 else 0
    wide = {i for i in gone if value.shape[i] != 1}
    if not wide or {i for i in value.order[images:outer] if value.shape[i] != 1} != wide:
        return None
    node = site.add(BY_CHANNELS[op], value.node)
    return Value(node, tuple(1 if i in gone else s for i, s in enumerate(value.shape)), value.axes)


def total(site: OnnxSite, value: Value, axes: Shape) -> Value:
    return reduced(site, "gsum", value, axes)


def smallest(site: OnnxSite, value: Value, axes: Shape) -> Value:
    turned = reduced(site, "gmp", site.pointwise("affine", value, scale=-1.0), axes)
    return site.pointwise("affine", turned, scale=-1.0)


def square(site: OnnxSite, value: Value) -> Value:
    return Value(site.add("mul", value.node, value.node), value.shape, value.axes)


def log_sum_exp(site: OnnxSite, value: Value, axes: Shape) -> Value:
    """Shifted by the largest finite value, so that nothing overflows, and infinities stay what they are."""
    largest = site.pointwise("clip", reduced(site, "gmp", value, axes), low=-LARGEST, high=LARGEST)
    shifted = combined(site, "add", value, site.pointwise("affine", largest, scale=-1.0))
    logarithm = site.pointwise("log", total(site, site.pointwise("exp", shifted), axes))
    return combined(site, "add", logarithm, largest)


def product(site: OnnxSite, value: Value, axes: Shape) -> Value:
    """Halves of an axis times each other, until one is left."""
    for axis in axes:
        while (count := value.shape[axis]) > 1:
            half = count // 2
            low, high = (taken(site, value, axis, range(at, at + half)) for at in (0, half))
            made = combined(site, "mul", low, high)
            rest = taken(site, value, axis, range(2 * half, count)) if count % 2 else None
            value = made if rest is None else joined(site, [made, rest], axis)
    return value


FRACTIONAL = frozenset({"ReduceL2", "ReduceLogSum", "ReduceLogSumExp"})
"""Reductions that make other numbers of whole ones; so does the mean."""


def of_integers(site: OnnxSite, name: str, value: Value, axes: Shape) -> Value:
    """Whole, as ONNX has it: means, roots and logarithms are cut off at the point."""
    if name != "ReduceMean":
        result = REDUCTIONS[name](site, value, axes)
        return site.pointwise("round_to_zero", result) if name in FRACTIONAL else result
    count = math.prod(value.shape[a] for a in axes)
    divided = merged(site, "div", total(site, value, axes), np.full((1,) * len(value.shape), count))
    return site.pointwise("round_to_zero", divided)


Reduction = Callable[[OnnxSite, Value, Shape], Value]
REDUCTIONS: Mapping[str, Reduction] = {
    "ReduceMean": lambda s, v, a: reduced(s, "gap", v, a),
    "ReduceMax": lambda s, v, a: reduced(s, "gmp", v, a),
    "ReduceMin": smallest,
    "ReduceSum": total,
    "ReduceSumSquare": lambda s, v, a: total(s, square(s, v), a),
    "ReduceL1": lambda s, v, a: total(s, s.pointwise("abs", v), a),
    "ReduceL2": lambda s, v, a: s.pointwise("sqrt", total(s, square(s, v), a)),
    "ReduceLogSum": lambda s, v, a: s.pointwise("log", total(s, v, a)),
    "ReduceLogSumExp": log_sum_exp,
    "ReduceProd": product,
}


def reduction(name: str) -> Callable[[OnnxSite], Tensor]:
    """A reduction with ONNX's ways to name axes."""

    def rule(site: OnnxSite) -> Tensor:
        value = site.value(0)
        given, rank = site.ints_or(1, "axes"), len(value.shape)
        if not given and site.flag("noop_with_empty_axes"):
            return elementwise(site, name, value)
        axes = tuple(axes_of(given, rank) if given and rank else range(rank))
        reduce = of_integers if is_whole(site.kind(0)) else lambda s, n, v, a: REDUCTIONS[n](s, v, a)
        result = reduce(site, name, value, axes) if rank else elementwise(site, name, value)
        if site.flag("keepdims", True):
            return result
        lost = without(result, axes)
        site.b.per_image(lost.shape)
        return lost

    return rule


def elementwise(site: OnnxSite, name: str, value: Value) -> Value:
    """A reduction along no axis."""
    steps: Mapping[str, Callable[[], Value]] = {
        "ReduceSumSquare": lambda: square(site, value),
        "ReduceL1": lambda: site.pointwise("abs", value),
        "ReduceL2": lambda: site.pointwise("abs", value),
        "ReduceLogSum": lambda: site.pointwise("log", value),
    }
    return steps.get(name, lambda: value)()


def channelled(site: OnnxSite, op: str, value: Value, axis: int, **attrs: Any) -> tuple[Value, str]:
    """An op along the channels, which the axis is made; the value as it was arranged, and the node of the result."""
    site.b.refuse_batch(value, axis)
    arranged, node = site.b.front(value, axis, site.hint)
    return arranged, site.add(op, node, **attrs)


def as_rows(site: OnnxSite, value: Value) -> tuple[Value, int]:
    """What softmax works on: an axis, or before opset 13 all axes from one on as one."""
    rank = len(value.shape)
    if site.opset >= 13:
        return value, axis_of(site.integer("axis", -1), rank)
    axis = axis_of(site.integer("axis", 1), rank)
    if all(s == 1 for s in value.shape[axis + 1 :]):
        return value, axis
    rows = (*value.shape[:axis], math.prod(value.shape[axis:]))
    return plain_value(site.b.plain(value, f"{site.hint}.t"), rows), axis


def softmax(site: OnnxSite) -> Tensor:
    value = site.value(0)
    seen, axis = as_rows(site, value)
    arranged, node = channelled(site, "softmax", seen, axis)
    result = Value(node, seen.shape, arranged.axes)
    return result if seen.shape == value.shape else plain_value(site.b.plain(result), value.shape)


def log_softmax(site: OnnxSite) -> Tensor:
    """x - ln(sum(exp(x))): the logarithm of a softmax would lose small shares."""
    value = site.value(0)
    seen, axis = as_rows(site, value)
    rest = site.pointwise("affine", log_sum_exp(site, seen, (axis,)), scale=-1.0)
    result = combined(site, "add", seen, rest)
    return result if seen.shape == value.shape else plain_value(site.b.plain(result), value.shape)


def arg(largest: bool) -> Callable[[OnnxSite], Tensor]:
    """The place of the largest or smallest value, as a float32: exact up to 2^24."""

    def rule(site: OnnxSite) -> Tensor:
        value = site.value(0)
        axis = axis_of(site.integer("axis", 0), len(value.shape))
        last = site.flag("select_last_index")
        arranged, node = channelled(site, "topk", value, axis, k=1, largest=largest, indices=True, last=last)
        found = Value(node, tuple(1 if i == axis else s for i, s in enumerate(value.shape)), arranged.axes)
        if site.flag("keepdims", True):
            return found
        lost = without(found, [axis])
        site.b.per_image(lost.shape)
        return lost

    return rule


def topk(site: OnnxSite) -> list[Tensor]:
    """Values and their places; in order, sorted or not."""
    value = site.value(0)
    axis = axis_of(site.integer("axis", -1), len(value.shape))
    k = site.ints(1, "k", 1, low=1)[0] if site.has(1) else site.integer("k", low=1)
    largest = site.flag("largest", True)
    shape = tuple(k if i == axis else s for i, s in enumerate(value.shape))
    results: list[Tensor] = []
    for i, indices in enumerate((False, True)):
        if site.wants(i):
            arranged, node = channelled(site, "topk", value, axis, k=k, largest=largest, indices=indices)
            results.append(Value(node, shape, arranged.axes))
        else:
            results.append(value)
    return results


RULES: Mapping[str, Callable[[OnnxSite], Tensor | list[Tensor]]] = {
    **{name: reduction(name) for name in REDUCTIONS},
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "ArgMax": arg(True),
    "ArgMin": arg(False),
    "TopK": topk,
}
"""Of one result, `topk` of two."""
