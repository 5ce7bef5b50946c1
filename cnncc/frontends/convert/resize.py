"""Resize and Upsample of ONNX, along height and width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnncc.frontends.onnx_site import Site, Tensor
from cnncc.frontends.onnx_values import Unsupported, Value
from cnncc.ops.resize import PLACES, taps

Pair = tuple[float, float]


def upsample(site: Site) -> Tensor:
    """Upsample of opsets 7 and 9, and Resize of opset 10: result i lies at i / scale."""
    scales = [float(s) for s in (site.const(1, "the scales") if site.has(1) else site.attr("scales"))]
    mode = site.attr("mode", "nearest")
    return resized(site, site.value(0), dict(enumerate(scales)), {}, mode, {"place": "asymmetric", "rounding": "floor"})


def resize(site: Site) -> Tensor:
    """Resize from opset 11 on."""
    if site.opset < 11:
        return upsample(site)
    value, rank = site.value(0), len(site.value(0).shape)
    axes = [a % rank for a in site.attr("axes", tuple(range(rank)))]
    place, mode = site.attr("coordinate_transformation_mode", "half_pixel"), site.attr("mode", "nearest")
    if place not in PLACES:
        raise Unsupported(f"coordinate_transformation_mode {place}")
    how: dict[str, Any] = {"place": place, "rounding": site.attr("nearest_mode", "round_prefer_floor")}
    if mode != "nearest":
        flags = {name: bool(site.attr(name, 0)) for name in ("exclude_outside", "antialias")}
        how = {"place": place, "coefficient": float(site.attr("cubic_coeff_a", -0.75)), **flags}
    if site.has(2) and site.const(2, "the scales").size:
        scales = dict(zip(axes, map(float, site.const(2, "the scales")), strict=True))
        return resized(site, value, scales, {}, mode, how)
    sizes = dict(zip(axes, site.ints(3, "the sizes"), strict=True))
    policy = site.attr("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return resized(site, value, {}, sizes, mode, how)
    factors = [size / value.shape[a] for a, size in sizes.items()]
    factor = min(factors) if policy == "not_larger" else max(factors)
    kept = {a: math.floor(factor * value.shape[a] + 0.5) for a in sizes}
    return resized(site, value, dict.fromkeys(sizes, factor), kept, mode, how)


def resized(
    site: Site, value: Value, scales: Mapping[int, float], sizes: Mapping[int, int], mode: str, how: dict[str, Any]
) -> Value:
    """By factors, or to sizes; of (n, c, h, w), (c, h, w) or (h, w)."""
    shape = tuple(sizes.get(i, math.floor(s * scales.get(i, 1.0))) for i, s in enumerate(value.shape))
    changed = [i for i, s in enumerate(value.shape) if shape[i] != s or scales.get(i, 1.0) != 1.0]
    if not changed:
        return value
    last = value.order[-2:]
    if not set(changed) <= set(last) or not 2 <= len(value.shape) <= 4:
        raise Unsupported(f"resizes {list(value.shape)} to {list(shape)}: only height and width can change")
    node = site.b.seen(value.node, image_dims(site, value))
    size = tuple(shape[i] for i in last)
    scale = tuple(scales.get(i, shape[i] / value.shape[i]) for i in last)
    return Value(emitted(site, node, (size[0], size[1]), (scale[0], scale[1]), mode, how), shape, value.axes)


def image_dims(site: Site, value: Value) -> tuple[int, int, int]:
    """What the value is as an image: its last two axes as height and width."""
    h, w = value.stored[-2:]
    return (math.prod(value.shape) // (h * w * site.b.batch), h, w)


def emitted(site: Site, node: str, size: tuple[int, int], scale: Pair, mode: str, how: dict[str, Any]) -> str:
    """An upsample where that is the same, else a resize; a scale that is the ratio of sizes is left out."""
    h, w = site.b.shape(node)[2:]
    whole = (size[0] // h, size[1] // w)
    if (h * whole[0], w * whole[1]) == size and all(s == n for s, n in zip(scale, whole, strict=True)):
        if mode == "nearest" and repeats((h, w), size, scale, how):
            return site.add("upsample", node, scale=whole)
        if (
            mode == "linear"
            and how["place"] in ("half_pixel", "align_corners")
            and not any(how.get(n) for n in ("exclude_outside", "antialias"))
        ):
            return site.add(
                "upsample", node, scale=whole, mode="bilinear", align_corners=how["place"] == "align_corners"
            )
    ratio = tuple(new / old for new, old in zip(size, (h, w), strict=True))
    given: dict[str, Any] = {} if scale == ratio else {"scale": scale}
    return site.add("resize", node, size=size, mode=mode, **how, **given)


def repeats(old: tuple[int, int], new: tuple[int, int], scale: Pair, how: dict[str, Any]) -> bool:
    """Whether nearest takes every pixel so many times."""
    attrs = {"mode": "nearest", **how}
    return all(
        np.array_equal(taps(size, out, s, attrs)[0][:, 0], np.arange(out) // (out // size))
        for size, out, s in zip(old, new, scale, strict=True)
    )


RULES: Mapping[str, Callable[[Site], Tensor]] = {"Resize": resize, "Upsample": upsample}
"""Of one result each."""
