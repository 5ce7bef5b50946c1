"""Regions of an image brought to one size (RoIAlign, He et al. 2017), by the rules of ONNX."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from cnncc.ops.combine import merged_batch
from cnncc.ops.domains import Arm, Choice, Inputs, Tried, Whole, pair
from cnncc.ops.forms import Form, Syntax, flags
from cnncc.ops.resize import check_choice
from cnncc.ops.shapes import at_least, dims, image, whole_image
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, no_macs, no_weights
from cnncc.ops.traits import COMPUTED, MemoryOrder, Order

MODES = ("avg", "max")
PLACES = ("half_pixel", "output_half_pixel")
"""Whether pixels' centres are at one half, or (without regions below one pixel, too) at whole numbers."""
MOST_SAMPLES = 4
"""Samples along an axis of a bin, as a multiple of the image's size: a region that is this much larger than the image,
or infinite, gets no more."""


def roi_align_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, images * c, h, w) and regions (n, r, 1, 4) of x1, y1, x2, y2 -> (n, r, c * oh, ow). With several images also
    the image of each region, (n, r, 1, 1)."""
    images = attrs["images"]
    at_least(1, attrs, "size", "images")
    at_least(0, attrs, "samples")
    check_choice(attrs, "mode", MODES)
    check_choice(attrs, "place", PLACES)
    channels, (_, regions, one, four) = image(shapes[0])[1], image(shapes[1])
    if (one, four) != (1, 4):
        raise ShapeError(f"regions are number x 1 x 4 (x1, y1, x2, y2), got {dims(shapes[1])}")
    if channels % images:
        raise ShapeError(f"images {images}: {channels} channels are not so many images of one size")
    if (images > 1) != (len(shapes) == 3):
        raise ShapeError("the image of each region belongs to `images`: three arms with it, two without")
    if len(shapes) == 3 and image(shapes[2])[1:] != (regions, 1, 1):
        raise ShapeError(f"the images of {regions} regions are {regions}x1x1, got {dims(shapes[2])}")
    oh, ow = attrs["size"]
    return merged_batch(shapes), regions, channels // images * oh, ow


def roi_align_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Region by region."""
    batch, results = max(map(len, xs)), []
    for n in range(batch):
        x, rois = xs[0][n % len(xs[0])], xs[1][n % len(xs[1])]
        stacks = x.reshape(attrs["images"], -1, *x.shape[1:])
        chosen = xs[2][n % len(xs[2]), :, 0, 0] if len(xs) == 3 else np.zeros(len(rois))
        results.append([aligned(x, stacks, roi[0], image, attrs) for roi, image in zip(rois, chosen, strict=True)])
    return np.array(results, xs[0].dtype)


def aligned(x: Array, stacks: Array, roi: Array, image: float, attrs: Attrs) -> Array:
    """One region, (c * oh, ow); zeros where its image does not exist."""
    oh, ow = attrs["size"]
    channels = stacks.shape[1]
    if not 0 <= np.trunc(image) < len(stacks):
        return np.zeros((channels * oh, ow), x.dtype)
    plane = stacks[int(image)]
    rows = axis_samples(roi[1], roi[3], oh, x.shape[1], attrs)
    columns = axis_samples(roi[0], roi[2], ow, x.shape[2], attrs)
    corners = [
        plane[:, at][:, :, across] * (down[:, None] * beside)
        for (at, down), (across, beside) in itertools.product(rows, columns)
    ]
    if not corners[0].size:  # a region without an area has no samples
        return np.zeros((channels * oh, ow), x.dtype)
    parts = [c.reshape(channels, oh, -1, ow, len(columns[0][0]) // ow) for c in corners]
    found = np.sum(parts, axis=0).mean(axis=(2, 4)) if attrs["mode"] == "avg" else np.max(parts, axis=(0, 3, 5))
    return found.reshape(channels * oh, ow)


def axis_samples(start: float, end: float, bins: int, size: int, attrs: Attrs) -> list[tuple[Array, Array]]:
    """(pixels, shares) below and above the samples of all bins along one axis; no share for one outside the image."""
    offset = 0.5 if attrs["place"] == "half_pixel" else 0.0
    first, last = start * attrs["scale"] - offset, end * attrs["scale"] - offset
    length = last - first if offset else max(last - first, 1)
    wanted = attrs["samples"] or min(np.ceil(np.nan_to_num(length / bins)), MOST_SAMPLES * size)
    count = max(0, int(wanted))
    samples = (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / max(1, count)).ravel()
    at = first + samples * (length / bins)
    seen = (at >= -1) & (at <= size)
    at = np.clip(np.where(seen, at, 0), 0, size - 1)
    low = np.minimum(np.floor(at), size - 1).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    return [(low, (1 - (at - low)) * seen), (high, (at - low) * seen)]


def roi_align_reads(position: int, attrs: Attrs) -> Order:
    """One image in blocks of channels; several, whose channels need not fill blocks, and the regions as they are."""
    return Order.BLOCKS if position == 0 and attrs["images"] == 1 else Order.LOGICAL


ROI_ALIGN = Op(
    name="roi_align",
    arity=(2, 3),
    attributes={"size": REQUIRED, "mode": "avg", "scale": 1.0, "samples": 0, "place": "half_pixel", "images": 1},
    weights=no_weights,
    shape=roi_align_shape,
    macs=no_macs,
    window=whole_image,
    reference=roi_align_reference,
    tolerance=2e-5,
    traits=replace(COMPUTED, layout=MemoryOrder(roi_align_reads, Order.LOGICAL)),
    forms=(
        Form(
            "roi_align",
            "roi_align { | const 5x1x4 } 7x7",
            (("size", Syntax.KERNEL),),
            words={
                **flags("mode", MODES),
                **flags("place", PLACES),
                "scale": ("scale", Syntax.NUMBER),
                "samples": ("samples", Syntax.COUNT),
                "images": ("images", Syntax.COUNT),
            },
            arms=True,
            leads=True,
        ),
    ),
    tried=Tried(
        Inputs.IMAGE,
        {"size": pair(1, 4), "mode": Choice(MODES), "samples": Whole(0, 3)},
        arms=(Arm(lambda s: (Whole(1, 5), Choice((1,)), Choice((4,))), lambda s: max(s[2:]) / 2),),
    ),
)
OPS = (ROI_ALIGN,)
