"""Ops that only name or regroup values: flatten, reshape, slice, and the three identities."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cnncc.ops.shapes import at_least, dims, whole_image
from cnncc.ops.table import (
    REQUIRED,
    Array,
    Arrays,
    Attrs,
    Op,
    Shape,
    ShapeError,
    Shapes,
    Weights,
    Window,
    no_macs,
    no_weights,
    pointwise,
    same_shape,
)


def flatten_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c * h * w)."""
    return shapes[0][0], math.prod(shapes[0][1:])


def reshape_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, ...) -> (n, *dims) with as many values."""
    at_least(1, attrs, "dims")
    new, count = attrs["dims"], math.prod(shapes[0][1:])
    if len(new) not in (1, 3):
        raise ShapeError(f"reshape to {'x'.join(map(str, new))}: an image has 3 dimensions, a vector 1")
    if math.prod(new) != count:
        raise ShapeError(f"{dims(shapes[0])} has {count} values, {dims((1, *new))} has {math.prod(new)}")
    return (shapes[0][0], *new)


def slice_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Channels start .. stop - 1."""
    start, stop, channels = attrs["start"], attrs["stop"], shapes[0][1]
    if not 0 <= start < stop <= channels:
        raise ShapeError(
            f"slice {start}..{stop} of {channels} channels", hint=f"0 <= start < stop <= {channels}; stop is excluded"
        )
    return (shapes[0][0], stop - start, *shapes[0][2:])


def dropout_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Same as the input; p is a share."""
    if not 0 <= attrs["p"] < 1:
        raise ShapeError(f"dropout {attrs['p']}: the share must be at least 0 and below 1")
    return shapes[0]


def regrouped(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The same values in the same order, as `dims` or as a vector."""
    return xs[0].reshape(len(xs[0]), *attrs.get("dims", (-1,)))


def slice_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Channels start .. stop - 1."""
    return xs[0][:, attrs["start"] : attrs["stop"]]


def unchanged(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """x itself: dropout does nothing at inference, relayout changes memory only."""
    return xs[0]


def mover(
    name: str,
    attributes: Attrs,
    shape: Callable[[Shapes, Attrs], Shape],
    reference: Callable[[Arrays, Weights, Attrs], Array],
    window: Callable[[Shapes, Attrs], Window] = pointwise,
) -> Op:
    """An op that computes nothing."""
    return Op(
        name=name,
        arity=(1, 1),
        attributes=attributes,
        weights=no_weights,
        shape=shape,
        macs=no_macs,
        window=window,
        reference=reference,
        tolerance=0.0,
    )


def spread_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(1, ...) -> (batch, ...): a value that all images share, for each of them."""
    if shapes[0][0] != 1:
        raise ShapeError(f"a batch of {shapes[0][0]}: it is shared by no images")
    return (attrs["batch"], *shapes[0][1:])


def spread_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The same for each image."""
    return np.repeat(xs[0], attrs["batch"], axis=0)


OPS = (
    # Positions lose their place in a vector: what reads it sees them all.
    mover("flatten", {}, flatten_shape, regrouped, whole_image),
    mover("reshape", {"dims": REQUIRED}, reshape_shape, regrouped, whole_image),
    mover("slice", {"start": REQUIRED, "stop": REQUIRED}, slice_shape, slice_reference),
    mover("dropout", {"p": 0.5}, dropout_shape, unchanged),
    mover("identity", {}, same_shape, unchanged),
    mover("spread", {"batch": REQUIRED}, spread_shape, spread_reference),
    mover("relayout", {}, same_shape, unchanged),
)
