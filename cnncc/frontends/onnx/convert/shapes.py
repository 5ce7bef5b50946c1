"""ONNX ops that move, join or only rename values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axes_of, axis_of, broadcast, plain_value
from cnncc.ir.rules import Shape

DEPTH_MODES = ("DCR", "CRD")


def viewed(site: OnnxSite, value: Value, shape: Sequence[int]) -> Value:
    """The same elements as another ONNX shape."""
    if math.prod(shape) != math.prod(value.shape):
        raise Unsupported(f"{list(value.shape)} does not reshape to {list(shape)}")
    if site.b.batch > 1 and (not shape or shape[0] != site.b.batch):
        raise Unsupported(f"a reshape that moves the batch of {site.b.batch}: {list(shape)}")
    return plain_value(site.b.plain(value, f"{site.hint}.t", site.b.dims(shape)), shape)


def reshape(site: OnnxSite) -> Tensor:
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


def flatten(site: OnnxSite) -> Tensor:
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


def squeeze(site: OnnxSite) -> Tensor:
    value = site.value(0)
    given = site.ints_or(1, "axes")
    rank = len(value.shape)
    axes = [i for i, s in enumerate(value.shape) if s == 1] if given is None else axes_of(given, rank)
    if any(value.shape[a] != 1 for a in axes):
        raise Unsupported(f"squeezes an axis that is not 1: {list(value.shape)}")
    return guarded(site, without(value, axes))


def guarded(site: OnnxSite, value: Value) -> Value:
    """The value, unless an axis was added or lost in front of the batch."""
    site.b.per_image(value.shape)
    return value


def unsqueeze(site: OnnxSite) -> Tensor:
    value, given = site.value(0), site.ints_or(1, "axes") or ()
    rank = len(value.shape) + len(given)
    new = axes_of(given, rank)
    old = iter(range(len(value.shape)))
    source = [None if i in new else next(old) for i in range(rank)]
    shape = tuple(1 if i is None else value.shape[i] for i in source)
    after = iter(range(len(value.shape), rank))
    return guarded(site, Value(value.node, shape, tuple(next(after) if i is None else value.axes[i] for i in source)))


def transpose(site: OnnxSite) -> Tensor:
    """Only noted: what needs the order asks for it."""
    value = site.value(0)
    rank = len(value.shape)
    order = site.integers("perm", range(rank)[::-1], rank, 0, rank - 1)
    axes_of(order, rank)
    return Value(value.node, tuple(value.shape[i] for i in order), tuple(value.axes[i] for i in order))


def expand(site: OnnxSite) -> Tensor:
    value, wanted = site.value(0), site.ints(1, "the shape", low=1)
    return site.b.expand(value, broadcast(value.shape, wanted), site.hint)


def tile(site: OnnxSite) -> Tensor:
    """Each axis repeated as an axis of its own in front of it."""
    value = site.value(0)
    repeats = site.ints(1, "the repeats", len(value.shape), low=1)
    site.b.fits([s * times for s, times in zip(value.shape, repeats, strict=True)])
    for axis, times in enumerate(repeats):
        if times != 1:
            shape = value.shape
            seen = viewed(site, value, (*shape[:axis], 1, *shape[axis:]))
            more = site.b.expand(seen, (*shape[:axis], times, *shape[axis:]), site.hint)
            value = viewed(site, more, (*shape[:axis], times * shape[axis], *shape[axis + 1 :]))
    return value


# Joining and cutting


def concat(site: OnnxSite) -> Tensor:
    """Along the channels, which the axis is made where it is another one."""
    shapes = [list(site.tensor_at(i).shape) for i in range(len(site.names))]
    axis = axis_of(site.integer("axis", 1), len(shapes[0]))
    rest = {(*shape[:axis], 0, *shape[axis + 1 :]) for shape in shapes}
    if len(rest) > 1 or len(set(map(len, shapes))) > 1:
        raise Unsupported(f"concat of {' and '.join(map(str, shapes))} along axis {axis}")
    full = [i for i, shape in enumerate(shapes) if shape[axis]]  # what has no elements adds none
    return joined(site, [site.value(i) for i in full or range(1)], axis)


def joined(site: OnnxSite, values: Sequence[Value], axis: int) -> Value:
    site.b.refuse_batch(values[0], axis)
    if len(values) == 1:
        return values[0]
    first = site.b.first(values[0], axis, site.hint)
    placed = [first, *(site.b.arrange(other, first.order) for other in values[1:])]
    nodes = as_channels(site, placed, axis) or as_axis(site, placed, axis)
    shape = list(first.shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    return Value(site.add("concat", *nodes), tuple(shape), first.axes)


def as_channels(site: OnnxSite, values: Sequence[Value], axis: int) -> list[str]:
    """The nodes as they are, if all have the same channels for each index of the axis, and images of one size; else
    none."""
    shapes = [site.b.shape(v.node) for v in values]
    each = {site.b.channels_each(v.node, v.shape[axis]) for v in values}
    alike = len(each) == 1 and 0 not in each and len({shape[2:] for shape in shapes}) == 1
    return [v.node for v in values] if alike else []


def as_axis(site: OnnxSite, values: Sequence[Value], axis: int) -> list[str]:
    """Nodes that have the axis as their channels."""
    first = values[0]
    nodes = [site.b.split(first.node, first.shape[axis], site.hint)]
    dims = site.b.shape(nodes[0])[1:]
    rest = dims[1:] if len(dims) == 3 else ()
    for other in values[1:]:
        count = other.shape[axis]
        if math.prod(rest) * count * site.b.batch != math.prod(other.shape):
            raise Unsupported(f"concat of {list(first.shape)} and {list(other.shape)} along axis {axis}")
        nodes.append(site.b.seen(other.node, (count, *rest)))
    return nodes


def regrouped(site: OnnxSite, value: Value, split: Shape, axes: Shape, dims: tuple[int, int, int]) -> Value:
    """A permute of every image (c, h, w)."""
    images = value.shape[0] // site.b.batch
    if images > 1:
        split, axes = (images, *split), (0, *(a + 1 for a in axes))
    node = site.b.plain(value, f"{site.hint}.t")
    made = site.add("permute", node, split=split, axes=axes, dims=(images * dims[0], *dims[1:]))
    return plain_value(made, (value.shape[0], *dims))


def depth_to_space(site: OnnxSite) -> Tensor:
    """Channels to pixels; DCR has the pixel outermost, CRD innermost."""
    value, b = site.value(0, [4]), site.integer("blocksize", low=1)
    _, c, h, w = value.shape
    if c % (b * b):
        raise Unsupported(f"attribute blocksize: {b} x {b} pixels of {c} channels")
    few = c // (b * b)
    inner = site.choice("mode", DEPTH_MODES, "DCR") == "CRD"
    split, axes = ((few, b, b, h, w), (0, 3, 1, 4, 2)) if inner else ((b, b, few, h, w), (2, 3, 0, 4, 1))
    return regrouped(site, value, split, axes, (few, h * b, w * b))


def space_to_depth(site: OnnxSite) -> Tensor:
    """Pixels to channels; DCR has the pixel outermost, CRD innermost."""
    value, b = site.value(0, [4]), site.integer("blocksize", low=1)
    _, c, h, w = value.shape
    if h % b or w % b:
        raise Unsupported(f"attribute blocksize: an image of {h}x{w} in blocks of {b}x{b}")
    inner = site.choice("mode", DEPTH_MODES, "DCR") == "CRD"
    axes = (0, 2, 4, 1, 3) if inner else (2, 4, 0, 1, 3)
    return regrouped(site, value, (c, h // b, b, w // b, b), axes, (b * b * c, h // b, w // b))


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
"""Of one result each."""
