"""Resize and Upsample of ONNX, along height and width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnncc.frontends.onnx_site import Site, Tensor
from cnncc.frontends.onnx_values import Unsupported, Value, axes_of
from cnncc.ops.resize import NEAREST, PLACES, taps

Pair = tuple[float, float]
LEAST_SCALE = 1e-9
"""Above 0: what a size is multiplied with."""


def upsample(site: Site) -> Tensor:
    """Upsample of opsets 7 and 9, and Resize of opset 10: result i lies at i / scale."""
    value = site.value(0)
    rank = len(value.shape)
    scales = factors(site, 1, rank) if site.has(1) else site.numbers("scales", count=rank, low=LEAST_SCALE)
    mode = site.choice("mode", ("nearest", "linear", "bilinear"), "nearest").removeprefix("bi")
    return resized(site, value, dict(enumerate(scales)), {}, mode, {"place": "asymmetric", "rounding": "floor"})


def factors(site: Site, i: int, count: int) -> list[float]:
    """Scales that are an input."""
    found = [float(s) for s in site.vector(i, "the scales", count)]
    if not all(LEAST_SCALE <= s < math.inf for s in found):
        raise Unsupported(f"the scales: expected finite numbers above 0, got {found}")
    return found


def resize(site: Site) -> Tensor:
    """Resize from opset 11 on."""
    if site.opset < 11:
        return upsample(site)
    value, rank = site.value(0), len(site.value(0).shape)
    axes = axes_of(site.integers("axes", range(rank)), rank)
    place = site.choice("coordinate_transformation_mode", PLACES, "half_pixel")
    mode = site.choice("mode", ("nearest", "linear", "cubic"), "nearest")
    how: dict[str, Any] = {
        "place": place,
        "rounding": site.choice("nearest_mode", NEAREST, "round_prefer_floor"),
    }
    if mode != "nearest":
        flags = {name: site.flag(name) for name in ("exclude_outside", "antialias")}
        how = {"place": place, "coefficient": site.number("cubic_coeff_a", -0.75), **flags}
    if site.has(2) and site.const(2, "the scales").size:
        return resized(site, value, dict(zip(axes, factors(site, 2, len(axes)), strict=True)), {}, mode, how)
    sizes = dict(zip(axes, site.ints(3, "the sizes", len(axes), low=1), strict=True))
    policy = site.choice("keep_aspect_ratio_policy", ("stretch", "not_larger", "not_smaller"), "stretch")
    if policy == "stretch":
        return resized(site, value, {}, sizes, mode, how)
    ratios = [size / value.shape[a] for a, size in sizes.items()]
    factor = min(ratios) if policy == "not_larger" else max(ratios)
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
