"""Convolutions of ONNX: along one to three axes, of any number of images, with known filters or computed ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx.convert import windows
from cnncc.frontends.onnx.convert.frames import (
    Frames,
    Side,
    convolved,
    frames_of,
    per_tap,
    result_of,
    seen_through,
    spread,
    spread_through,
    with_zeros,
)
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.convert.windows import (
    Numbers,
    SlidingWindow,
    check_filter,
    filtered,
    parts,
    transposed_window,
    window,
)
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, plain_value

MOST_AXES = 3


def sides_of(made: SlidingWindow, sizes: Numbers, more: Numbers = ()) -> tuple[Side, Side, Side]:
    """A window along depth, rows and columns; the axes that it does not have are trivial. Padding below 0 at the end
    of a transposed one is a longer result."""
    found = [
        Side(size, kernel, stride, dilation, begin, max(0, end), extra + max(0, -end))
        for size, kernel, stride, dilation, begin, end, extra in zip(
            sizes, *parts(made), more or (0,) * len(sizes), strict=True
        )
    ]
    depth, rows, across = [Side(1)] * (MOST_AXES - len(found)) + found
    return depth, rows, across


def is_plain(site: OnnxSite, x: Value) -> bool:
    """Whether a value is what the network's own ops take: an image, or a row, for each of the batch."""
    return len(x.shape) <= 4 and x.shape[0] == site.b.batch


def groups_of(site: OnnxSite, x: Value) -> int:
    return site.integer("group", 1, low=1, high=x.shape[1])


def bias_of(site: OnnxSite, out: int) -> list[np.ndarray]:
    return [site.vector(2, "the bias", out)] if site.has(2) else []


def conv(site: OnnxSite) -> Tensor:
    """Along up to three axes."""
    filters = site.tensor_at(1)
    if isinstance(filters, Value):
        return by_computed(site, site.value(0), filters)
    x, weight = filtered(site, "a convolution")
    if is_plain(site, x):
        return windows.conv(site)
    sizes = x.shape[2:]
    depth, rows, columns = sides_of(window(site, sizes, weight.shape[2:]), sizes)
    shape = [side.windows for side in (depth, rows, columns)]
    found = frames_of(site, x, depth.size, rows.size * columns.size)
    if found.images == 1 and rows.trivial and columns.trivial:
        # Along the depth alone: frames are rows.
        found = Frames(found.node, found.channels, 1, 1, depth.size * found.plane)
        depth, rows, columns = Side(1), depth, Side(found.plane // depth.size)
    seen = seen_through(site, found, depth)
    weight = weight.reshape(*weight.shape[:2], depth.kernel, rows.kernel, columns.kernel)
    settings = {"out": len(weight), "groups": groups_of(site, x), "bias": site.has(2)}
    node = convolved(site, seen, rows, columns, weights=[per_tap(weight), *bias_of(site, len(weight))], **settings)
    return result_of(site, node, x, len(weight), shape[MOST_AXES - len(sizes) :])


def conv_transpose(site: OnnxSite) -> Tensor:
    """Along up to three axes; filters along the depth are turned, since its taps are read and not written."""
    filters = site.tensor_at(1)
    if isinstance(filters, Value):
        return transposed_by_computed(site, site.value(0), filters)
    x, weight = filtered(site, "a transposed convolution")
    if is_plain(site, x):
        return windows.conv_transpose(site)
    sizes = x.shape[2:]
    depth, rows, columns = sides = sides_of(*spread_window(site, sizes, weight.shape[2:]))
    found = spread_through(site, frames_of(site, x, depth.size, rows.size * columns.size), depth)
    groups = groups_of(site, x)
    taps = weight.reshape(*weight.shape[:2], depth.kernel, rows.kernel, columns.kernel)[:, :, ::-1]
    filters = taps.swapaxes(1, 2).reshape(len(weight) * depth.kernel, -1, *taps.shape[3:])
    out = weight.shape[1] * groups
    settings = {"out": out, "groups": groups, "bias": site.has(2)}
    node = spread(site, found, rows, columns, weights=[filters, *bias_of(site, out)], **settings)
    return result_of(site, node, x, out, [side.spread for side in sides][MOST_AXES - len(sizes) :])


def spread_window(site: OnnxSite, sizes: Numbers, kernel: Numbers) -> tuple[SlidingWindow, Numbers, Numbers]:
    made, more = transposed_window(site, sizes, kernel)
    return made, sizes, more


def by_computed(site: OnnxSite, x: Value, filters: Value) -> Value:
    """Filters (out, c, ...) that are computed."""
    check_filter(site, x.shape, filters.shape, "a convolution")
    sizes, groups = x.shape[2:], groups_of(site, x)
    out, each, *kernel = filters.shape
    if each * groups != x.shape[1] or out % groups:
        raise Unsupported(f"{groups} groups of filters {list(filters.shape)} on {x.shape[1]} channels")
    sides = sides_of(window(site, sizes, tuple(kernel)), sizes)
    found = frames_of(site, x, sides[0].size, sides[1].size * sides[2].size)
    return filtered_by(site, x, found, sides, site.b.plain(filters), out)


def transposed_by_computed(site: OnnxSite, x: Value, filters: Value) -> Value:
    """Filters (c, out, ...) of a transposed convolution that are computed: those of a convolution, turned, on an image
    with zeros between its pixels."""
    check_filter(site, x.shape, filters.shape, "a transposed convolution")
    sizes, groups = x.shape[2:], groups_of(site, x)
    channels, each, *kernel = filters.shape
    if channels != x.shape[1] or channels % groups:
        raise Unsupported(f"{groups} groups of filters {list(filters.shape)} on {x.shape[1]} channels")
    depth, rows, columns = sides_of(*spread_window(site, sizes, tuple(kernel)))
    if not depth.trivial:
        raise Unsupported("computed filters of a transposed convolution along three axes", [site.names[1]])
    found = frames_of(site, x, 1, rows.size * columns.size)
    made, rows, columns = with_zeros(site, found, rows, columns)
    taps = math.prod(kernel)
    turned = site.b.seen(site.b.plain(filters), (channels * each, 1, taps))
    turned = site.add("strided_slice", turned, dims=(channels * each, 1, taps), start=(0, 0, taps - 1), step=(1, 1, -1))
    split, dims = (groups, channels // groups, each, taps), (groups, each, channels // groups * taps)
    turned = site.add("permute", turned, split=split, axes=(0, 2, 1, 3), dims=dims)
    return filtered_by(site, x, made, (depth, rows, columns), turned, each * groups)


def filtered_by(
    site: OnnxSite, x: Value, found: Frames, sides: tuple[Side, Side, Side], filters: str, out: int
) -> Value:
    """A convolution with filters that are a node's: the windows as columns, times the filters as rows, group by
    group."""
    if site.b.batch > 1:
        raise Unsupported("computed filters that serve all images of a batch")
    depth, rows, columns = sides
    groups, taps = groups_of(site, x), depth.kernel * rows.kernel * columns.kernel
    node = taps_as_channels(site, seen_through(site, found, depth), rows, columns)
    shape = [side.windows for side in sides]
    each = found.channels // groups * taps
    left = site.b.seen(filters, (groups, out // groups, each))
    right = site.b.seen(node, (groups, each, found.images * math.prod(shape)))
    result = result_of(site, site.add("matmul", left, right), x, out, shape[MOST_AXES - len(x.shape) + 2 :])
    return with_bias(site, result)


def taps_as_channels(site: OnnxSite, x: Frames, rows: Side, columns: Side) -> str:
    """What the windows of every frame see: channels, taps, then frames and places."""
    taps = rows.kernel * columns.kernel
    if rows.trivial and columns.trivial:
        return x.node
    node = site.b.seen(x.node, (x.channels * x.count, rows.size, columns.size))
    pad = (rows.begin, columns.begin, rows.end, columns.end)
    stride, dilation = (rows.stride, columns.stride), (rows.dilation, columns.dilation)
    node = site.add("unfold", node, kernel=(rows.kernel, columns.kernel), stride=stride, pad=pad, dilation=dilation)
    if x.count == 1 or taps == 1:
        return node
    places = rows.windows * columns.windows
    split, dims = (x.channels, x.count, taps, places), (x.channels * taps, x.count, places)
    return site.add("permute", node, split=split, axes=(0, 2, 1, 3), dims=dims)


def with_bias(site: OnnxSite, result: Value) -> Value:
    """One number for each channel, known or computed."""
    if not site.has(2):
        return result
    bias = site.tensor_at(2)
    column = (result.shape[1], *(1,) * (len(result.shape) - 2))
    if isinstance(bias, Value):
        return combined(site, "add", result, plain_value(site.b.plain(bias), column))
    return combined(site, "add", result, site.vector(2, "the bias", column[0]).reshape(column))


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {"Conv": conv, "ConvTranspose": conv_transpose}
"""Of one result each."""
