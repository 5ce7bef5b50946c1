"""Ops that change the height and width of an image without weights: upsample, pad, crop."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from cnncc.base.errors import nearest
from cnncc.ir.types import TensorType
from cnncc.ops.domains import FLAG, Choice, Each, Inputs, Tenths, Tried, Whole, pair
from cnncc.ops.forms import Always, Form, Syntax, flags, numbers, unpack
from cnncc.ops.quantize import stored_number
from cnncc.ops.shapes import at_least, dims, image
from cnncc.ops.table import (
    REQUIRED,
    Array,
    Arrays,
    Attrs,
    Op,
    Shape,
    ShapeError,
    Shapes,
    Types,
    Weights,
    Window,
    no_macs,
    no_weights,
    one_position,
)
from cnncc.ops.traits import COMPUTED, Memory, if_same_shape
from cnncc.ops.type_rules import float32_only, same_numbers

UPSAMPLE_MODES = ("nearest", "bilinear")
PAD_MODES = ("constant", "edge", "reflect", "wrap")


def check_mode(attrs: Attrs, modes: tuple[str, ...]) -> None:
    """ShapeError unless `mode` is one of `modes`."""
    if attrs["mode"] not in modes:
        raise ShapeError(f"unknown mode {attrs['mode']!r}", nearest(str(attrs["mode"]), modes))


def upsample_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c, h * sh, w * sw)."""
    n, c, h, w = image(shapes[0])
    at_least(1, attrs, "scale")
    check_mode(attrs, UPSAMPLE_MODES)
    if attrs["align_corners"] and attrs["mode"] == "nearest":
        raise ShapeError("align_corners needs bilinear", hint="write `bilinear`, or leave align_corners out")
    return n, c, h * attrs["scale"][0], w * attrs["scale"][1]


def upsample_window(shapes: Shapes, attrs: Attrs) -> Window:
    """Nearest sees one input, bilinear two along each axis that grows."""
    spans = [2 if attrs["mode"] == "bilinear" and s > 1 else 1 for s in attrs["scale"]]
    return (spans[0], spans[1]), (Fraction(1, attrs["scale"][0]), Fraction(1, attrs["scale"][1]))


def interpolation(size: int, scale: int, align_corners: bool) -> Array:
    """Matrix (size * scale, size) that interpolates one axis linearly.

    Result i lies at (i + 1/2) / scale - 1/2 of the input, or with `align_corners` at i * (size - 1) / (result - 1);
    beyond the outermost input the value of that input holds.
    """
    i = np.arange(size * scale)
    where = i * (size - 1) / max(1, size * scale - 1) if align_corners else (i + 0.5) / scale - 0.5
    where = np.clip(where, 0, size - 1)
    low = np.minimum(where.astype(int), max(0, size - 2))
    matrix = np.zeros((size * scale, size))
    matrix[i, low] = 1 - (where - low)
    matrix[i, np.minimum(low + 1, size - 1)] += where - low
    return matrix


def upsample_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Repeat every pixel, or interpolate along both axes."""
    x = xs[0]
    sh, sw = attrs["scale"]
    if attrs["mode"] == "nearest":
        return x.repeat(sh, axis=2).repeat(sw, axis=3)
    rows, columns = (
        interpolation(size, scale, attrs["align_corners"]).astype(x.dtype)
        for size, scale in zip(x.shape[2:], (sh, sw), strict=True)
    )
    return rows @ x @ columns.T


def pad_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c, top + h + bottom, left + w + right)."""
    n, c, h, w = image(shapes[0])
    at_least(0, attrs, "pad")
    check_mode(attrs, PAD_MODES)
    top, left, bottom, right = attrs["pad"]
    if attrs["mode"] == "reflect" and (max(top, bottom) >= h or max(left, right) >= w):
        raise ShapeError(
            f"reflect needs padding smaller than the image: {top}, {left}, {bottom}, {right} on {dims(shapes[0])}",
            hint=f"at most {h - 1} above and below, {w - 1} left and right; or mode edge",
        )
    return n, c, top + h + bottom, left + w + right


def pad_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """A border of `value`, of the outermost pixels (edge), mirrored about them (reflect), or of what lies at the other
    side (wrap)."""
    top, left, bottom, right = attrs["pad"]
    options = {"constant_values": attrs["value"]} if attrs["mode"] == "constant" else {}
    return np.pad(xs[0], [(0, 0), (0, 0), (top, bottom), (left, right)], mode=attrs["mode"], **options)


def crop_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c, height, width)."""
    n, c, h, w = image(shapes[0])
    at_least(0, attrs, "top", "left")
    at_least(1, attrs, "height", "width")
    high, wide = attrs["height"], attrs["width"]
    if attrs["top"] + high > h or attrs["left"] + wide > w:
        raise ShapeError(
            f"crop {high}x{wide} at {attrs['top']},{attrs['left']} reaches outside {dims(shapes[0])}",
            hint=f"at most {h}x{w} at 0,0",
        )
    return n, c, high, wide


def crop_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The rectangle from (top, left)."""
    top, left = attrs["top"], attrs["left"]
    return xs[0][:, :, top : top + attrs["height"], left : left + attrs["width"]]


def no_border(source: Shape, result: Shape, attrs: Attrs) -> bool:
    """A pad of (1, 0, -1, 0) keeps the shape and still moves values."""
    return source == result and not any(attrs["pad"])


def nearest_keeps(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Numbers of any type where they are only repeated; what interpolates takes float32."""
    return (same_numbers if attrs["mode"] == "nearest" else float32_only)(types, attrs, shape)


def pad_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Numbers of any type; integers without a scale must have the value around them."""
    stored_number(attrs["value"], types[0])
    return same_numbers(types, attrs, shape)


def pad_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Array:
    """Of quantised numbers, the border is the value quantised."""
    return pad_reference(xs, weights, {**attrs, "value": stored_number(attrs["value"], types[0])})


UPSAMPLE = Op(
    name="upsample",
    arity=(1, 1),
    attributes={"scale": REQUIRED, "mode": "nearest", "align_corners": False},
    weights=no_weights,
    shape=upsample_shape,
    macs=no_macs,
    window=upsample_window,
    reference=upsample_reference,
    tolerance=2e-6,
    traits=replace(COMPUTED, unchanged=if_same_shape),
    forms=(
        Form(
            "upsample",
            "upsample 2 bilinear",
            (("scale", Syntax.PAIR),),
            words={**flags("mode", UPSAMPLE_MODES), "align": ("align_corners", Always(True))},
            synonyms=("upsampling", "interpolate"),
        ),
    ),
    tried=Tried(
        Inputs.IMAGE,
        {
            "scale": pair(1, 2),
            "mode": Choice(UPSAMPLE_MODES),
            "align_corners": lambda shape, attrs: FLAG if attrs["mode"] == "bilinear" else Choice((False,)),
        },
    ),
    types=nearest_keeps,
)
PAD = Op(
    name="pad",
    arity=(1, 1),
    attributes={"pad": REQUIRED, "mode": "constant", "value": 0.0},
    weights=no_weights,
    shape=pad_shape,
    macs=no_macs,
    window=one_position,
    reference=pad_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, unchanged=no_border),
    forms=(
        Form(
            "pad",
            "pad 1 reflect",
            (("pad", Syntax.PADS),),
            words={**flags("mode", PAD_MODES), **numbers("value")},
            synonyms=("zeropad", "zeropadding"),
        ),
    ),
    tried=Tried(
        Inputs.IMAGE,
        {
            "mode": Choice(PAD_MODES),
            "pad": lambda shape, attrs: Each(
                tuple(Whole(0, min(2, shape[2 + i % 2] - 1 if attrs["mode"] == "reflect" else 2)) for i in range(4))
            ),
            "value": lambda shape, attrs: Tenths(-20, 20) if attrs["mode"] == "constant" else Choice((0.0,)),
        },
    ),
    types=pad_types,
    exact=pad_exact,
)
CROP = Op(
    name="crop",
    arity=(1, 1),
    attributes={"top": REQUIRED, "left": REQUIRED, "height": REQUIRED, "width": REQUIRED},
    weights=no_weights,
    shape=crop_shape,
    macs=no_macs,
    window=one_position,
    reference=crop_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, unchanged=if_same_shape, memory=Memory.PART),
    forms=(
        Form(
            "crop",
            "crop 1,1 4x4",
            (("top+left", Syntax.CORNER), ("height+width", Syntax.KERNEL)),
            finish=unpack("top+left", "height+width"),
            synonyms=("cropping",),
        ),
    ),
    tried=Tried(
        Inputs.IMAGE,
        {
            "top": lambda shape, attrs: Whole(0, shape[2] - 1),
            "left": lambda shape, attrs: Whole(0, shape[3] - 1),
            "height": lambda shape, attrs: Whole(1, shape[2] - attrs["top"]),
            "width": lambda shape, attrs: Whole(1, shape[3] - attrs["left"]),
        },
    ),
    types=same_numbers,
)
OPS = (UPSAMPLE, PAD, CROP)
