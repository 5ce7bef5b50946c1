"""Norms with statistics of the image itself, and PReLU: ops with learned numbers per channel that cannot be folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cnncc.base.divisors import divisors
from cnncc.ops.columns import column, scaled_and_shifted
from cnncc.ops.domains import ANYTHING, FLAG, Choice, Inputs, Tried, divisors_of_channels
from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.forms import Always, Form, Syntax, numbers
from cnncc.ops.initial import BIAS_VALUES, normalized, uniform
from cnncc.ops.shapes import at_least, whole_image
from cnncc.ops.table import (
    Array,
    Arrays,
    Attrs,
    Op,
    Shape,
    ShapeError,
    Shapes,
    Weights,
    no_macs,
    one_position,
    same_shape,
)
from cnncc.ops.traits import COMPUTED, KEPT, Kind, PostOps


def group_norm_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Same as the input; the groups divide the channels."""
    at_least(1, attrs, "groups")
    groups, channels = attrs["groups"], shapes[0][1]
    if channels % groups:
        near = max(g for g in divisors(channels) if g <= groups)
        raise ShapeError(f"{groups} groups do not divide {channels} channels", hint=f"e.g. group_norm {near}")
    return shapes[0]


def group_norm_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One number per channel in two slots, unless `affine` is off."""
    return dict.fromkeys(("weight", "bias"), (shapes[0][1],)) if attrs["affine"] else {}


def group_norm_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """weight * (x - mean) / sqrt(variance + eps) + bias, statistics over each group of channels and all positions
    (Wu and He 2018). As many groups as channels is instance norm, one group layer norm."""
    x = xs[0]
    grouped = x.reshape(len(x), attrs["groups"], -1)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    variance = (centred * centred).mean(axis=2, keepdims=True)
    y = (centred / np.sqrt(variance + x.dtype.type(attrs["eps"]))).reshape(x.shape)
    return scaled_and_shifted(y, weights)


def prelu_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One slope per channel."""
    return {"weight": (shapes[0][1],)}


def prelu_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """x if x >= 0, else weight * x  (He et al. 2015)."""
    x = xs[0]
    return np.where(x < 0, column(weights, "weight", x), x.dtype.type(1)) * x


GROUP_NORM = Op(
    name="group_norm",
    arity=(1, 1),
    attributes={"groups": 1, "eps": 1e-5, "affine": True},
    weights=group_norm_weights,
    shape=group_norm_shape,
    macs=no_macs,
    window=whole_image,
    reference=group_norm_reference,
    tolerance=1e-5,
    traits=replace(COMPUTED, layout=KEPT, post_ops=PostOps.ACTIVATIONS_AND_ADDS),
    forms=(
        Form(
            "group_norm",
            "group_norm 1",
            (("groups", Syntax.COUNT),),
            words={**numbers("eps"), "noaffine": ("affine", Always(False))},
            chains=True,
            leads=True,
            after=(Kind.LINEAR,),
        ),
    ),
    tried=Tried(Inputs.VALUE, {"groups": divisors_of_channels, "affine": FLAG, "eps": Choice((1e-5, 0.1))}),
    initial={"weight": uniform(0.5, 1.5), "bias": BIAS_VALUES},
    spread=normalized,
)
PRELU = Op(
    name="prelu",
    arity=(1, 1),
    attributes={},
    weights=prelu_weights,
    shape=same_shape,
    macs=no_macs,
    window=one_position,
    reference=prelu_reference,
    tolerance=1e-6,
    traits=replace(COMPUTED, in_place=True),
    forms=(Form("prelu", "prelu", chains=True, leads=True),),
    tried=ANYTHING,
    initial={"weight": uniform(0.1, 0.4)},
)
OPS = (with_epilogue(GROUP_NORM), PRELU)
