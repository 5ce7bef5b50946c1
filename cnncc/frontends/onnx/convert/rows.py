"""ONNX ops that read or write at computed places along axes: Gather*, Scatter*, and what is one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.convert.shapes import viewed
from cnncc.frontends.onnx.convert.slices import gather as gather_known
from cnncc.frontends.onnx.convert.slices import taken
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axis_of, refuse_many

REDUCTIONS = {"none": "replace", "add": "add", "mul": "mul", "max": "max", "min": "min"}
EXACT = 1 << 24
"""Whole numbers up to this are exact in float32."""


def gather(site: OnnxSite) -> Tensor:
    """Parts of an axis, at known or computed indices."""
    if isinstance(site.inputs[1], np.ndarray):
        return gather_known(site)
    value, indices = site.value(0), site.value(1)
    rank, places = len(value.shape), len(indices.shape)
    axis = axis_of(site.integer("axis", 0), rank)
    alone(site, "a Gather")
    order = [axis, *(i for i in range(rank) if i != axis)]
    size, count = value.shape[axis], math.prod(indices.shape)
    rows = site.b.seen(site.b.arrange(value, order).node, (1, size, math.prod(value.shape) // size))
    at = site.b.seen(site.b.plain(indices), (1, count, 1))
    shape = (*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :])
    stored = [*range(axis, axis + places), *range(axis), *range(axis + places, len(shape))]
    axes = tuple(stored.index(i) for i in range(len(shape)))
    return Value(site.add("gather", rows, at, wrap=wraps(site, indices)), shape, axes)


def wraps(site: OnnxSite, indices: Value) -> bool:
    """Whether negative indices count from the end: not where -1 stands for a row that is none."""
    return indices.node not in site.b.ragged


def alone(site: OnnxSite, what: str) -> None:
    """Unsupported where images are computed one by one: places are those of the whole batch."""
    if site.b.batch > 1:
        raise Unsupported(f"{what} at computed places of a batch")


def lines(site: OnnxSite, value: Value, axis: int) -> tuple[Value, str]:
    """The value with one axis innermost, and a node that has it as its rows: others x axis x 1."""
    site.b.refuse_batch(value, axis)
    order = [*(i for i in range(len(value.shape)) if i != axis), axis]
    arranged = site.b.arrange(value, order, site.hint)
    others = math.prod(value.shape) // value.shape[axis] // site.b.batch
    return arranged, site.b.seen(arranged.node, (others, value.shape[axis], 1))


def within(site: OnnxSite, value: Value, shape: Sequence[int]) -> Value:
    """The part of a value from its corner that has a shape."""
    for axis, size in enumerate(shape):
        value = taken(site, value, axis, range(size))
    return value


def gather_elements(site: OnnxSite) -> Tensor:
    """Each element from elsewhere along its axis."""
    value, indices = site.value(0), site.value(1)
    axis = checked_axis(site, value, indices)
    others = [value.shape[i] if i == axis else s for i, s in enumerate(indices.shape)]
    _, rows = lines(site, within(site, value, others), axis)
    arranged, at = lines(site, indices, axis)
    return Value(site.add("gather", rows, at, wrap=True), indices.shape, arranged.axes)


def checked_axis(site: OnnxSite, value: Value, indices: Value) -> int:
    """The axis of an op on elements, whose indices are no larger than the tensor along the others."""
    rank = len(value.shape)
    axis = axis_of(site.integer("axis", 0), rank)
    fits = len(indices.shape) == rank > 0 and all(s <= value.shape[i] for i, s in enumerate(indices.shape) if i != axis)
    if not fits:
        raise Unsupported(f"indices of shape {list(indices.shape)} for a tensor of shape {list(value.shape)}")
    return axis


def gather_nd(site: OnnxSite) -> Tensor:
    """Rows named by one number for each of some axes."""
    value, indices = site.value(0), site.value(1)
    shared = site.integer("batch_dims", 0, low=0, high=max(0, min(len(value.shape), len(indices.shape)) - 1))
    count = indices.shape[-1] if indices.shape else 0
    sizes, rest = value.shape[shared : shared + count], value.shape[shared + count :]
    if len(sizes) != count or count < 1 or value.shape[:shared] != indices.shape[:shared]:
        raise Unsupported(f"indices of shape {list(indices.shape)} for a tensor of shape {list(value.shape)}")
    if not shared:
        alone(site, "a GatherND")
    channels = math.prod(value.shape[:shared]) // site.b.batch
    rows = site.b.seen(site.b.plain(value), (channels, math.prod(sizes), math.prod(rest)))
    at = site.b.seen(site.b.plain(indices), (channels, math.prod(indices.shape[shared:-1]), count))
    made = site.add("gather", rows, at, sizes=sizes, wrap=wraps(site, indices))
    return site.plain(made, (*indices.shape[:-1], *rest))


def scatter_nd(site: OnnxSite) -> Tensor:
    """Rows that are written, named by one number for each of the first axes."""
    value, indices, updates = (site.value(i) for i in range(3))
    alone(site, "a ScatterND")
    count = indices.shape[-1] if indices.shape else 0
    sizes, rest = value.shape[:count], value.shape[count:]
    if len(sizes) != count or count < 1 or updates.shape != (*indices.shape[:-1], *rest):
        shapes = [list(v.shape) for v in (value, indices, updates)]
        raise Unsupported(f"shapes that do not fit: data {shapes[0]}, indices {shapes[1]}, updates {shapes[2]}")
    width, places = math.prod(rest), math.prod(indices.shape[:-1])
    rows = site.b.seen(site.b.plain(value), (1, math.prod(sizes), width))
    at = site.b.seen(site.b.plain(indices), (1, places, count))
    new = site.b.seen(site.b.plain(updates), (1, places, width))
    how = REDUCTIONS[site.choice("reduction", REDUCTIONS, "none")]
    return site.plain(site.add("scatter", rows, at, new, sizes=sizes, wrap=True, reduction=how), value.shape)


def scatter_elements(site: OnnxSite) -> Tensor:
    """Each element to elsewhere along its axis."""
    value, indices, updates = (site.value(i) for i in range(3))
    axis = checked_axis(site, value, indices)
    if updates.shape != indices.shape:
        raise Unsupported(f"indices of shape {list(indices.shape)}, updates of shape {list(updates.shape)}")
    how = REDUCTIONS[site.choice("reduction", REDUCTIONS, "none")]
    if any(s != value.shape[i] for i, s in enumerate(indices.shape) if i != axis):
        return scattered_part(site, (value, indices, updates), axis, how)
    arranged, rows = lines(site, value, axis)
    at, new = (lines(site, v, axis)[1] for v in (indices, updates))
    return Value(site.add("scatter", rows, at, new, wrap=True, reduction=how), value.shape, arranged.axes)


def scattered_part(site: OnnxSite, values: tuple[Value, Value, Value], axis: int, how: str) -> Value:
    """Fewer elements than the tensor has along other axes: these axes' places are added, which are known."""
    value, indices, updates = values
    alone(site, "a ScatterElements")
    rank, count = len(value.shape), math.prod(indices.shape)
    known = np.indices(indices.shape).reshape(rank, count).T.astype(np.float32)
    known[:, axis] = 0
    own = (np.arange(rank) == axis).astype(np.float32)[None]
    column = combined(site, "mul", viewed(site, indices, (count, 1)), own)
    at = site.b.seen(site.b.plain(combined(site, "add", column, known)), (1, count, rank))
    rows = site.b.seen(site.b.plain(value), (1, math.prod(value.shape), 1))
    new = site.b.seen(site.b.plain(updates), (1, count, 1))
    return site.plain(site.add("scatter", rows, at, new, sizes=value.shape, wrap=True, reduction=how), value.shape)


def reverse_sequence(site: OnnxSite) -> Tensor:
    """The first steps of each sequence in reverse order; their numbers are known."""
    value, lengths = site.value(0), site.ints(1, "the lengths", low=0)
    rank = len(value.shape)
    time, batch = (
        axis_of(site.integer(name, default), rank) for name, default in (("time_axis", 0), ("batch_axis", 1))
    )
    steps, count = value.shape[time], value.shape[batch]
    if time == batch or len(lengths) != count or max(lengths) > steps:
        raise Unsupported(f"lengths {list(lengths)} of {count} sequences of {steps} steps")
    alone(site, "a ReverseSequence")
    order = [batch, time, *(i for i in range(rank) if i not in (time, batch))]
    arranged = site.b.arrange(value, order, site.hint)
    places = np.array([[*reversed(range(n)), *range(n, steps)] for n in lengths], np.float32)
    at = site.b.add("const", [], f"{site.hint}.places", [places[None, :, :, None]], dims=(count, steps, 1))
    rows = site.b.seen(arranged.node, (count, steps, math.prod(value.shape) // (count * steps)))
    return Value(site.add("gather", rows, at), value.shape, arranged.axes)


def compress(site: OnnxSite) -> Tensor:
    """Parts of an axis, or of all elements, that a known mask chooses."""
    value, mask = site.value(0), site.const(1, "the condition").reshape(-1)
    if not site.gives("axis"):
        value, axis = viewed(site, value, (math.prod(value.shape),)), 0
    else:
        axis = axis_of(site.integer("axis"), len(value.shape))
    chosen = [int(i) for i in np.flatnonzero(mask)]
    if chosen and chosen[-1] >= value.shape[axis]:
        raise Unsupported(f"the condition: place {chosen[-1]} of an axis of {value.shape[axis]}")
    if not chosen:
        return np.zeros([0 if i == axis else s for i, s in enumerate(value.shape)], np.float32)
    return taken(site, value, axis, chosen)


def one_hot(site: OnnxSite) -> Tensor:
    """relu(1 - |x - i|) for i = 0, 1, .., and for the same counted from the end."""
    value, depth = site.value(0), site.vector(1, "the depth", 1)
    off, on = site.vector(2, "the values", 2)
    count, rank = int(depth[0]), len(value.shape) + 1
    if not 1 <= count <= EXACT:
        raise Unsupported(f"the depth: expected a whole number of 1 to {EXACT}, got {count}")
    refuse_many(count * math.prod(value.shape))
    axis = axis_of(site.integer("axis", -1), rank)
    shape = (*value.shape[:axis], 1, *value.shape[axis:])
    column = viewed(site, value, shape)
    places = np.arange(count, dtype=np.float32).reshape(-1, *(1,) * (rank - axis - 1))
    found = [near(site, column, places - turn) for turn in (0, count)]
    hot = combined(site, "add", *found)
    return site.pointwise("affine", hot, scale=float(on) - float(off), shift=float(off))


def near(site: OnnxSite, value: Value, places: np.ndarray) -> Value:
    """1 where a whole number is at a place, 0 elsewhere."""
    distance = site.pointwise("abs", combined(site, "add", value, -places))
    return site.pointwise("relu", site.pointwise("affine", distance, scale=-1.0, shift=1.0))


def eye_like(site: OnnxSite) -> Tensor:
    """Known: it depends on the shape alone."""
    from onnx import helper

    shape = site.tensor_at(0).shape
    if len(shape) != 2:
        raise Unsupported(f"needs a matrix, got {list(shape)}")
    dtype = helper.tensor_dtype_to_np_dtype(site.integer("dtype", 1, 1, 23))
    rows, columns = shape
    return np.asarray(np.eye(rows, columns, site.integer("k", 0)), dtype)


def max_unpool(site: OnnxSite) -> Tensor:
    """Values back at the places where a pool found them, counted over the whole result."""
    x, places = site.value(0, (3, 4)), site.value(1, (3, 4))
    alone(site, "a MaxUnpool")
    if x.shape != places.shape:
        raise Unsupported(f"values of shape {list(x.shape)}, places of shape {list(places.shape)}")
    rank = len(x.shape) - 2
    planes, size = x.shape[0] * x.shape[1], unpooled(site, x.shape[2:])
    dims = (planes, *(1,) * (2 - rank), *x.shape[2:])
    high, wide = (1, *size)[-2:]
    local = site.b.places.get(places.node)
    if local is None or local[1] != (high, wide):
        if planes * high * wide > EXACT:
            raise Unsupported(f"counts {planes * high * wide} places, which are exact up to {EXACT} only")
        starts = -np.arange(planes, dtype=np.float32).reshape(*x.shape[:2], *(1,) * rank) * (high * wide)
        local = (site.b.plain(combined(site, "add", places, starts)), (high, wide))
    inputs = (site.b.seen(node, dims) for node in (site.b.plain(x), local[0]))
    return site.plain(site.add("unpool", *inputs, size=(high, wide)), (*x.shape[:2], *size))


def unpooled(site: OnnxSite, sizes: Sequence[int]) -> tuple[int, ...]:
    """The size of the result: as it is given, or the least a pool has."""
    rank = len(sizes)
    kernel = site.integers("kernel_shape", count=rank, low=1)
    stride, pads = site.integers("strides", (1,) * rank, rank, low=1), site.integers("pads", (0,) * 2 * rank, 2 * rank)
    if site.has(2):
        return site.ints(2, "the output shape", rank + 2, low=1)[2:]
    found = [(s - 1) * stride[i] + kernel[i] - pads[i] - pads[i + rank] for i, s in enumerate(sizes)]
    if min(found) < 1:
        raise Unsupported(f"a result of {found}")
    return tuple(found)


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
    "Scatter": scatter_elements,
    "ReverseSequence": reverse_sequence,
    "Compress": compress,
    "OneHot": one_hot,
    "EyeLike": eye_like,
    "MaxUnpool": max_unpool,
}
"""Of one result each."""
