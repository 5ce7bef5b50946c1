"""Convolutions, pools and pads of ONNX, along one, two or (pools) more axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.frontends.onnx.convert.pointwise import with_known
from cnncc.frontends.onnx.convert.reduce import reduced
from cnncc.frontends.onnx.convert.slices import sliced
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axes_of, plain_value, refuse_many
from cnncc.ops.window import Axis, axes

Numbers = tuple[int, ...]
AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "")


@dataclass(frozen=True)
class SlidingWindow:
    """A sliding window along any number of axes; `begin` and `end` are the padding."""

    kernel: Numbers
    stride: Numbers
    dilation: Numbers
    begin: Numbers
    end: Numbers

    def span(self, i: int) -> int:
        return self.dilation[i] * (self.kernel[i] - 1) + 1

    def attrs(self, first: int = 0) -> dict[str, Any]:
        """The attributes of an op, for two axes from `first` on, or for the last one."""
        i, j = (first, first + 1) if first + 1 < len(self.kernel) else (None, first)

        def pair(values: Numbers, one: int) -> tuple[int, int]:
            return (one if i is None else values[i], values[j])

        (top, left), (bottom, right) = pair(self.begin, 0), pair(self.end, 0)
        return {
            "kernel": pair(self.kernel, 1),
            "stride": pair(self.stride, 1),
            "dilation": pair(self.dilation, 1),
            "pad": (top, left, bottom, right),
        }


def window(site: OnnxSite, sizes: Numbers, kernel: Numbers, transposed: bool = False) -> SlidingWindow:
    """The window of a node on an image of `sizes`; auto_pad becomes padding."""
    rank = len(sizes)
    ones = (1,) * rank
    stride, dilation = (site.integers(n, ones, rank, low=1) for n in ("strides", "dilations"))
    pads = site.integers("pads", (0,) * 2 * rank, 2 * rank, low=0)
    made = SlidingWindow(kernel, stride, dilation, pads[:rank], pads[rank:])
    auto = site.choice("auto_pad", AUTO, "NOTSET")
    if auto in ("NOTSET", "") or transposed:
        return made
    if auto == "VALID":
        return SlidingWindow(kernel, stride, dilation, (0,) * rank, (0,) * rank)
    total = [
        max(0, (-(-size // s) - 1) * s + made.span(i) - size)
        for i, (size, s) in enumerate(zip(sizes, stride, strict=True))
    ]
    less = tuple(t // 2 for t in total)
    more = tuple(t - t // 2 for t in total)
    return SlidingWindow(kernel, stride, dilation, *((less, more) if auto == "SAME_UPPER" else (more, less)))


def flat(array: np.ndarray) -> np.ndarray:
    """A filter of one axis as one of a row."""
    return array[:, :, None] if array.ndim == 3 else array


def conv(site: OnnxSite) -> Tensor:
    """Along one or two axes of an image; `convolutions.py` has the others."""
    x, weight = filtered(site, "a convolution")
    groups = site.integer("group", 1, low=1, high=x.shape[1])
    made = window(site, x.shape[2:], weight.shape[2:])
    weights = [flat(weight), *([site.vector(2, "the bias", weight.shape[0])] if site.has(2) else [])]
    node = site.add(
        "conv",
        site.b.image(x, f"{site.hint}.in"),
        weights=weights,
        out=weight.shape[0],
        groups=groups,
        bias=site.has(2),
        **made.attrs(),
    )
    return sized(site, node, x)


def filtered(site: OnnxSite, what: str) -> tuple[Value, np.ndarray]:
    """The tensor and the filter of a convolution, whose sizes are those of kernel_shape if that is there."""
    x, weight = site.value(0), site.const(1, "the filter")
    check_filter(site, x.shape, weight.shape, what)
    return x, weight


def check_filter(site: OnnxSite, shape: Numbers, filters: Numbers, what: str) -> None:
    """Unsupported unless filters (out, c, ...) of up to three axes can slide over a tensor of some shape."""
    if len(filters) not in (3, 4, 5):
        raise Unsupported(f"{what} along {len(filters) - 2} axes")
    if len(shape) != len(filters) or 0 in filters:
        raise Unsupported(f"a filter of shape {list(filters)} on a tensor of shape {list(shape)}")
    kernel = filters[2:]
    if site.integers("kernel_shape", kernel) != kernel:
        raise Unsupported(f"attribute kernel_shape: expected {list(kernel)}, the size of the filter")


def sized(site: OnnxSite, node: str, like: Value) -> Value:
    """A value (n, c, ...) of as many axes as another."""
    n, c, h, w = site.b.shape(node)
    return site.plain(node, (n, c, h, w) if len(like.shape) == 4 else (n, c, w))


def conv_transpose(site: OnnxSite) -> Tensor:
    """The adjoint, along one or two axes of an image; output_shape and auto_pad become padding."""
    x, weight = filtered(site, "a transposed convolution")
    groups = site.integer("group", 1, low=1, high=x.shape[1])
    made, more = transposed_window(site, x.shape[2:], weight.shape[2:])
    extra = [max(0, -e) for e in made.end]
    more = tuple(m + e for m, e in zip(more, extra, strict=True))
    made = SlidingWindow(made.kernel, made.stride, made.dilation, made.begin, tuple(max(0, e) for e in made.end))
    weights = [flat(weight), *([site.vector(2, "the bias", weight.shape[1] * groups)] if site.has(2) else [])]
    node = site.add(
        "conv_transpose",
        site.b.image(x, f"{site.hint}.in"),
        weights=weights,
        out=weight.shape[1] * groups,
        groups=groups,
        bias=site.has(2),
        output_pad=more if len(more) == 2 else (0, *more),
        **made.attrs(),
    )
    return sized(site, node, x)


def shared_out(padding: int, upper: bool) -> tuple[int, int]:
    """Padding in front and behind; a result that is larger than all taps reach, which is less than none, has its zeros
    behind."""
    if padding < 0:
        return 0, padding
    less, rest = padding // 2, padding - padding // 2
    return (less, rest) if upper else (rest, less)


def transposed_window(site: OnnxSite, sizes: Numbers, kernel: Numbers) -> tuple[SlidingWindow, Numbers]:
    """The window and the output padding."""
    made = window(site, sizes, kernel, transposed=True)
    rank = len(sizes)
    more = site.integers("output_padding", (0,) * rank, rank, low=0)
    auto = site.choice("auto_pad", AUTO, "NOTSET")
    wanted = site.integers("output_shape", low=1) if site.gives("output_shape") else None
    full = [(size - 1) * made.stride[i] + made.span(i) + more[i] for i, size in enumerate(sizes)]
    if wanted is None and auto not in ("SAME_UPPER", "SAME_LOWER"):
        return made, more
    if wanted is not None and len(wanted) not in (rank, rank + 2):
        raise Unsupported(f"attribute output_shape: expected {rank} whole numbers, got {list(wanted)}")
    shape = wanted[-rank:] if wanted else tuple(s * t for s, t in zip(sizes, made.stride, strict=True))
    total = [f - w for f, w in zip(full, shape, strict=True)]
    if wanted is None and min(total) < 0:
        raise Unsupported(
            f"auto_pad {auto} of a kernel below its stride: the standard and ONNX Runtime differ in the size"
        )
    sides = [shared_out(t, auto == "SAME_UPPER") for t in total]
    begin, end = (tuple(side[i] for side in sides) for i in (0, 1))
    return SlidingWindow(made.kernel, made.stride, made.dilation, begin, end), more


def pools(op: str) -> Callable[[OnnxSite], Tensor]:
    """maxpool or avgpool; along more than two axes two at a time, since both are separable."""

    def rule(site: OnnxSite) -> Tensor:
        x = site.value(0, range(3, 9))
        kernel = site.integers("kernel_shape", count=len(x.shape) - 2, low=1)
        made = window(site, x.shape[2:], kernel)
        attrs: dict[str, Any] = {"rounding": "ceil" if site.flag("ceil_mode") else "floor"}
        if op == "avgpool":
            attrs["count_include_pad"] = site.flag("count_include_pad")
        if len(kernel) <= 2:
            arranged, node = site.b.planes(x, len(kernel), f"{site.hint}.in")
            node = pool(site, op, node, made, 0, attrs)
            return Value(node, (*x.shape[:2], *site.b.shape(node)[-len(kernel) :]), arranged.axes)
        return pooled(site, op, x, made, attrs)

    return rule


def pool(site: OnnxSite, op: str, node: str, made: SlidingWindow, first: int, attrs: dict[str, Any]) -> str:
    settings = made.attrs(first)
    if op == "sum":
        return window_sum(site, node, made, first, attrs)
    if op == "avgpool":
        if any(d > 1 for d, k in zip(settings["dilation"], settings["kernel"], strict=True) if k > 1):
            return dilated_average(site, node, {**settings, **attrs})
        del settings["dilation"]
    return site.add(op, node, **settings, **attrs)


def window_sum(site: OnnxSite, node: str, made: SlidingWindow, first: int, attrs: dict[str, Any]) -> str:
    """The sum of each window: a depthwise convolution with ones."""
    settings, channels = made.attrs(first), site.b.shape(node)[1]
    refuse_many(channels * math.prod(settings["kernel"]))
    ones = np.ones((channels, 1, *settings["kernel"]), np.float32)
    return site.add("conv", node, weights=[ones], out=channels, groups=channels, bias=False, **settings, **attrs)


def pooled(site: OnnxSite, op: str, x: Value, made: SlidingWindow, attrs: dict[str, Any]) -> Value:
    """Windows along three axes or more: the last two, then each of the others with what follows it as columns."""
    n, c, *sizes = x.shape
    c *= n // site.b.batch
    rank = len(sizes)
    node = site.b.seen(site.b.plain(x), (c * math.prod(sizes[:-2]), sizes[-2], sizes[-1]))
    node = pool(site, op, node, made, rank - 2, attrs)
    sizes[-2:] = site.b.shape(node)[2:]
    for i in reversed(range(rank - 2)):
        before, after = c * math.prod(sizes[:i]), math.prod(sizes[i + 1 :])
        one = SlidingWindow(
            *((values[i], trivial) for values, trivial in zip(parts(made), (1, 1, 1, 0, 0), strict=True))
        )
        node = pool(site, op, site.b.seen(node, (before, sizes[i], after)), one, 0, attrs)
        sizes[i] = site.b.shape(node)[2]
    return site.plain(node, (*x.shape[:2], *sizes))


def parts(made: SlidingWindow) -> tuple[Numbers, ...]:
    return made.kernel, made.stride, made.dilation, made.begin, made.end


def dilated_average(site: OnnxSite, node: str, attrs: dict[str, Any]) -> str:
    """A mean over pixels that lie apart: a depthwise convolution with ones, over how many pixels it saw."""
    settings = dict(attrs)
    counts_pads = settings.pop("count_include_pad")
    channels = site.b.shape(node)[1]
    site.b.reserve(channels * math.prod(settings["kernel"]))
    weight = np.ones((channels, 1, *settings["kernel"]), np.float32)
    total = site.add("conv", node, weights=[weight], groups=channels, out=channels, bias=False, **settings)
    site.b.room_for(math.prod(site.b.shape(total)[1:]))
    sides = zip(axes(site.b.shape(node), site.b.nodes[total].attrs), site.b.shape(total)[2:], strict=True)
    count = np.multiply.outer(*(seen(axis, places, counts_pads) for axis, places in sides))
    if not count.all():
        raise Unsupported("a window of padding alone")
    value = plain_value(total, site.b.shape(total))
    return with_known(site, "mul", value, (1 / count).astype(np.float32)).node


def seen(axis: Axis, places: int, counts_pads: bool) -> np.ndarray:
    """How many positions that count each window along an axis sees."""
    starts = np.arange(places) * axis.stride - axis.before
    first, end = (-axis.before, axis.size + axis.after) if counts_pads else (0, axis.size)
    upto = (np.clip(-((starts - bound) // axis.dilation), 0, axis.kernel) for bound in (end, first))
    return np.subtract(*upto)


def whole(op: str) -> Callable[[OnnxSite], Tensor]:
    """A pool over all positions."""

    def rule(site: OnnxSite) -> Tensor:
        x = site.value(0)
        if len(x.shape) < 3:
            raise Unsupported(f"needs an image, got {list(x.shape)}")
        if x.shape[0] != site.b.batch:
            return reduced(site, op, x, tuple(range(2, len(x.shape))))
        node = site.b.plain(x)
        shape = site.b.shape(node)
        if len(shape) != 4 or shape[1] != x.shape[1]:
            node = site.b.seen(node, (x.shape[1], 1, math.prod(x.shape[2:])))
        return site.plain(site.add(op, node), (*x.shape[:2], *(1,) * (len(x.shape) - 2)))

    return rule


def pad(site: OnnxSite) -> Tensor:
    """Padding of height and width; negative amounts cut. Of other axes: with zeros or another number only."""
    x = site.value(0)
    rank = len(x.shape)
    axes = axes_of(site.ints(3, "the axes"), rank) if site.has(3) else list(range(rank))
    amounts = site.ints_or(1, "pads", count=2 * len(axes)) or ()
    mode = site.choice("mode", ("constant", "edge", "reflect", "wrap"), "constant")
    fill = site.scalar(2, "the value", finite=False) if site.has(2) else site.unbounded("value", 0.0)
    begin, end = dict.fromkeys(range(rank), 0), dict.fromkeys(range(rank), 0)
    for i, axis in enumerate(axes):
        begin[axis], end[axis] = amounts[i], amounts[i + len(axes)]
    if (known := site.b.nodes[x.node].type.quantization) is not None:
        fill = (fill - known.zero) * known.scale  # what those bytes stand for
    site.b.fits([max(0, s + begin[i] + end[i]) for i, s in enumerate(x.shape)])
    x = sliced(site, x, {i: range(-min(0, begin[i]), size + min(0, end[i])) for i, size in enumerate(x.shape)})
    begin, end = ({axis: max(0, amount) for axis, amount in side.items()} for side in (begin, end))
    return padded(site, x, begin, end, mode, fill)


def padded(site: OnnxSite, x: Value, begin: dict[int, int], end: dict[int, int], mode: str, fill: float) -> Value:
    """A border around the axes that have one, the two last ones together where only those have."""
    wide = [axis for axis in begin if begin[axis] or end[axis]]
    if not wide:
        return x
    shape = tuple(s + begin[i] + end[i] for i, s in enumerate(x.shape))
    settings: dict[str, Any] = {"mode": mode, "value": fill if mode == "constant" else 0.0}
    if len(x.shape) > 1 + (site.b.batch > 1) and set(wide) <= set(x.order[-2:]):
        (i, j) = x.order[-2:]
        node = site.b.seen(x.node, (math.prod(x.stored[:-2]) // site.b.batch, x.shape[i], x.shape[j]))
        sides = (begin[i], begin[j], end[i], end[j])
        return Value(site.add("pad", node, pad=sides, **settings), shape, x.axes)
    for axis in wide:
        x = one_padded(site, x, axis, begin[axis], end[axis], settings)
    return x


def one_padded(site: OnnxSite, x: Value, axis: int, begin: int, end: int, settings: dict[str, Any]) -> Value:
    """A border along one axis, which is seen as the rows of an image."""
    site.b.refuse_batch(x, axis)
    j = x.axes[axis]
    outer = math.prod(x.stored[:j]) // (site.b.batch if site.b.batch > 1 else 1)
    node = site.b.seen(x.node, (outer, x.stored[j], math.prod(x.stored[j + 1 :])))
    node = site.add("pad", node, pad=(begin, 0, end, 0), **settings)
    shape = tuple(s + (begin + end if i == axis else 0) for i, s in enumerate(x.shape))
    return Value(node, shape, x.axes)


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "AveragePool": pools("avgpool"),
    "GlobalAveragePool": whole("gap"),
    "GlobalMaxPool": whole("gmp"),
    "Pad": pad,
}
"""Of one result each."""
