"""Resize and Upsample of ONNX, along any axes, and CenterCropPad."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.frontends.onnx.convert.pointwise import with_known
from cnncc.frontends.onnx.convert.slices import taken
from cnncc.frontends.onnx.convert.windows import padded
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axes_of
from cnncc.ops.resize import NEAREST, PLACES, places, taps

Pair = tuple[float, float]
LEAST_SCALE = 1e-9
"""Above 0: what a size is multiplied with."""


def upsample(site: OnnxSite) -> Tensor:
    """Upsample of opsets 7 and 9, and Resize of opset 10: result i lies at i / scale."""
    value = site.value(0)
    rank = len(value.shape)
    scales = factors(site, 1, rank) if site.has(1) else site.numbers("scales", count=rank, low=LEAST_SCALE)
    mode = site.choice("mode", ("nearest", "linear", "bilinear"), "nearest").removeprefix("bi")
    return resized(site, value, dict(enumerate(scales)), {}, mode, {"place": "asymmetric", "rounding": "floor"})


def factors(site: OnnxSite, i: int, count: int) -> list[float]:
    """Scales that are an input."""
    found = [float(s) for s in site.vector(i, "the scales", count)]
    if not all(LEAST_SCALE <= s < math.inf for s in found):
        raise Unsupported(f"the scales: expected finite numbers above 0, got {found}")
    return found


def resize(site: OnnxSite) -> Tensor:
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
    if place == "tf_crop_and_resize":
        return cropped(site, value, axes, mode, how)
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
    site: OnnxSite, value: Value, scales: Mapping[int, float], sizes: Mapping[int, int], mode: str, how: dict[str, Any]
) -> Value:
    """By factors, or to sizes."""
    shape = tuple(sizes.get(i, scaled(s, scales.get(i, 1.0))) for i, s in enumerate(value.shape))
    site.b.fits(shape)
    changed = [i for i, s in enumerate(value.shape) if shape[i] != s or scales.get(i, 1.0) != 1.0]
    plans = {i: Plan(shape[i], scales.get(i, shape[i] / value.shape[i])) for i in changed}
    return planned(site, value, plans, mode, how)


@dataclass(frozen=True)
class Plan:
    """What one axis becomes: its size, the factor, and the region of it that is taken."""

    size: int
    scale: float
    region: Pair = (0.0, 1.0)


def planned(site: OnnxSite, value: Value, plans: Mapping[int, Plan], mode: str, how: dict[str, Any]) -> Value:
    """The last two axes at once if only these change, else each axis by itself: all modes are separable."""
    last = value.order[-2:]
    if not plans:
        return value
    site.b.fits([plans[i].size if i in plans else size for i, size in enumerate(value.shape)])
    if len(value.shape) >= 2 and set(plans) <= set(last):
        pair = [plans.get(i, Plan(value.shape[i], 1.0)) for i in last]
        node = emitted(site, site.b.seen(value.node, image_dims(site, value)), (pair[0], pair[1]), mode, how)
        shape = tuple(plans[i].size if i in plans else s for i, s in enumerate(value.shape))
        return Value(node, shape, value.axes)
    for axis, plan in plans.items():
        value = one_resized(site, value, axis, plan, mode, how)
    return value


def one_resized(site: OnnxSite, value: Value, axis: int, plan: Plan, mode: str, how: dict[str, Any]) -> Value:
    """Along one axis, which is seen as the rows of an image."""
    site.b.refuse_batch(value, axis)
    if how["place"] == "tf_half_pixel_for_nn" and "ceil" in how.get("rounding", ""):
        raise Unsupported("tf_half_pixel_for_nn, rounded up, along other axes than height and width")
    j = value.axes[axis]
    outer, inner = math.prod(value.stored[:j]) // site.b.batch, math.prod(value.stored[j + 1 :])
    node = site.b.seen(value.node, (outer, value.stored[j], inner))
    made = emitted(site, node, (plan, Plan(inner, 1.0)), mode, how)
    return Value(made, tuple(plan.size if i == axis else s for i, s in enumerate(value.shape)), value.axes)


def cropped(site: OnnxSite, value: Value, axes: list[int], mode: str, how: dict[str, Any]) -> Value:
    """Regions of the axes, some of which may lie outside: there the result is one known number."""
    bounds = site.vector(1, "the region", 2 * len(axes)).astype(float)
    if not np.isfinite(bounds).all():
        raise Unsupported(f"the region: expected finite numbers, got {bounds.tolist()}")
    pairs = zip(bounds[: len(axes)].tolist(), bounds[len(axes) :].tolist(), strict=True)
    regions = dict(zip(axes, pairs, strict=True))
    if site.has(2) and site.const(2, "the scales").size:
        scales = dict(zip(axes, factors(site, 2, len(axes)), strict=True))
        sizes = {a: math.floor(value.shape[a] * (regions[a][1] - regions[a][0]) * s) for a, s in scales.items()}
    else:
        sizes = dict(zip(axes, site.ints(3, "the sizes", len(axes), low=1), strict=True))
    if min(sizes.values()) < 1:
        raise Unsupported(f"the region: {bounds.tolist()} leaves nothing of {list(value.shape)}")
    plans = {
        a: Plan(sizes[a], sizes[a] / value.shape[a], regions[a])
        for a in axes
        if (sizes[a], regions[a]) != (value.shape[a], (0.0, 1.0))
    }
    result = planned(site, value, plans, mode, how)
    fill = site.number("extrapolation_value", 0.0)
    return with_known(site, "add", result, beyond(value, plans, how) * fill) if fill else result


def beyond(value: Value, plans: Mapping[int, Plan], how: dict[str, Any]) -> np.ndarray:
    """1 where a result lies outside the image along some axis, else 0."""
    rank = len(value.shape)
    total = np.zeros((1,) * rank, bool)
    for axis, plan in plans.items():
        region = {**how, "region": (plan.region[0], 0.0, plan.region[1], 1.0)}
        where = places(value.shape[axis], plan.size, plan.scale, region)
        total = total | ((where < 0) | (where > value.shape[axis] - 1)).reshape(-1, *(1,) * (rank - axis - 1))
    return total.astype(np.float32)


def scaled(size: int, scale: float) -> int:
    """The size of a result: the product in float32, in which 0.7 times 10 is 7 (in float64 less), rounded down."""
    found = np.float32(size) * np.float32(scale)
    if not np.isfinite(found):
        raise Unsupported(f"the scales: {size} times {scale:g} is no size")
    return math.floor(found)


def image_dims(site: OnnxSite, value: Value) -> tuple[int, int, int]:
    """What the value is as an image: its last two axes as height and width."""
    h, w = value.stored[-2:]
    return (math.prod(value.shape) // (h * w * site.b.batch), h, w)


def emitted(site: OnnxSite, node: str, plans: tuple[Plan, Plan], mode: str, how: dict[str, Any]) -> str:
    """An upsample where that is the same, else a resize; a scale that is the ratio of sizes is left out."""
    h, w = site.b.shape(node)[2:]
    down, across = plans
    size, scale = (down.size, across.size), (down.scale, across.scale)
    if how["place"] == "tf_crop_and_resize":
        region = (down.region[0], across.region[0], down.region[1], across.region[1])
        return site.add("resize", node, size=size, mode=mode, region=region, **how)
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


def center_crop_pad(site: OnnxSite) -> Tensor:
    """The middle of axes that are too long; zeros around those that are too short."""
    value = site.value(0)
    axes = axes_of(site.integers("axes", range(len(value.shape))), len(value.shape))
    for axis, size in zip(axes, site.ints(1, "the shape", len(axes), low=1), strict=True):
        more = size - value.shape[axis]
        if more < 0:
            value = taken(site, value, axis, range(-more // 2, -more // 2 + size))
        elif more:
            none = dict.fromkeys(range(len(value.shape)), 0)
            value = padded(site, value, {**none, axis: more // 2}, {**none, axis: more - more // 2}, "constant", 0.0)
    return value


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "Resize": resize,
    "Upsample": upsample,
    "CenterCropPad": center_crop_pad,
}
"""Of one result each."""
