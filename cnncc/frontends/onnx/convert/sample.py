"""ONNX ops that read an image at computed places: GridSample, AffineGrid, DeformConv, RoiAlign."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnncc.frontends.onnx.convert.pointwise import combined, with_known
from cnncc.frontends.onnx.convert.shapes import joined, viewed
from cnncc.frontends.onnx.convert.slices import taken
from cnncc.frontends.onnx.convert.windows import SlidingWindow, window
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, plain_value, refuse_many

MODES = ("linear", "nearest", "cubic", "bilinear", "bicubic")
OUTSIDE = ("zeros", "border", "reflection")


def grid_sample(site: OnnxSite) -> Tensor:
    """Of an image or a volume; the places lie (.., x, y, z)."""
    x, grid = site.value(0, (4, 5)), site.value(1, (4, 5))
    mode = site.choice("mode", MODES, "linear").removeprefix("bi")
    place = "align_corners" if site.flag("align_corners") else "half_pixel"
    outside = site.choice("padding_mode", OUTSIDE, "zeros")
    axes = len(x.shape) - 2
    if len(grid.shape) != axes + 2 or grid.shape[-1] != axes or grid.shape[0] != x.shape[0]:
        raise Unsupported(f"a grid of shape {list(grid.shape)} for a tensor of shape {list(x.shape)}")
    node, depth = stacked(site, x)
    places = site.b.arrange(grid, (0, axes + 1, *range(1, axes + 1)), f"{site.hint}.grid")
    *rows, width = grid.shape[1:-1]
    seen = site.b.seen(places.node, (axes, math.prod(rows), width), f"{site.hint}.grid")
    made = site.add("sample", node, seen, mode=mode, outside=outside, place=place, depth=depth)
    return plain_value(made, (*x.shape[:2], *grid.shape[1:-1]))


def stacked(site: OnnxSite, x: Value) -> tuple[str, int]:
    """An image as it is; the slices of a volume one below the other, and their number."""
    if len(x.shape) == 4:
        return site.b.image(x, f"{site.hint}.in"), 1
    if x.shape[0] != site.b.batch:
        raise Unsupported(f"needs a batch of {site.b.batch}, got {list(x.shape)}")
    _, c, depth, h, w = x.shape
    return site.b.seen(site.b.plain(x, f"{site.hint}.in"), (c, depth * h, w)), depth


def affine_grid(site: OnnxSite) -> Tensor:
    """A product of the matrix with all places of the result."""
    size = site.ints(1, "the size", low=1)
    axes = len(size) - 2
    theta = site.value(0, (3,))
    if axes not in (2, 3) or theta.shape != (size[0], axes, axes + 1) or size[0] != site.b.batch:
        raise Unsupported(f"matrices of shape {list(theta.shape)} for a size of {list(size)}")
    refuse_many((axes + 1) * math.prod(size[2:]))
    lines = [line(n, site.flag("align_corners")) for n in size[2:]]
    places = np.stack([*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(size[2:])])
    known = site.b.add(
        "const",
        [],
        f"{site.hint}.places",
        [places.reshape(1, 1, axes + 1, -1)],
        dims=(1, axes + 1, math.prod(size[2:])),
    )
    matrix = site.b.seen(site.b.plain(theta), (1, axes, axes + 1))
    return Value(site.add("matmul", matrix, known), (size[0], *size[2:], axes), (0, *range(2, axes + 2), 1))


def line(count: int, align_corners: bool) -> np.ndarray:
    """Places along an axis: from corner to corner, or the centres of equal parts of -1 to 1."""
    if align_corners:
        return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    return (2 * np.arange(count) + 1) / count - 1


def deform_conv(site: OnnxSite) -> Tensor:
    """The taps of all windows sampled where their offsets move them to, then a 1x1 convolution (Dai et al. 2017)."""
    x, weight, offset = site.value(0, (4,)), site.const(1, "the filter"), site.value(2, (4,))
    if weight.ndim != 4:
        raise Unsupported(f"a convolution along {weight.ndim - 2} axes")
    made = window(site, x.shape[2:], weight.shape[2:])
    parts = site.integer("offset_group", 1, low=1, high=x.shape[1])
    groups, taps = site.integer("group", 1, low=1, high=x.shape[1]), math.prod(weight.shape[2:])
    size = counted(made, x.shape[2:])
    n, channels = x.shape[:2]
    if channels % parts or offset.shape != (n, parts * taps * 2, *size) or weight.shape[1] * groups != channels:
        shapes = f"{list(x.shape)}, filter {list(weight.shape)}, offsets {list(offset.shape)}"
        raise Unsupported(f"shapes that do not fit: {shapes}")
    moved = taken(site, viewed(site, offset, (n, parts, taps, 2, *size)), 3, (1, 0))
    moved = with_known(site, "add", moved, tap_places(made, size))
    masks = viewed(site, site.value(4, (4,)), (n, parts, taps, *size)) if site.has(4) else None
    arms = []
    for part, own in enumerate(np.split(np.arange(channels), parts)):
        arm = sampled_taps(site, taken(site, x, 1, own.tolist()), taken(site, moved, 1, [part]))
        arms.append(arm if masks is None else combined(site, "mul", arm, taken(site, masks, 1, [part])))
    columns = site.b.seen(site.b.plain(joined(site, arms, 1)), (channels * taps, *size))
    flat = weight.reshape(weight.shape[0], -1, 1, 1)
    bias = [site.vector(3, "the bias", weight.shape[0])] if site.has(3) else []
    settings = {"kernel": (1, 1), "pad": (0, 0, 0, 0), "groups": groups, "bias": bool(bias), "out": len(weight)}
    return site.plain(site.add("conv", columns, weights=[flat, *bias], **settings), (n, len(weight), *size))


def counted(made: SlidingWindow, sizes: Sequence[int]) -> tuple[int, int]:
    """Windows along both axes."""
    room = [s + made.begin[i] + made.end[i] - made.span(i) for i, s in enumerate(sizes)]
    if min(room) < 0:
        raise Unsupported(f"windows of {[made.span(0), made.span(1)]} on an image of {list(sizes)}")
    return room[0] // made.stride[0] + 1, room[1] // made.stride[1] + 1


def tap_places(made: SlidingWindow, size: tuple[int, int]) -> np.ndarray:
    """Where taps lie before they are moved, in pixels, (1, 1, taps, 2, oh, ow): x and y."""
    starts = [np.arange(count) * made.stride[i] - made.begin[i] for i, count in enumerate(size)]
    steps = [np.arange(kernel) * made.dilation[i] for i, kernel in enumerate(made.kernel)]
    y = starts[0][:, None] + steps[0][:, None, None, None]
    x = starts[1] + steps[1][:, None, None]
    shape = (*made.kernel, *size)
    both = np.stack([np.broadcast_to(x, shape), np.broadcast_to(y, shape)], axis=2)
    return both.reshape(1, 1, -1, 2, *size).astype(np.float32)


def sampled_taps(site: OnnxSite, x: Value, places: Value) -> Value:
    """Channels (n, c, h, w) at places (n, 1, taps, 2, oh, ow), as (n, c, taps, oh, ow)."""
    n, _, taps, _, oh, ow = places.shape
    grid = site.b.arrange(places, (0, 1, 3, 2, 4, 5), f"{site.hint}.places")
    seen = site.b.seen(grid.node, (2, taps * oh, ow), f"{site.hint}.places")
    made = site.add("sample", site.b.image(x, f"{site.hint}.in"), seen, place="pixels")
    return site.plain(made, (n, x.shape[1], taps, oh, ow))


def roi_align(site: OnnxSite) -> Tensor:
    """All regions of all images; the regions are the first axis of the result."""
    x, rois = site.value(0, (4,)), site.value(1, (2,))
    if site.b.batch > 1:
        raise Unsupported("regions are not images of a batch")
    (n, c, h, w), count = x.shape, rois.shape[0]
    if rois.shape[1] != 4:
        raise Unsupported(f"regions of shape {list(rois.shape)}: x1, y1, x2, y2 each")
    image = site.b.seen(site.b.plain(x, f"{site.hint}.in"), (n * c, h, w))
    inputs = [image, site.b.seen(site.b.plain(rois), (count, 1, 4))]
    if n > 1:
        inputs.append(site.b.seen(site.b.plain(site.value(2, (1,))), (count, 1, 1)))
    size = (site.integer("output_height", 1, low=1), site.integer("output_width", 1, low=1))
    place = "output_half_pixel"
    if site.opset >= 16:
        place = site.choice("coordinate_transformation_mode", ("half_pixel", place), "half_pixel")
    node = site.add(
        "roi_align",
        *inputs,
        size=size,
        mode=site.choice("mode", ("avg", "max"), "avg"),
        scale=site.number("spatial_scale", 1.0),
        samples=site.integer("sampling_ratio", 0, low=0, high=1 << 10),
        place=place,
        images=n,
    )
    return site.plain(node, (count, c, *size))


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "DeformConv": deform_conv,
    "RoiAlign": roi_align,
}
"""Of one result each."""
