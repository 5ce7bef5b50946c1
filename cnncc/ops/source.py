"""Where values come from: the network's inputs and learned tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnncc.ops.shapes import at_least
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
    no_macs,
    no_weights,
    pointwise,
)


def check_dims(attrs: Attrs) -> Shape:
    """The dims of one image or vector, all at least 1."""
    shape = tuple(attrs["dims"])
    text = "x".join(map(str, shape))
    if len(shape) not in (1, 3):
        raise ShapeError(f"dims {text}: an image is channels x height x width, a vector one number")
    at_least(1, {"dims": shape}, "dims")
    return shape


def input_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(batch, *dims); mean and std have one number, or one per channel, or none."""
    shape = check_dims(attrs)
    at_least(1, attrs, "batch")
    for name in ("mean", "std"):
        if len(attrs[name]) not in (0, 1, shape[0]):
            raise ShapeError(f"{name} has {len(attrs[name])} numbers, the input {shape[0]} channels")
    if any(s == 0 for s in attrs["std"]):
        raise ShapeError("std is 0: the input is divided by it")
    return (attrs["batch"], *shape)


def input_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """(x - mean) / std of what the caller passes, channel by channel."""
    x = xs[0]
    column = (-1, *(1,) * (x.ndim - 2))
    mean, std = (np.array(attrs[name] or (neutral,), x.dtype) for name, neutral in (("mean", 0), ("std", 1)))
    return (x - mean.reshape(column)) / std.reshape(column)


def const_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(1, *dims), for every batch."""
    return (1, *check_dims(attrs))


def const_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One slot, `value`."""
    return {"value": (1, *attrs["dims"])}


def const_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The value, in the dtype it is given in."""
    return weights["value"]


INPUT = Op(
    name="input",
    arity=(0, 0),
    attributes={"dims": REQUIRED, "batch": 1, "mean": (), "std": ()},
    weights=no_weights,
    shape=input_shape,
    macs=no_macs,
    window=pointwise,
    reference=input_reference,
    tolerance=1e-6,
)
CONST = Op(
    name="const",
    arity=(0, 0),
    attributes={"dims": REQUIRED},
    weights=const_weights,
    shape=const_shape,
    macs=no_macs,
    window=pointwise,
    reference=const_reference,
    tolerance=0.0,
)
OPS = (INPUT, CONST)
