"""Ops that move values to other places: axes in another order, and values repeated along axes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from cnncc.ops.domains import Choice, Each, Inputs, Shuffled, Tried, Whole
from cnncc.ops.forms import Always, Form, Syntax
from cnncc.ops.shapes import at_least, dims, whole_image
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, no_macs, no_weights
from cnncc.ops.traits import COMPUTED, LOGICAL
from cnncc.ops.type_rules import same_numbers


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


def permuted_channels(shapes: Shapes, attrs: Attrs) -> tuple[int, ...] | None:
    """The `channels` trait of a permutation: those of an image whose rows and columns stay where they are."""
    split, axes, new, old = attrs["split"], attrs["axes"], attrs["dims"], shapes[0][1:]
    if len(old) != 3 or len(new) != 3 or tuple(new[1:]) != tuple(old[1:]):
        return None
    for count in range(len(split) + 1):
        stay = tuple(axes[count:]) == tuple(range(count, len(split)))
        if stay and math.prod(split[count:]) == old[1] * old[2]:
            order = np.arange(old[0]).reshape(split[:count]).transpose(axes[:count])
            return tuple(order.ravel().tolist())
    return None


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


def transpose(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Rows become columns, in each channel."""
    c, h, w = shape[1:4]
    return {"split": (c, h, w), "axes": (0, 2, 1), "dims": (c, w, h)}


def shuffle(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Channels of `groups` groups taken in turns (ShuffleNet)."""
    groups, (c, h, w) = attrs["groups"], shape[1:4]
    return {"split": (groups, c // groups, h, w), "axes": (1, 0, 2, 3), "dims": (c, h, w)}


def depth_to_space(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Channels become blocks of b x b pixels; the pixel is the outermost part of the channel, with `crd` the innermost
    (as in PyTorch's PixelShuffle)."""
    b, (c, h, w) = attrs["block"], shape[1:4]
    few = c // (b * b)
    inner = attrs.get("crd", False)
    split, axes = ((few, b, b, h, w), (0, 3, 1, 4, 2)) if inner else ((b, b, few, h, w), (2, 3, 0, 4, 1))
    return {"split": split, "axes": axes, "dims": (few, h * b, w * b)}


def space_to_depth(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Blocks of b x b pixels become channels, the pixel being the outermost part of the channel."""
    b, (c, h, w) = attrs["block"], shape[1:4]
    return {"split": (c, h // b, b, w // b, b), "axes": (2, 4, 0, 1, 3), "dims": (b * b * c, h // b, w // b)}


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
    traits=replace(COMPUTED, layout=LOGICAL, channels=permuted_channels),
    forms=(
        Form(
            "permute",
            "permute 3x8x8 axes 0,2,1 to 3x8x8",
            (("split", Syntax.SIZES),),
            words={"axes": ("axes", Syntax.ORDER), "to": ("dims", Syntax.DIMS)},
        ),
        Form("transpose", "transpose", finish=transpose),
        Form("shuffle", "shuffle 3", (("groups", Syntax.COUNT),), finish=shuffle),
        Form(
            "depth_to_space",
            "depth_to_space 1",
            (("block", Syntax.COUNT),),
            words={"crd": ("crd", Always(True))},
            finish=depth_to_space,
        ),
        Form("space_to_depth", "space_to_depth 2", (("block", Syntax.COUNT),), finish=space_to_depth),
    ),
    tried=Tried(
        Inputs.VALUE,
        {
            "split": lambda shape, attrs: Choice((shape[1:],)),
            "axes": lambda shape, attrs: Shuffled(len(shape) - 1),
            "dims": lambda shape, attrs: Choice((tuple(shape[1 + axis] for axis in attrs["axes"]),)),
        },
    ),
    types=same_numbers,
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
    traits=replace(COMPUTED, layout=LOGICAL),
    forms=(Form("expand", "expand 3x8x8", (("dims", Syntax.DIMS),)),),
    tried=Tried(
        Inputs.VALUE,
        {"dims": lambda shape, attrs: Each(tuple(Whole(s, s if s > 1 else 3) for s in shape[1:]))},
    ),
    types=same_numbers,
)
OPS = (PERMUTE, EXPAND)
