"""Ops that read an image in parts: at regular steps, at listed places, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cnncc.ops.domains import Choice, Each, Inputs, Several, Tried, Whole, window_domains, without
from cnncc.ops.forms import DILATION, KERNEL, STRIDE_PAD, Form, Syntax
from cnncc.ops.permute import check_dims, sides
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
    Weights,
    Window,
    no_macs,
    no_weights,
    one_position,
)
from cnncc.ops.traits import COMPUTED, LOGICAL
from cnncc.ops.type_rules import same_numbers
from cnncc.ops.window import counts, sliding, windows

AXES = ("channels", "rows", "columns")


def places(attrs: Attrs) -> tuple[range, ...]:
    """What a strided slice takes along each axis of an image; `start` is 0 and `step` 1 where they are not given."""
    along = zip(attrs["dims"], *starts_and_steps(attrs), strict=True)
    return tuple(range(start, start + size * step, step) for size, start, step in along)


def starts_and_steps(attrs: Attrs) -> tuple[Shape, Shape]:
    """Where a strided slice begins along each axis, and its steps."""
    axes = len(attrs["dims"])
    return attrs["start"] or (0,) * axes, attrs["step"] or (1,) * axes


def strided_slice_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, ...) -> (n, *dims): along each axis the positions start, start + step, ..."""
    new, old = attrs["dims"], shapes[0][1:]
    check_dims(new)
    for name in ("start", "step"):
        if len(attrs[name]) not in (0, len(new)):
            raise ShapeError(f"{name} has {len(attrs[name])} numbers, {sides(new)} has {len(new)}")
    if len(new) != len(old):
        raise ShapeError(f"a strided slice of {dims(shapes[0])} has as many sides, got {sides(new)}")
    if 0 in attrs["step"]:
        raise ShapeError("step 0: each step leads to another position", hint="negative steps go backwards")
    for axis, (size, taken) in enumerate(zip(old, places(attrs), strict=True)):
        for at in (taken[0], taken[-1]):
            if not 0 <= at < size:
                where = AXES[axis] if len(old) > 1 else "values"
                raise ShapeError(f"position {at} of {size} {where}", hint=f"they are counted from 0 to {size - 1}")
    return (shapes[0][0], *new)


def strided_slice_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The positions of each axis, one axis after the other."""
    x = xs[0]
    for axis, taken in enumerate(places(attrs), start=1):
        x = x.take(taken, axis=axis)
    return x


def stepped_channels(shapes: Shapes, attrs: Attrs) -> tuple[int, ...] | None:
    """The `channels` trait of a strided slice that takes all rows and columns in order."""
    first, *rest = places(attrs)
    whole = all(taken == range(size) for taken, size in zip(rest, shapes[0][2:], strict=True))
    return tuple(first) if whole else None


def take_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, ...) with as many positions along an axis as there are indices."""
    shape, axis, indices = shapes[0], attrs["axis"], attrs["indices"]
    if not 0 <= axis < len(shape) - 1:
        raise ShapeError(f"axis {axis} of {dims(shape)}", hint=f"axes are counted from 0 to {len(shape) - 2}")
    size = shape[axis + 1]
    if not indices:
        raise ShapeError("takes nothing", hint="name at least one position")
    wrong = [i for i in indices if not 0 <= i < size]
    if wrong:
        raise ShapeError(f"position {wrong[0]} of {size} along axis {axis}", hint=f"counted from 0 to {size - 1}")
    return (*shape[: axis + 1], len(indices), *shape[axis + 2 :])


def taken_channels(shapes: Shapes, attrs: Attrs) -> tuple[int, ...] | None:
    """The `channels` trait of take."""
    return tuple(attrs["indices"]) if attrs["axis"] == 0 else None


def take_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The named positions in the named order."""
    return np.take(xs[0], attrs["indices"], axis=attrs["axis"] + 1)


def unfold_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c * kh * kw, oh, ow): what each window sees, as channels; the taps of a channel follow each
    other (im2col)."""
    n, c, _, _ = image(shapes[0])
    at_least(1, attrs, "kernel")
    return (n, c * math.prod(attrs["kernel"]), *counts(shapes[0], {**attrs, "rounding": "floor"}))


def unfold_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Windows with zeros as padding, taps after channels."""
    view = windows(xs[0], {**attrs, "rounding": "floor"}, fill=0)
    kh, kw, n, c, oh, ow = view.shape
    return np.ascontiguousarray(view.transpose(2, 3, 0, 1, 4, 5)).reshape(n, c * kh * kw, oh, ow)


def covered(shapes: Shapes, attrs: Attrs) -> Window:
    """The `window` rule of a strided slice: the steps of rows and columns."""
    down, across = (*(attrs["step"] or (1, 1, 1))[1:], 1, 1)[:2]
    return (1, 1), (abs(down), abs(across))


def reached(sizes: Shape, attrs: Attrs) -> Iterator[int]:
    """How many positions each axis has from its start on."""
    for size, start, step in zip(sizes, attrs["start"], attrs["step"], strict=True):
        yield len(range(start, size if step > 0 else -1, step))


STRIDED_SLICE = Op(
    name="strided_slice",
    arity=(1, 1),
    attributes={"dims": REQUIRED, "start": (), "step": ()},
    weights=no_weights,
    shape=strided_slice_shape,
    macs=no_macs,
    window=covered,
    reference=strided_slice_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, layout=LOGICAL, channels=stepped_channels),
    forms=(
        Form(
            "strided_slice",
            "strided_slice 3x4x4 at 0,1,0 step 1,2,2",
            (("dims", Syntax.DIMS),),
            words={"at": ("start", Syntax.POSITIONS), "step": ("step", Syntax.STEPS)},
        ),
    ),
    tried=Tried(
        Inputs.VALUE,
        {
            "start": lambda shape, attrs: Each(tuple(Whole(0, size - 1) for size in shape[1:])),
            "step": lambda shape, attrs: Each((Choice((-3, -2, -1, 1, 2, 3)),) * (len(shape) - 1)),
            "dims": lambda shape, attrs: Each(tuple(Whole(1, most) for most in reached(shape[1:], attrs))),
        },
    ),
    types=same_numbers,
)
TAKE = Op(
    name="take",
    arity=(1, 1),
    attributes={"indices": REQUIRED, "axis": 0},
    weights=no_weights,
    shape=take_shape,
    macs=no_macs,
    window=one_position,
    reference=take_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, layout=LOGICAL, channels=taken_channels),
    forms=(Form("take", "take 2,0 axis 1", (("indices", Syntax.POSITIONS),), words={"axis": ("axis", Syntax.AXIS)}),),
    tried=Tried(
        Inputs.VALUE,
        {
            "axis": lambda shape, attrs: Whole(0, len(shape) - 2),
            "indices": lambda shape, attrs: Several(Whole(0, shape[attrs["axis"] + 1] - 1), 1, 5),
        },
    ),
    types=same_numbers,
)
UNFOLD = Op(
    name="unfold",
    arity=(1, 1),
    attributes={"kernel": REQUIRED, "stride": (1, 1), "pad": (0, 0, 0, 0), "dilation": (1, 1)},
    weights=no_weights,
    shape=unfold_shape,
    macs=no_macs,
    window=sliding,
    reference=unfold_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, layout=LOGICAL),
    forms=(Form("unfold", "unfold 3x3 pad 1", (KERNEL,), words={**STRIDE_PAD, **DILATION}),),
    tried=Tried(Inputs.IMAGE, without(window_domains(pooling=False), "rounding")),
)
OPS = (STRIDED_SLICE, TAKE, UNFOLD)
