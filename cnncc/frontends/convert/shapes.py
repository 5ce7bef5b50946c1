"""ONNX ops that move, cut, join or only rename values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from cnncc.frontends.onnx_site import Site, Tensor
from cnncc.frontends.onnx_values import Unsupported, Value, axes_of, axis_of, broadcast, plain_value

Shape = tuple[int, ...]
DEPTH_MODES = ("DCR", "CRD")


def viewed(site: Site, value: Value, shape: Sequence[int]) -> Value:
    """The same elements as another ONNX shape."""
    if math.prod(shape) != math.prod(value.shape):
        raise Unsupported(f"{list(value.shape)} does not reshape to {list(shape)}")
    if site.b.batch > 1 and (not shape or shape[0] != site.b.batch):
        raise Unsupported(f"a reshape that moves the batch of {site.b.batch}: {list(shape)}")
    return plain_value(site.b.plain(value, f"{site.hint}.t"), shape)


def reshape(site: Site) -> Tensor:
    """0 stands for the axis at its place, -1 for what is left."""
    value = site.value(0)
    wanted = list(site.ints_or(1, "shape", low=-1) or ())
    if wanted.count(-1) > 1:
        raise Unsupported(f"shape: -1 stands more than once in {wanted}")
    if not site.flag("allowzero"):
        wanted = [value.shape[i] if size == 0 and i < len(value.shape) else size for i, size in enumerate(wanted)]
    if -1 in wanted:
        known = math.prod(s for s in wanted if s != -1)
        wanted[wanted.index(-1)] = math.prod(value.shape) // max(known, 1)
    return viewed(site, value, wanted)


def flatten(site: Site) -> Tensor:
    value = site.value(0)
    rank = len(value.shape)
    axis = site.integer("axis", 1, -rank, rank)
    axis = axis if axis >= 0 else axis + rank
    return viewed(site, value, (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))


def without(value: Value, dropped: Iterable[int]) -> Value:
    """The value without some axes of 1."""
    gone = set(dropped)
    kept = [i for i in range(len(value.shape)) if i not in gone]
    places = sorted(value.axes[i] for i in kept)
    return Value(value.node, tuple(value.shape[i] for i in kept), tuple(places.index(value.axes[i]) for i in kept))


def squeeze(site: Site) -> Tensor:
    value = site.value(0)
    given = site.ints_or(1, "axes")
    rank = len(value.shape)
    axes = [i for i, s in enumerate(value.shape) if s == 1] if given is None else axes_of(given, rank)
    if any(value.shape[a] != 1 for a in axes):
        raise Unsupported(f"squeezes an axis that is not 1: {list(value.shape)}")
    return guarded(site, without(value, axes))


def guarded(site: Site, value: Value) -> Value:
    """The value, unless an axis was added or lost in front of the batch."""
    site.b.per_image(value.shape)
    return value


def unsqueeze(site: Site) -> Tensor:
    value, given = site.value(0), site.ints_or(1, "axes") or ()
    rank = len(value.shape) + len(given)
    new = axes_of(given, rank)
    old = iter(range(len(value.shape)))
    source = [None if i in new else next(old) for i in range(rank)]
    shape = tuple(1 if i is None else value.shape[i] for i in source)
    after = iter(range(len(value.shape), rank))
    return guarded(site, Value(value.node, shape, tuple(next(after) if i is None else value.axes[i] for i in source)))


def transpose(site: Site) -> Tensor:
    """Only noted: what needs the order asks for it."""
    value = site.value(0)
    rank = len(value.shape)
    order = site.integers("perm", range(rank)[::-1], rank, 0, rank - 1)
    axes_of(order, rank)
    return Value(value.node, tuple(value.shape[i] for i in order), tuple(value.axes[i] for i in order))


def expand(site: Site) -> Tensor:
    value, wanted = site.value(0), site.ints(1, "the shape", low=1)
    return site.b.expand(value, broadcast(value.shape, wanted), site.hint)


def tile(site: Site) -> Tensor:
    """Each axis repeated as an axis of its own in front of it."""
    value = site.value(0)
    for axis, times in enumerate(site.ints(1, "the repeats", len(value.shape), low=1)):
        if times != 1:
            shape = value.shape
            seen = viewed(site, value, (*shape[:axis], 1, *shape[axis:]))
            more = site.b.expand(seen, (*shape[:axis], times, *shape[axis:]), site.hint)
            value = viewed(site, more, (*shape[:axis], times * shape[axis], *shape[axis + 1 :]))
    return value


# Joining and cutting


def concat(site: Site) -> Tensor:
    """Along the channels, which the axis is made where it is another one."""
    values = [site.value(i) for i, name in enumerate(site.node.input) if name]
    axis = axis_of(site.integer("axis", 1), len(values[0].shape))
    return joined(site, values, axis)


def joined(site: Site, values: Sequence[Value], axis: int) -> Value:
    if axis == 0 and site.b.batch > 1:
        raise Unsupported("a concat along the batch")
    if len(values) == 1:
        return values[0]
    arranged, node = site.b.front(values[0], axis, site.hint)
    dims = site.b.shape(node)[1:]
    nodes = [node]
    for other in values[1:]:
        placed = site.b.arrange(other, arranged.order)
        count = other.shape[axis]
        rest = dims[1:] if len(dims) == 3 else ()
        if math.prod(rest) * count * site.b.batch != math.prod(other.shape):
            raise Unsupported(f"concat of {list(values[0].shape)} and {list(other.shape)} along axis {axis}")
        nodes.append(site.b.seen(placed.node, (count, *rest)))
    shape = list(values[0].shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    return Value(site.add("concat", *nodes), tuple(shape), arranged.axes)


def taken(site: Site, value: Value, axis: int, indices: Sequence[int]) -> Value:
    """The values at some indices, at least one, along an axis, in that order."""
    if (along := progression(indices)) is not None:
        return sliced(site, value, {axis: along})
    refuse_batch(site, axis)
    sides = around(site, value, axis)
    shape = tuple(len(indices) if i == axis else s for i, s in enumerate(value.shape))
    if sides[0] == 1:
        node = site.b.seen(value.node, first_axis(site, value.node, sides[1]))
        return Value(site.add("take", node, indices=tuple(indices)), shape, value.axes)
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


def refuse_batch(site: Site, axis: int) -> None:
    if axis == 0 and site.b.batch > 1:
        raise Unsupported("a part of the batch")


def around(site: Site, value: Value, axis: int) -> tuple[int, int, int]:
    """An image in which an axis lies between all that are stored before it, and all after it."""
    j = value.axes[axis]
    outer = math.prod(value.stored[:j]) // (site.b.batch if site.b.batch > 1 else 1)
    return outer, value.stored[j], math.prod(value.stored[j + 1 :])


def first_axis(site: Site, node: str, size: int) -> Shape:
    """Dims whose first one has that size: those that the node has, if they do."""
    dims = site.b.shape(node)[1:]
    if dims[0] == size:
        return dims
    rest = math.prod(dims) // size
    return (size,) if rest == 1 else (size, 1, rest)


def sliced(site: Site, value: Value, ranges: Mapping[int, range]) -> Value:
    """Evenly spaced positions along some axes: a `slice` of the first one, a `crop` of rows and columns, else a
    `strided_slice`."""
    ranges = {axis: along for axis, along in ranges.items() if along != range(value.shape[axis])}
    if not ranges:
        return value
    if 0 in ranges:
        refuse_batch(site, 0)
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


def cropped(site: Site, value: Value, ranges: Mapping[int, range]) -> Value | None:
    """Of rows and columns of an image."""
    shape = site.b.shape(value.node)
    if value.stored != shape or len(shape) != 4 or any(value.axes[axis] < 2 for axis in ranges):
        return None
    rows, columns = (ranges.get(value.order[j], range(shape[j])) for j in (2, 3))
    height, width = len(rows), len(columns)
    node = site.add("crop", value.node, top=rows.start, left=columns.start, height=height, width=width)
    return Value(node, remaining(value, ranges), value.axes)


def first_part(site: Site, value: Value, axis: int, along: range) -> Value | None:
    """Of the axis that is stored first: the channels."""
    outer, size, _ = around(site, value, axis)
    if outer > 1:
        return None
    node = site.b.seen(value.node, first_axis(site, value.node, size))
    made = site.add("slice", node, start=along.start, stop=along.stop)
    return Value(made, remaining(value, {axis: along}), value.axes)


def strided(site: Site, value: Value, ranges: Mapping[int, range]) -> Value:
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


def grouped(site: Site, value: Value, ranges: Mapping[int, range]) -> list[tuple[int, range]]:
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


def cut(site: Site) -> Tensor:
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


def gather(site: Site) -> Tensor:
    """With known indices."""
    value, indices = site.value(0), site.const(1, "the indices")
    axis = axis_of(site.integer("axis", 0), len(value.shape))
    size = value.shape[axis]
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


def split(site: Site) -> list[Tensor]:
    """Several results."""
    value = site.value(0)
    axis = axis_of(site.integer("axis", 0), len(value.shape))
    size, count = value.shape[axis], len(site.node.output)
    if site.integer("num_outputs", count) != count:
        raise Unsupported(f"attribute num_outputs: expected {count}, as many as there are results")
    each = -(-size // count)
    equal = tuple(max(0, min(each, size - i * each)) for i in range(count))
    sizes = site.ints_or(1, "split", equal, count, 0, size) or ()
    if sum(sizes) != size:
        raise Unsupported(f"split: {list(sizes)} of an axis of {size}")
    starts = [sum(sizes[:i]) for i in range(count)]
    return [part(site, value, axis, range(a, a + n)) for a, n in zip(starts, sizes, strict=True)]


def part(site: Site, value: Value, axis: int, along: range) -> Tensor:
    """One of several results; one without values is known."""
    return sliced(site, value, {axis: along}) if along else np.zeros(remaining(value, {axis: along}), np.float32)


def regrouped(site: Site, value: Value, split: Shape, axes: Shape, dims: tuple[int, int, int]) -> Value:
    """A permute of every image (c, h, w)."""
    images = value.shape[0] // site.b.batch
    if images > 1:
        split, axes = (images, *split), (0, *(a + 1 for a in axes))
    node = site.b.plain(value, f"{site.hint}.t")
    made = site.add("permute", node, split=split, axes=axes, dims=(images * dims[0], *dims[1:]))
    return plain_value(made, (value.shape[0], *dims))


def depth_to_space(site: Site) -> Tensor:
    """Channels to pixels; DCR has the pixel outermost, CRD innermost."""
    value, b = site.value(0, [4]), site.integer("blocksize", low=1)
    _, c, h, w = value.shape
    if c % (b * b):
        raise Unsupported(f"attribute blocksize: {b} x {b} pixels of {c} channels")
    few = c // (b * b)
    inner = site.choice("mode", DEPTH_MODES, "DCR") == "CRD"
    split, axes = ((few, b, b, h, w), (0, 3, 1, 4, 2)) if inner else ((b, b, few, h, w), (2, 3, 0, 4, 1))
    return regrouped(site, value, split, axes, (few, h * b, w * b))


def space_to_depth(site: Site) -> Tensor:
    """Pixels to channels; DCR has the pixel outermost, CRD innermost."""
    value, b = site.value(0, [4]), site.integer("blocksize", low=1)
    _, c, h, w = value.shape
    if h % b or w % b:
        raise Unsupported(f"attribute blocksize: an image of {h}x{w} in blocks of {b}x{b}")
    inner = site.choice("mode", DEPTH_MODES, "DCR") == "CRD"
    axes = (0, 2, 4, 1, 3) if inner else (2, 4, 0, 1, 3)
    return regrouped(site, value, (c, h // b, b, w // b, b), axes, (b * b * c, h // b, w // b))


RULES: Mapping[str, Callable[[Site], Tensor | list[Tensor]]] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Slice": cut,
    "Gather": gather,
    "Split": split,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
"""Of one result, `split` of several."""
