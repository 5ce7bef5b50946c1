"""Resizing an image to any size, by the rules of ONNX: each axis by a table of taps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np

from cnncc.base.errors import nearest
from cnncc.ir.types import TensorType
from cnncc.ops.domains import FLAG, Choice, Inputs, Tried, pair
from cnncc.ops.forms import Always, Form, Syntax, Word, flags
from cnncc.ops.shapes import at_least, image
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
)
from cnncc.ops.traits import COMPUTED
from cnncc.ops.type_rules import float32_only, same_numbers

Place = Callable[[Array, float, int, int], Array]
PLACES: Mapping[str, Place] = {
    "half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5,
    "asymmetric": lambda i, scale, size, out: i / scale,
    "align_corners": lambda i, scale, size, out: i * ((size - 1) / (scale * size - 1) if scale * size > 1 else 0.0),
    "pytorch_half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5 if out > 1 else i * 0.0,
    "half_pixel_symmetric": lambda i, scale, size, out: size / 2 * (1 - out / (scale * size)) + (i + 0.5) / scale - 0.5,
    "tf_half_pixel_for_nn": lambda i, scale, size, out: (i + 0.5) / scale,
    "tf_crop_and_resize": lambda i, scale, size, out: i * ((size - 1) / (out - 1)) if out > 1 else i + (size - 1) / 2,
}
"""Where result i lies on the input, by the name ONNX gives the rule: of i, scale, size and size of the result. Of
`tf_crop_and_resize` it is where it lies if the region is the whole image."""
NEAREST: Mapping[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""Which input is nearest to a place."""
MODES = ("nearest", "linear", "cubic")


def linear_kernel(x: Array, a: float) -> Array:
    """The hat function."""
    return np.maximum(0, 1 - np.abs(x))


def cubic_kernel(x: Array, a: float) -> Array:
    """Keys' cubic convolution with coefficient a (1981)."""
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0))


def places(size: int, out: int, scale: float, attrs: Attrs, axis: int = 0) -> Array:
    """Where the results lie along one axis, the first or the second."""
    where = PLACES[attrs["place"]](np.arange(out, dtype=np.float64), scale, size, out)
    if attrs["place"] == "tf_crop_and_resize" and attrs.get("region"):
        start, end = (attrs["region"][i] for i in (axis, axis + 2))
        where = start * (size - 1) + where * (end - start)
    return where


def taps(size: int, out: int, scale: float, attrs: Attrs, axis: int = 0) -> tuple[Array, Array]:
    """(indices, shares), both (out, taps): what each result takes from the input along one axis."""
    scale = float(np.float32(scale))
    where = places(size, out, scale, attrs, axis)
    if attrs["mode"] == "nearest":  # as ONNX Runtime has them: 4 / (4/3) is 3 in float32, and below in float64
        where = where.astype(np.float32)
    index, share = all_taps(where, size, scale, attrs)
    if attrs["place"] == "tf_crop_and_resize":
        share = np.where(((where < 0) | (where > size - 1))[:, None], 0, share)
    used = np.any(share != 0, axis=0)
    used[0] |= not used.any()
    return index[:, used], share[:, used]


def all_taps(where: Array, size: int, scale: float, attrs: Attrs) -> tuple[Array, Array]:
    """The taps around some places."""
    out = len(where)
    if attrs["mode"] == "nearest":
        index = NEAREST[attrs["rounding"]](where)
        return np.clip(index, 0, size - 1)[:, None], np.ones((out, 1))
    kernel, reach = (linear_kernel, 1) if attrs["mode"] == "linear" else (cubic_kernel, 2)
    stretch = max(1.0, 1 / scale) if attrs["antialias"] else 1.0
    first = np.floor(where - reach * stretch) + 1
    index = first[:, None] + np.arange(math.ceil(2 * reach * stretch))
    share = kernel((index - where[:, None]) / stretch, attrs["coefficient"])
    if attrs["exclude_outside"]:
        share = np.where((index >= 0) & (index < size), share, 0)
    if attrs["exclude_outside"] or attrs["antialias"]:
        share = share / share.sum(axis=1, keepdims=True)
    return np.clip(index, 0, size - 1), share


def axes_taps(shape: Shape, attrs: Attrs) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The taps of rows and of columns for an image of that shape."""
    sizes = zip(shape[2:], attrs["size"], attrs["scale"], strict=True)
    rows, columns = (taps(size, out, scale or out / size, attrs, i) for i, (size, out, scale) in enumerate(sizes))
    return rows, columns


def check_choice(attrs: Attrs, name: str, choices: Mapping[str, object] | tuple[str, ...]) -> None:
    if attrs[name] not in choices:
        raise ShapeError(f"unknown {name} {attrs[name]!r}", nearest(str(attrs[name]), choices))


def resize_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c, *size)."""
    n, c, _, _ = image(shapes[0])
    at_least(1, attrs, "size")
    for name, choices in (("mode", MODES), ("place", PLACES), ("rounding", NEAREST)):
        check_choice(attrs, name, choices)
    if any(s < 0 for s in attrs["scale"]):
        raise ShapeError("scale: must not be negative")
    if attrs["region"] and (attrs["place"] != "tf_crop_and_resize" or len(attrs["region"]) != 4):
        raise ShapeError("region: top, left, bottom, right as shares of the image, with tf_crop_and_resize")
    if attrs["antialias"] and attrs["mode"] == "nearest":
        raise ShapeError("antialias needs linear or cubic")
    return n, c, *attrs["size"]


def resize_window(shapes: Shapes, attrs: Attrs) -> Window:
    """As many inputs as there are taps."""
    rows, columns = axes_taps(shapes[0], attrs)
    strides = [Fraction(size, out) for size, out in zip(shapes[0][2:], attrs["size"], strict=True)]
    return (rows[1].shape[1], columns[1].shape[1]), (strides[0], strides[1])


def along(x: Array, axis: int, table: tuple[Array, Array]) -> Array:
    """The weighted sum of taps along one axis of an image."""
    index, share = table
    shape = [1] * x.ndim
    shape[axis] = -1
    parts = [
        x.take(index[:, t].astype(int), axis=axis) * share[:, t].astype(x.dtype).reshape(shape)
        for t in range(index.shape[1])
    ]
    return np.sum(parts, axis=0, dtype=x.dtype)


def resize_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Rows, then columns."""
    rows, columns = axes_taps(xs[0].shape, attrs)
    return along(along(xs[0], 2, rows), 3, columns)


def resize_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Numbers of any type where each is one of the input; what interpolates, or sees beyond the image, takes
    float32."""
    moves = attrs["mode"] == "nearest" and attrs["place"] != "tf_crop_and_resize"
    return (same_numbers if moves else float32_only)(types, attrs, shape)


RESIZE_WORDS: Mapping[str, Word] = {
    **flags("mode", MODES),
    **flags("place", PLACES),
    **flags("rounding", NEAREST),
    **{name: (name, Always(True)) for name in ("exclude_outside", "antialias")},
    "scale": ("scale", Syntax.FACTORS),
    "region": ("region", Syntax.NUMBERS),
    "coefficient": ("coefficient", Syntax.NUMBER),
}
RESIZE = Op(
    name="resize",
    arity=(1, 1),
    attributes={
        "size": REQUIRED,
        "mode": "nearest",
        "place": "half_pixel",
        "rounding": "round_prefer_floor",
        "scale": (0.0, 0.0),
        "coefficient": -0.75,
        "exclude_outside": False,
        "antialias": False,
        "region": (),
    },
    weights=no_weights,
    shape=resize_shape,
    macs=no_macs,
    window=resize_window,
    reference=resize_reference,
    tolerance=2e-6,
    traits=COMPUTED,
    forms=(
        Form("resize", "resize 16x16 linear", (("size", Syntax.KERNEL),), words=RESIZE_WORDS, synonyms=("rescale",)),
    ),
    tried=Tried(
        Inputs.IMAGE,
        {
            "size": pair(1, 6),
            "mode": Choice(MODES),
            "place": Choice(("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")),
            "rounding": Choice(tuple(NEAREST)),
            "antialias": lambda shape, attrs: Choice((False,)) if attrs["mode"] == "nearest" else FLAG,
            "coefficient": lambda shape, attrs: Choice((-0.75,) if attrs["mode"] == "nearest" else (-0.75, -0.5)),
        },
    ),
    types=resize_types,
)
OPS = (RESIZE,)
