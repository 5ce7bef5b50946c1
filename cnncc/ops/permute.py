"""Ops that move values to other places: axes in another order, and values repeated along axes."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ops.shapes import at_least, dims, whole_image
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, no_macs, no_weights


def sides(shape: Shape) -> str:
    return "x".join(map(str, shape))


def check_dims(new: Shape) -> None:
    """ShapeError unless dims are those of an image or a vector."""
    at_least(1, {"dims": new}, "dims")
    if len(new) not in (1, 3):
        raise ShapeError(f"dims {sides(new)}: an image has 3 dimensions, a vector 1")


def permute_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, ...) -> (n, *dims): an image seen as `split` has its axes put into the order `axes`, then is `dims`."""
    split, axes, new = attrs["split"], attrs["axes"], attrs["dims"]
    at_least(1, attrs, "split")
    check_dims(new)
    count = math.prod(shapes[0][1:])
    for given in (split, new):
        if math.prod(given) != count:
            raise ShapeError(f"{dims(shapes[0])} has {count} values, {sides(given)} has {math.prod(given)}")
    if sorted(axes) != list(range(len(split))):
        listed = ", ".join(map(str, axes))
        raise ShapeError(f"axes {listed}: must name each axis of {sides(split)} once, counted from 0")
    return (shapes[0][0], *new)


def permute_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """A transposition of the image seen as `split`."""
    batch = len(xs[0])
    seen = xs[0].reshape(batch, *attrs["split"])
    return seen.transpose(0, *(axis + 1 for axis in attrs["axes"])).reshape(batch, *attrs["dims"])


def expand_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, ...) -> (n, *dims): an axis of 1 may grow, the others stay."""
    old, new = shapes[0][1:], attrs["dims"]
    check_dims(new)
    if len(old) != len(new) or any(a not in (1, b) for a, b in zip(old, new, strict=True)):
        raise ShapeError(f"{sides(old)} does not expand to {sides(new)}", hint="only axes of 1 grow")
    return (shapes[0][0], *new)


def expand_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Values repeated along the axes that were 1."""
    return np.broadcast_to(xs[0], (len(xs[0]), *attrs["dims"])).copy()


PERMUTE = Op(
    name="permute",
    arity=(1, 1),
    attributes={"split": REQUIRED, "axes": REQUIRED, "dims": REQUIRED},
    weights=no_weights,
    shape=permute_shape,
    macs=no_macs,
    window=whole_image,
    reference=permute_reference,
    tolerance=0.0,
)
EXPAND = Op(
    name="expand",
    arity=(1, 1),
    attributes={"dims": REQUIRED},
    weights=no_weights,
    shape=expand_shape,
    macs=no_macs,
    window=whole_image,
    reference=expand_reference,
    tolerance=0.0,
)
OPS = (PERMUTE, EXPAND)
