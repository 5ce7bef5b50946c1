"""pick: channels of several images in any order. Only a pass makes it, of slices, concats and shuffles in a row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cnncc.ops.combine import concat_reference, concat_shape
from cnncc.ops.domains import untried
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
    one_position,
)
from cnncc.ops.traits import COMPUTED
from cnncc.ops.type_rules import same_numbers


def pick_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w), ... -> (n, len(channels), h, w)."""
    n, total, *rest = concat_shape(shapes, {})
    wrong = [i for i in attrs["channels"] if not 0 <= i < total]
    if wrong or not attrs["channels"]:
        found = f"channel {wrong[0]}" if wrong else "nothing"
        raise ShapeError(f"picks {found} of {total} channels", hint=f"they are counted from 0 to {total - 1}")
    return (n, len(attrs["channels"]), *rest)


def pick_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Channels of the inputs one behind the other."""
    return np.take(concat_reference(xs, weights, {}), attrs["channels"], axis=1)


def picked(shapes: Shapes, attrs: Attrs) -> tuple[int, ...]:
    """The `channels` trait of pick."""
    return tuple(attrs["channels"])


PICK = Op(
    name="pick",
    arity=(1, None),
    attributes={"channels": REQUIRED},
    weights=no_weights,
    shape=pick_shape,
    macs=no_macs,
    window=one_position,
    reference=pick_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, channels=picked),
    forms=(),
    tried=untried("only the pass join_channels adds it"),
    types=same_numbers,
)
OPS = (PICK,)
