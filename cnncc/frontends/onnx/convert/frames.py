"""Images that lie behind one another, and windows that reach over several of them.

The network has images (c, h, w). A convolution along three axes, or of several images at once (n x t of them, say,
where the network's batch is n), is one of a single tall image here: the frames of every channel lie one below the
other, with rows of zeros between them. What a window sees of several frames becomes channels first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.frontends.onnx.site import OnnxSite
from cnncc.frontends.onnx.values import Unsupported, Value, plain_value


@dataclass(frozen=True)
class Side:
    """A window along one axis of an input of `size`; `more` positions follow the result of a transposed one."""

    size: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    end: int = 0
    more: int = 0

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def trivial(self) -> bool:
        """Whether each position becomes one."""
        return (self.kernel, self.stride, self.begin, self.end, self.more) == (1, 1, 0, 0, 0)

    @property
    def windows(self) -> int:
        """Results of a convolution; Unsupported if there are none."""
        room = self.begin + self.size + self.end - self.span
        if room < 0:
            raise Unsupported(f"a window of {self.span} does not fit {self.size} with padding {self.begin}+{self.end}")
        return room // self.stride + 1

    @property
    def spread(self) -> int:
        """Results of a transposed convolution; Unsupported if there are none."""
        count = (self.size - 1) * self.stride + self.span - self.begin - self.end + self.more
        if count < 1:
            raise Unsupported(f"padding {self.begin}+{self.end} leaves nothing of {self.size}")
        return count


@dataclass(frozen=True)
class Frames:
    """`node` has `channels` images, each of `images` x `depth` frames of `plane` values."""

    node: str
    channels: int
    images: int
    depth: int
    plane: int

    @property
    def count(self) -> int:
        """Frames of one channel."""
        return self.images * self.depth


def frames_of(site: OnnxSite, x: Value, depth: int, plane: int) -> Frames:
    """The frames of (n, c, ...). Unsupported where the batch holds more images than the network's has: there
    `from_onnx` takes the whole batch for one image."""
    images, channels = x.shape[:2]
    rest = range(2, len(x.shape))
    if site.b.batch > 1:
        if images != site.b.batch:
            raise Unsupported(f"{images} images, in a network with a batch of {site.b.batch}")
        return Frames(site.b.plain(x, f"{site.hint}.in"), channels, 1, depth, plane)
    arranged = site.b.arrange(x, (1, 0, *rest), f"{site.hint}.in")
    return Frames(arranged.node, channels, images, depth, plane)


def result_of(site: OnnxSite, node: str, like: Value, channels: int, sizes: Sequence[int]) -> Value:
    """(n, channels, *sizes) of frames that are stored as `frames_of` arranges them."""
    shape = (like.shape[0], channels, *sizes)
    if site.b.batch > 1 or like.shape[0] == 1:
        return plain_value(node, shape)
    return Value(node, shape, (1, 0, *range(2, len(shape))))


def seen_through(site: OnnxSite, x: Frames, side: Side) -> Frames:
    """What each window along the depth sees, as channels: the taps of a channel follow each other."""
    if side.trivial:
        return x
    node = site.b.seen(x.node, (x.channels * x.images, x.depth, x.plane))
    node = site.add(
        "unfold",
        node,
        kernel=(side.kernel, 1),
        stride=(side.stride, 1),
        pad=(side.begin, 0, side.end, 0),
        dilation=(side.dilation, 1),
    )
    depth, taps = site.b.shape(node)[2], side.kernel
    channels = x.channels * taps
    if x.images > 1 and taps > 1:
        split = (x.channels, x.images, taps, depth * x.plane)
        node = site.add("permute", node, split=split, axes=(0, 2, 1, 3), dims=(channels, x.images * depth, x.plane))
    return Frames(node, channels, x.images, depth, x.plane)


def with_zeros(site: OnnxSite, x: Frames, rows: Side, columns: Side) -> tuple[Frames, Side, Side]:
    """Frames with zeros between their pixels, and the windows of steps of 1 that see in them what the transposed ones
    write."""
    count = x.channels * x.count
    node = x.node
    if columns.stride > 1:
        node = site.b.seen(node, (count * rows.size, columns.size, 1))
        node = site.add("pad", node, pad=(0, 0, 0, columns.stride - 1))
    width = columns.size * columns.stride
    if rows.stride > 1:
        node = site.b.seen(node, (count * rows.size, 1, width))
        node = site.add("pad", node, pad=(0, 0, rows.stride - 1, 0))
    (down, high), (across, wide) = (turned(side) for side in (rows, columns))
    node = site.b.seen(node, (count, rows.size * rows.stride, width))
    if (len(high), len(wide)) != site.b.shape(node)[2:]:
        start = (0, high.start, wide.start)
        node = site.add("strided_slice", node, dims=(count, len(high), len(wide)), start=start if any(start) else ())
    return Frames(node, x.channels, x.images, x.depth, len(high) * len(wide)), down, across


def turned(side: Side) -> tuple[Side, range]:
    """The window of steps of 1 that sees what a transposed one writes, its input with `stride - 1` zeros behind each
    position; and which of those positions it sees, where padding below 0 cuts some off."""
    size = side.size * side.stride
    before = side.span - 1 - side.begin
    after = side.spread - size - before + side.span - 1
    kept = range(max(0, -before), size - max(0, -after))
    return Side(len(kept), side.kernel, 1, side.dilation, max(0, before), max(0, after)), kept


def spread_through(site: OnnxSite, x: Frames, side: Side) -> Frames:
    """`seen_through` of a transposed window: frames of zeros between those of the input, taps in reverse."""
    if side.trivial:
        return x
    node, size, rows = x.node, x.depth * side.stride, x.channels * x.images
    if side.stride > 1:
        node = site.b.seen(node, (rows * x.depth, 1, x.plane))
        node = site.add("pad", node, pad=(0, 0, side.stride - 1, 0))
    window, kept = turned(side)
    node = site.b.seen(node, (rows, size, x.plane))
    if len(kept) < size:
        node = site.add("strided_slice", node, dims=(rows, len(kept), x.plane), start=(0, kept.start, 0))
    return seen_through(site, Frames(node, x.channels, x.images, len(kept), x.plane), window)


def convolved(site: OnnxSite, x: Frames, rows: Side, columns: Side, **settings: Any) -> str:
    """A convolution of every frame (rows.size, columns.size); a node of (out, frames, rows, columns)."""
    if x.count == 1 or rows.trivial:
        image = site.b.seen(x.node, (x.channels, x.count * rows.size, columns.size))
        return site.add("conv", image, **window(rows, columns), **settings)
    each = -(-(rows.begin + rows.size + rows.end) // rows.stride) * rows.stride
    node = with_rows(site, x, rows.size, columns.size, (rows.begin, each - rows.begin - rows.size))
    image = site.b.seen(node, (x.channels, x.count * each, columns.size))
    last = Side(each, rows.kernel, rows.stride, rows.dilation, 0, max(0, rows.span - rows.stride))
    made = site.add("conv", image, **window(last, columns), **settings)
    return first_rows(site, made, settings["out"] * x.count, 0, rows.windows)


def spread(site: OnnxSite, x: Frames, rows: Side, columns: Side, **settings: Any) -> str:
    """`convolved` by a transposed convolution."""
    if x.count == 1 or rows.trivial:
        image = site.b.seen(x.node, (x.channels, x.count * rows.size, columns.size))
        return site.add("conv_transpose", image, **window(rows, columns, spreads=True), **settings)
    whole = (rows.size - 1) * rows.stride + rows.span
    each = max(rows.size, -(-max(whole, rows.begin + rows.spread) // rows.stride))
    node = with_rows(site, x, rows.size, columns.size, (0, each - rows.size))
    image = site.b.seen(node, (x.channels, x.count * each, columns.size))
    tall = Side(each, rows.kernel, rows.stride, rows.dilation, more=max(0, rows.stride - rows.span))
    made = site.add("conv_transpose", image, **window(tall, columns, spreads=True), **settings)
    _, out, height, wide = site.b.shape(made)
    if height > x.count * each * rows.stride:
        made = site.add("strided_slice", made, dims=(out, x.count * each * rows.stride, wide))
    return first_rows(site, made, out * x.count, rows.begin, rows.spread)


def with_rows(site: OnnxSite, x: Frames, height: int, width: int, more: tuple[int, int]) -> str:
    """Every frame with rows of zeros above and below."""
    node = site.b.seen(x.node, (x.channels * x.count, height, width))
    return site.add("pad", node, pad=(more[0], 0, more[1], 0)) if any(more) else node


def first_rows(site: OnnxSite, node: str, frames: int, start: int, count: int) -> str:
    """`count` rows from `start` on of each of the frames that lie one below the other."""
    _, channels, height, width = site.b.shape(node)
    each = channels * height // frames
    seen = site.b.seen(node, (frames, each, width))
    if count == each:
        return seen
    return site.add("strided_slice", seen, dims=(frames, count, width), start=(0, start, 0) if start else ())


def window(rows: Side, columns: Side, spreads: bool = False) -> dict[str, Any]:
    """The attributes of a sliding window."""
    both = (rows, columns)
    more = {"output_pad": (rows.more, columns.more)} if spreads else {}
    return {
        "kernel": tuple(s.kernel for s in both),
        "stride": tuple(s.stride for s in both),
        "dilation": tuple(s.dilation for s in both),
        "pad": (rows.begin, columns.begin, rows.end, columns.end),
        **more,
    }


def per_tap(weight: np.ndarray) -> np.ndarray:
    """Filters (a, b, kd, kh, kw) for channels that are taps: (a, b * kd, kh, kw)."""
    a, b, kd, kh, kw = weight.shape
    return weight.reshape(a, b * kd, kh, kw)
