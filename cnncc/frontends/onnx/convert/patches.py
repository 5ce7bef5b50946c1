"""ONNX ops on windows by other means: LpPool and GlobalLpPool, Col2Im, MaxPool with the places of what it finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnncc.frontends.onnx.convert.arithmetic import raised
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.convert.reduce import square, total
from cnncc.frontends.onnx.convert.windows import pooled, pools, sized, window, window_sum
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, refuse_many

LARGEST_POWER = 64


def powers(site: OnnxSite, value: Value, p: int) -> Value:
    """|x| to the power of p."""
    if p == 2:
        return square(site, value)
    size = site.pointwise("abs", value)
    return size if p == 1 else raised(site, size, float(p))


def root(site: OnnxSite, value: Value, p: int) -> Value:
    """The root of what is not negative."""
    return value if p == 1 else raised(site, value, 1 / p)


def lp_pool(site: OnnxSite) -> Tensor:
    """The root of the sum of powers of each window; padding adds nothing."""
    x, p = site.value(0, range(3, 9)), site.integer("p", 2, low=1, high=LARGEST_POWER)
    kernel = site.integers("kernel_shape", count=len(x.shape) - 2, low=1)
    made = window(site, x.shape[2:], kernel)
    attrs: dict[str, Any] = {"rounding": "ceil" if site.flag("ceil_mode") else "floor"}
    value = powers(site, x, p)
    if len(kernel) > 2:
        return root(site, pooled(site, "sum", value, made, attrs), p)
    node = window_sum(site, site.b.image(value, f"{site.hint}.in"), made, 0, attrs)
    return root(site, sized(site, node, x), p)


def global_lp_pool(site: OnnxSite) -> Tensor:
    """Over all positions."""
    x, p = site.value(0, range(3, 9)), site.integer("p", 2, low=1, high=LARGEST_POWER)
    return root(site, total(site, powers(site, x, p), tuple(range(2, len(x.shape)))), p)


def col2im(site: OnnxSite) -> Tensor:
    """Windows put back in their places, where they overlap added up: a transposed convolution with one 1 a tap."""
    x, sizes, kernel = site.value(0, (3,)), site.ints(1, "the image's shape", low=1), site.ints(2, "the block", low=1)
    if not len(sizes) == len(kernel) == 2:
        raise Unsupported(f"images along {len(sizes)} axes")
    made, taps = window(site, sizes, kernel), math.prod(kernel)
    rooms = [s + made.begin[i] + made.end[i] - made.span(i) for i, s in enumerate(sizes)]
    counts = [room // made.stride[i] + 1 for i, room in enumerate(rooms)]
    n, channels, length = x.shape
    if min(rooms) < 0 or length != math.prod(counts) or channels % taps or n != site.b.batch:
        raise Unsupported(f"{list(x.shape)} are not the blocks of {list(kernel)} of an image of {list(sizes)}")
    refuse_many(channels * taps)
    weight = np.tile(np.eye(taps, dtype=np.float32), (channels // taps, 1)).reshape(channels, 1, *kernel)
    node = site.add(
        "conv_transpose",
        site.b.seen(site.b.plain(x), (channels, counts[0], counts[1])),
        weights=[weight],
        out=channels // taps,
        groups=channels // taps,
        bias=False,
        output_pad=tuple(room % made.stride[i] for i, room in enumerate(rooms)),
        **made.attrs(),
    )
    return site.plain(node, (n, channels // taps, *sizes))


def max_pool(site: OnnxSite) -> list[Tensor]:
    """The largest values, and their places in the whole tensor."""
    value = pools("maxpool")(site) if site.wants(0) or not site.wants(1) else site.value(0)
    return [value, places(site)] if site.wants(1) else [value]


def places(site: OnnxSite) -> Value:
    """Places count over all elements in order; `argmaxpool` counts in each channel by itself."""
    x = site.value(0, range(3, 9))
    rank = len(x.shape) - 2
    if rank > 2:
        raise Unsupported(f"the places of the largest values along {rank} axes")
    if site.b.batch > 1:
        raise Unsupported("places in a tensor of several images")
    planes, (h, w) = x.shape[0] * x.shape[1], (1, *x.shape[2:])[-2:]
    made = window(site, x.shape[2:], site.integers("kernel_shape", count=rank, low=1))
    attrs = {**made.attrs(), "rounding": "ceil" if site.flag("ceil_mode") else "floor"}
    node = site.b.seen(site.b.plain(x, f"{site.hint}.in"), (planes, h, w))
    turned = bool(site.integer("storage_order", 0, 0, 1))
    local = found_turned(site, node, attrs) if turned else site.add("argmaxpool", node, **attrs)
    shape = (*x.shape[:2], *site.b.shape(local)[4 - rank :])
    starts = np.arange(planes, dtype=np.float32).reshape(*x.shape[:2], *(1,) * rank) * (h * w)
    result = combined(site, "add", site.plain(local, shape), starts)
    if not turned:
        site.b.places[result.node] = (local, (h, w))
    return result


def found_turned(site: OnnxSite, node: str, attrs: dict[str, Any]) -> str:
    """Places that count down the columns first: those of the image turned."""
    top, left, bottom, right = attrs["pad"]
    swapped = {key: attrs[key][::-1] for key in ("kernel", "stride", "dilation")}
    found = site.add(
        "argmaxpool", swap(site, node), rounding=attrs["rounding"], pad=(left, top, right, bottom), **swapped
    )
    return swap(site, found)


def swap(site: OnnxSite, node: str) -> str:
    """Rows and columns exchanged."""
    c, h, w = site.b.shape(node)[1:]
    return site.add("permute", node, split=(c, h, w), axes=(0, 2, 1), dims=(c, w, h))


RULES: Mapping[str, Callable[[OnnxSite], Tensor | list[Tensor]]] = {
    "LpPool": lp_pool,
    "GlobalLpPool": global_lp_pool,
    "Col2Im": col2im,
    "MaxPool": max_pool,
}
"""Of one result, `max_pool` of two."""
