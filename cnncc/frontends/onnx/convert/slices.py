"""ONNX ops that take parts of a tensor: evenly spaced positions are one op, and so are listed ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnncc.frontends.onnx.convert.shapes import guarded, viewed, without
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axes_of, axis_of
from cnncc.ir.rules import Shape


def taken(site: OnnxSite, value: Value, axis: int, indices: Sequence[int]) -> Value:
    """The values at some indices, at least one, along an axis, in that order."""
    if (along := progression(indices)) is not None:
        return sliced(site, value, {axis: along})
    site.b.refuse_batch(value, axis)
    sides = around(site, value, axis)
    shape = tuple(len(indices) if i == axis else s for i, s in enumerate(value.shape))
    if sides[0] == 1:
        node, each = channels(site, value.node, sides[1])
        every = tuple(i * each + j for i in indices for j in range(each))
        return Value(site.add("take", node, indices=every), shape, value.axes)
    node = site.add("take", site.b.seen(value.node, sides), indices=tuple(indices), axis=1)
    return Value(node, shape, value.axes)


def progression(indices: Sequence[int]) -> range | None:
    """Indices that are evenly spaced, as a range; None for others."""
    first, last = indices[0], indices[-1]
    if len(indices) == 1:
        return range(first, first + 1)
    step = indices[1] - first
    if step == 0 or first + step * (len(indices) - 1) != last:
        return None
    found = range(first, last + (1 if step > 0 else -1), step)
    return found if all(a == b for a, b in zip(found, indices, strict=True)) else None


def around(site: OnnxSite, value: Value, axis: int) -> tuple[int, int, int]:
    """An image in which an axis lies between all that are stored before it, and all after it."""
    j = value.axes[axis]
    outer = math.prod(value.stored[:j]) // (site.b.batch if site.b.batch > 1 else 1)
    return outer, value.stored[j], math.prod(value.stored[j + 1 :])


def channels(site: OnnxSite, node: str, size: int) -> tuple[str, int]:
    """The node, or a reshape of it, so that an index of the axis of that size which is stored first is whole channels;
    and how many."""
    each = site.b.channels_each(node, size)
    return (node, each) if each else (site.b.split(node, size), 1)


def sliced(site: OnnxSite, value: Value, ranges: Mapping[int, range]) -> Value:
    """Evenly spaced positions along some axes: a `slice` of the first one, a `crop` of rows and columns, else a
    `strided_slice`."""
    ranges = {axis: along for axis, along in ranges.items() if along != range(value.shape[axis])}
    if not ranges:
        return value
    for axis in ranges:
        site.b.refuse_batch(value, axis)
    if all(along.step == 1 for along in ranges.values()):
        if (cut := cropped(site, value, ranges)) is not None:
            return cut
        ((axis, along), *more) = ranges.items()
        if not more and (cut := first_part(site, value, axis, along)) is not None:
            return cut
    return strided(site, value, ranges)


def remaining(value: Value, ranges: Mapping[int, range]) -> Shape:
    """The ONNX shape of what ranges leave."""
    return tuple(len(ranges[i]) if i in ranges else s for i, s in enumerate(value.shape))


def cropped(site: OnnxSite, value: Value, ranges: Mapping[int, range]) -> Value | None:
    """Of rows and columns of an image."""
    shape = site.b.shape(value.node)
    if value.stored != shape or len(shape) != 4 or any(value.axes[axis] < 2 for axis in ranges):
        return None
    rows, columns = (ranges.get(value.order[j], range(shape[j])) for j in (2, 3))
    height, width = len(rows), len(columns)
    node = site.add("crop", value.node, top=rows.start, left=columns.start, height=height, width=width)
    return Value(node, remaining(value, ranges), value.axes)


def first_part(site: OnnxSite, value: Value, axis: int, along: range) -> Value | None:
    """Of the axis that is stored first: the channels."""
    outer, size, _ = around(site, value, axis)
    if outer > 1:
        return None
    node, each = channels(site, value.node, size)
    made = site.add("slice", node, start=along.start * each, stop=along.stop * each)
    return Value(made, remaining(value, {axis: along}), value.axes)


def strided(site: OnnxSite, value: Value, ranges: Mapping[int, range]) -> Value:
    """Of any axes: all at once where an image has enough of them, else one after the other."""
    sides = grouped(site, value, ranges)
    if len(sides) > 3:
        for axis, along in ranges.items():
            value = strided(site, value, {axis: along})
        return value
    if len(sides) == 2:
        sides.insert(1, (1, range(1)))
    node = site.b.seen(value.node, tuple(size for size, _ in sides))
    taken = [along for _, along in sides]
    start, step = tuple(along.start for along in taken), tuple(along.step for along in taken)
    made = site.add(
        "strided_slice",
        node,
        dims=tuple(map(len, taken)),
        start=start if any(start) else (),
        step=step if set(step) != {1} else (),
    )
    return Value(made, remaining(value, ranges), value.axes)


def grouped(site: OnnxSite, value: Value, ranges: Mapping[int, range]) -> list[tuple[int, range]]:
    """The stored axes of an image with what is taken of each; neighbours that stay whole count as one axis, unless the
    node has them apart."""
    stored = value.order[1:] if site.b.batch > 1 else value.order
    every = [(s := value.shape[i], ranges.get(i, range(s))) for i in stored if value.shape[i] != 1 or i in ranges]
    if tuple(size for size, _ in every) == site.b.shape(value.node)[1:]:
        return every
    merged: list[tuple[int, range]] = []
    for size, along in every:
        if merged and along == range(size) and merged[-1][1] == range(merged[-1][0]):
            size *= merged.pop()[0]
            along = range(size)
        merged.append((size, along))
    return merged


def cut(site: OnnxSite) -> Tensor:
    """Slice: any steps, in either direction."""
    value = site.value(0)
    starts = site.ints_or(1, "starts") or ()
    count = len(starts)
    ends = site.ints_or(2, "ends", count=count) or ()
    axes = axes_of(site.ints_or(3, "axes", tuple(range(count)), count) or (), len(value.shape))
    steps = site.ints(4, "steps", count) if site.has(4) else (1,) * count
    if 0 in steps:
        raise Unsupported("steps: a step of 0")
    cuts = {axis: slice(*bounds) for axis, *bounds in zip(axes, starts, ends, steps, strict=True)}
    ranges = {axis: range(*cut.indices(value.shape[axis])) for axis, cut in cuts.items()}
    if not all(ranges.values()):  # nothing is left, so it is known
        return np.zeros([len(ranges[i]) if i in ranges else s for i, s in enumerate(value.shape)], np.float32)
    return sliced(site, value, ranges)


def gather(site: OnnxSite) -> Tensor:
    """With known indices."""
    value, indices = site.value(0), site.const(1, "the indices")
    axis = axis_of(site.integer("axis", 0), len(value.shape))
    size = value.shape[axis]
    site.b.fits((*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :]))
    if indices.dtype.kind not in "iu":
        raise Unsupported(f"the indices: expected whole numbers, got {indices.dtype}")
    if outside := [int(i) for i in indices.reshape(-1) if not -size <= i < size]:
        raise Unsupported(f"the indices: {outside[0]} of an axis of {size}")
    if not indices.size:
        return np.zeros((*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :]), np.float32)
    found = taken(site, value, axis, [int(i) % size for i in indices.reshape(-1)])
    if indices.ndim == 0:
        return guarded(site, without(found, [axis]))
    if indices.ndim == 1:
        return found
    return viewed(site, found, (*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :]))


def split(site: OnnxSite) -> list[Tensor]:
    """Several results."""
    value = site.value(0)
    axis = axis_of(site.integer("axis", 0), len(value.shape))
    size, count = value.shape[axis], len(site.results)
    if site.integer("num_outputs", count) != count:
        raise Unsupported(f"attribute num_outputs: expected {count}, as many as there are results")
    each = -(-size // count)
    equal = tuple(max(0, min(each, size - i * each)) for i in range(count))
    sizes = site.ints_or(1, "split", equal, count, 0, size) or ()
    if sum(sizes) != size:
        raise Unsupported(f"split: {list(sizes)} of an axis of {size}")
    starts = [sum(sizes[:i]) for i in range(count)]
    return [part(site, value, axis, range(a, a + n)) for a, n in zip(starts, sizes, strict=True)]


def part(site: OnnxSite, value: Value, axis: int, along: range) -> Tensor:
    """One of several results; one without values is known."""
    return sliced(site, value, {axis: along}) if along else np.zeros(remaining(value, {axis: along}), np.float32)


RULES: Mapping[str, Callable[[OnnxSite], Tensor | list[Tensor]]] = {"Slice": cut, "Split": split}
"""Of one result, `split` of several."""
