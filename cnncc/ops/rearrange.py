"""Ops that only name or regroup values: flatten, reshape, slice, and the three identities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cnncc.ops.domains import ANYTHING, Inputs, Tenths, Tried, Whole, choice, untried
from cnncc.ops.forms import Form, Syntax, numbers, unpack
from cnncc.ops.onnx import Onnx
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
    one_position,
    same_shape,
)
from cnncc.ops.traits import COMPUTED, KEPT, LOGICAL, Kind, Memory, Traits, all_channels, always, if_same_shape
from cnncc.ops.type_rules import same_numbers

ShapeRule = Callable[[Shapes, Attrs], Shape]
Reference = Callable[[Arrays, Weights, Attrs], Array]
WindowRule = Callable[[Shapes, Attrs], Window]


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


def taken_channels(source: Shape, attrs: Attrs) -> tuple[int, int]:
    """The `view` trait of a slice."""
    return attrs["start"], attrs["stop"]


def sliced_channels(shapes: Shapes, attrs: Attrs) -> tuple[int, ...]:
    """The `channels` trait of a slice."""
    return tuple(range(*taken_channels(shapes[0], attrs)))


def regroupings(count: int) -> Iterator[Shape]:
    """Shapes of so many values: as a vector, and as images."""
    yield (count,)
    for first in (d for d in range(1, count + 1) if count % d == 0):
        yield (first, count // first, 1)
        yield (1, first, count // first)


def slice_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Channels start .. stop - 1."""
    return xs[0][:, attrs["start"] : attrs["stop"]]


def unchanged(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """x itself: dropout does nothing at inference, relayout changes memory only."""
    return xs[0]


def spread_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(1, ...) -> (batch, ...): a value that all images share, for each of them."""
    if shapes[0][0] != 1:
        raise ShapeError(f"a batch of {shapes[0][0]}: it is shared by no images")
    return (attrs["batch"], *shapes[0][1:])


def spread_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The same for each image."""
    return np.repeat(xs[0], attrs["batch"], axis=0)


def mover(
    name: str,
    attributes: Attrs,
    rules: tuple[ShapeRule, Reference, WindowRule],
    traits: Traits,
    form: Form | None,
    tried: Tried,
) -> Op:
    """An op that computes nothing, of numbers of any type."""
    shape, reference, window = rules
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
        traits=traits,
        forms=(form,) if form else (),
        tried=tried,
        onnx=ONNX.get(name),
        types=same_numbers,
    )


ONNX = {"flatten": Onnx("Flatten", fixed={"axis": 1}), "identity": Onnx("Identity")}
REGROUPED = replace(
    COMPUTED,
    layout=LOGICAL,
    memory=Memory.PART,
    unchanged=if_same_shape,
    view=all_channels,
    regroups=True,
)
LATE = untried("only passes for a machine or a batch add it")
OPS = (
    # Positions lose their place in a vector: what reads it sees them all.
    mover("flatten", {}, (flatten_shape, regrouped, whole_image), REGROUPED, Form("flatten", "flatten"), ANYTHING),
    mover(
        "reshape",
        {"dims": REQUIRED},
        (reshape_shape, regrouped, whole_image),
        REGROUPED,
        Form("reshape", "reshape 12x4x4", (("dims", Syntax.DIMS),), synonyms=("view",)),
        Tried(Inputs.VALUE, {"dims": lambda shape, attrs: choice(regroupings(math.prod(shape[1:])))}),
    ),
    mover(
        "slice",
        {"start": REQUIRED, "stop": REQUIRED},
        (slice_shape, slice_reference, one_position),
        replace(COMPUTED, memory=Memory.PART, unchanged=if_same_shape, view=taken_channels, channels=sliced_channels),
        Form(
            "slice",
            "slice 0:2",
            (("start+stop", Syntax.BOUNDS),),
            finish=unpack("start+stop"),
            synonyms=("narrow",),
        ),
        Tried(
            Inputs.VALUE,
            {
                "start": lambda shape, attrs: Whole(0, shape[1] - 1),
                "stop": lambda shape, attrs: Whole(attrs["start"] + 1, shape[1]),
            },
        ),
    ),
    mover(
        "dropout",
        {"p": 0.5},
        (dropout_shape, unchanged, one_position),
        replace(COMPUTED, memory=Memory.PART, unchanged=always),
        Form(
            "dropout",
            "dropout 0.5",
            optional=("p", Syntax.NUMBER),
            words=numbers("p"),
            chains=True,
            leads=True,
            after=(Kind.LINEAR, Kind.POINTWISE),
            synonyms=("droppath",),
        ),
        Tried(Inputs.VALUE, {"p": Tenths(1, 9)}),
    ),
    mover(
        "identity",
        {},
        (same_shape, unchanged, one_position),
        replace(COMPUTED, layout=KEPT, memory=Memory.PART, unchanged=always),
        Form("identity", "identity", chains=True, after=(), synonyms=("noop", "pass")),
        ANYTHING,
    ),
    mover("spread", {"batch": REQUIRED}, (spread_shape, spread_reference, one_position), COMPUTED, None, LATE),
    mover("relayout", {}, (same_shape, unchanged, one_position), COMPUTED, None, LATE),
)
