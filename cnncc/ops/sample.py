"""Sampling an image at computed places (GridSample of ONNX, grid_sample of PyTorch; Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from cnncc.ops.combine import merged_batch
from cnncc.ops.domains import Arm, Choice, Inputs, Tried, Whole
from cnncc.ops.forms import Form, Syntax, flags
from cnncc.ops.resize import check_choice, cubic_kernel, linear_kernel
from cnncc.ops.shapes import at_least, dims, image
from cnncc.ops.table import Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, Window, no_macs, no_weights
from cnncc.ops.traits import COMPUTED, MemoryOrder, Order

MODES = ("linear", "nearest", "cubic")
OUTSIDE = ("zeros", "border", "reflection")
"""What lies outside the image."""
PLACES = ("half_pixel", "align_corners", "pixels")
"""What the places -1 and 1 are: the outer edges of the first and last pixel, or their centres; or places are counted in
pixels from the centre of the first."""
CUBIC = -0.75
"""The coefficient of the cubic kernel."""


def sample_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) at the places (n, 2, oh, ow) -> (n, c, oh, ow). With `depth` d the image is c volumes of d slices,
    one below the other, and a place has three coordinates."""
    (_, c, h, _), (_, axes, oh, ow) = map(image, shapes)
    for name, choices in (("mode", MODES), ("outside", OUTSIDE), ("place", PLACES)):
        check_choice(attrs, name, choices)
    at_least(1, attrs, "depth")
    if h % attrs["depth"]:
        raise ShapeError(f"depth {attrs['depth']}: {h} rows are not so many slices of one height")
    if axes not in (2, 3) or (axes == 2 and attrs["depth"] > 1):
        raise ShapeError(
            f"the places are {dims(shapes[1])}", hint="2 x height x width: x and y of each result; 3 in volumes"
        )
    if axes == 3 and attrs["mode"] == "cubic":
        raise ShapeError("cubic needs an image, not a volume", hint="linear or nearest")
    return merged_batch(shapes), c, oh, ow


def extents(shape: Shape, axes: int, depth: int) -> tuple[int, ...]:
    """Sizes of what is sampled, in the order of a place's coordinates: width, height, depth."""
    h, w = shape[2:]
    return (w, h) if axes == 2 else (w, h // depth, depth)


def pixels(place: Array, size: int, attrs: Attrs) -> Array:
    """Coordinates in pixels, brought inside by `outside`. Of zeros, and of cubic at a border, it is the pixels that are
    brought inside: these coordinates are only kept as near as matters."""
    if attrs["place"] == "half_pixel":
        place = ((place + 1) * size - 1) / 2
    elif attrs["place"] == "align_corners":
        place = (place + 1) * ((size - 1) / 2)
    if attrs["mode"] == "nearest":
        place = np.rint(place)
    if attrs["outside"] == "zeros" or (attrs["mode"], attrs["outside"]) == ("cubic", "border"):
        return np.clip(place, -4, size + 3)
    low, high = limits(size, attrs)
    outside = (place < low) | (place > high)
    if attrs["outside"] == "border":
        return np.where(outside, np.clip(place, 0, size - 1), place)
    return np.where(outside, reflected(place, low, high), place)


def limits(size: int, attrs: Attrs) -> tuple[float, float]:
    """Where the image ends: at the outer edges of its pixels, or at their centres."""
    return (0.0, size - 1.0) if attrs["place"] == "align_corners" else (-0.5, size - 0.5)


def reflected(place: Array, low: float, high: float) -> Array:
    """Mirrored at both ends until it is between them."""
    length = high - low
    if length == 0:
        return place * 0 + low
    away = np.abs(place - low)
    turns = np.floor(away / length)
    rest = away - turns * length
    return np.where(turns % 2 == 0, low + rest, high - rest)


def axis_taps(place: Array, size: int, attrs: Attrs) -> list[tuple[Array, Array]]:
    """(index, share) of each tap along one axis, for coordinates in pixels; an index of -1 is a zero."""
    if attrs["mode"] == "nearest":
        return [(inside(whole(place), size, attrs), np.where(np.isnan(place), place, 1))]
    first = np.floor(place)
    kernel, taps = (linear_kernel, (0, 1)) if attrs["mode"] == "linear" else (cubic_kernel, (-1, 0, 1, 2))
    lost = np.isnan(place)
    shares = [np.where(lost, place, kernel(place - first - t, CUBIC)) for t in taps]
    return [(inside(whole(first) + t, size, attrs), share) for t, share in zip(taps, shares, strict=True)]


def whole(place: Array) -> Array:
    """As an integer; where there is no number, 0: its share is none either."""
    return np.where(np.isnan(place), 0, place).astype(np.int64)


def inside(index: Array, size: int, attrs: Attrs) -> Array:
    """The pixel that a tap reads."""
    if attrs["outside"] == "zeros":
        return np.where((index >= 0) & (index < size), index, -1)
    if attrs["outside"] == "reflection":
        edge = int(attrs["place"] != "align_corners")
        index = np.where(index < 0, -index - edge, index)
        index = np.where(index >= size, 2 * (size - 1) + edge - index, index)
    return np.clip(index, 0, size - 1)


def sample_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The sum of taps around each place, image by image."""
    x, grid = xs
    batch = max(len(x), len(grid))
    return np.stack([sampled(x[i % len(x)], grid[i % len(grid)], attrs) for i in range(batch)])


def sampled(x: Array, grid: Array, attrs: Attrs) -> Array:
    """One image (c, h, w) at places (2 or 3, oh, ow)."""
    sizes = extents((1, *x.shape), len(grid), attrs["depth"])
    axes = [axis_taps(pixels(g, size, attrs), size, attrs) for g, size in zip(grid, sizes, strict=True)]
    total = np.zeros((len(x), *grid.shape[1:]), x.dtype)
    for chosen in itertools.product(*reversed(axes)):
        at = np.zeros(grid.shape[1:], np.int64)
        for (index, _), size in zip(chosen, reversed(sizes), strict=True):
            at = at * size + np.maximum(index, 0)
        share = np.prod([part.astype(x.dtype) for _, part in chosen], axis=0)
        seen = np.all([index >= 0 for index, _ in chosen], axis=0)
        total += np.where(seen, x.reshape(len(x), -1)[:, at], 0) * share
    return total


def sample_window(shapes: Shapes, attrs: Attrs) -> Window:
    """Any place of the image."""
    h, w = shapes[0][2:]
    return (h, w), (1, 1)


def sample_reads(position: int, attrs: Attrs) -> Order:
    """The places in logical order."""
    return Order.LOGICAL if position == 1 else Order.BLOCKS


SAMPLE = Op(
    name="sample",
    arity=(2, 2),
    attributes={"mode": "linear", "outside": "zeros", "place": "half_pixel", "depth": 1},
    weights=no_weights,
    shape=sample_shape,
    macs=no_macs,
    window=sample_window,
    reference=sample_reference,
    tolerance=1e-5,
    traits=replace(COMPUTED, layout=MemoryOrder(sample_reads, Order.BLOCKS)),
    forms=(
        Form(
            "sample",
            "sample { | conv 1x1 2 tanh } cubic",
            words={
                **flags("mode", MODES),
                **flags("outside", OUTSIDE),
                **flags("place", PLACES),
                "depth": ("depth", Syntax.COUNT),
            },
            arms=True,
            leads=True,
            synonyms=("gridsample", "warp", "remap"),
        ),
    ),
    tried=Tried(
        Inputs.IMAGE,
        {"mode": Choice(MODES), "outside": Choice(OUTSIDE), "place": Choice(PLACES[:2])},
        arms=(Arm(lambda s: (Choice((2,)), Whole(1, 6), Whole(1, 9))),),
    ),
)
OPS = (SAMPLE,)
