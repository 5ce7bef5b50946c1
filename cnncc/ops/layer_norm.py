"""Norms across the channels of each pixel, global response norm, and learned scales: what newer networks put in the
place of batch norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cnncc.ops.columns import column, scaled_and_shifted
from cnncc.ops.domains import FLAG, Choice, Inputs, Tried
from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.forms import Always, Form, Word, numbers
from cnncc.ops.initial import BIAS_VALUES, normalized, uniform
from cnncc.ops.shapes import whole_image
from cnncc.ops.table import (
    Array,
    Arrays,
    Attrs,
    Op,
    Shape,
    Shapes,
    Weights,
    no_macs,
    one_position,
    same_shape,
)
from cnncc.ops.traits import COMPUTED, Kind, PostOps
from cnncc.ops.type_rules import floats

NORMED = replace(COMPUTED, post_ops=PostOps.ACTIVATIONS_AND_ADDS)


def layernorm_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One number per channel: none without `affine`, only a weight without `bias`."""
    slots = (("weight", "bias") if attrs["bias"] else ("weight",)) if attrs["affine"] else ()
    return dict.fromkeys(slots, (shapes[0][1],))


def layernorm_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """weight * (x - mean) / sqrt(variance + eps) + bias, with the statistics of each pixel's channels (Ba et al. 2016,
    as ConvNeXt has it: Liu et al. 2022)."""
    x = xs[0]
    centred = x - x.mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    return scaled_and_shifted(centred / np.sqrt(variance + x.dtype.type(attrs["eps"])), weights)


def rmsnorm_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One number per channel, unless `affine` is off."""
    return {"weight": (shapes[0][1],)} if attrs["affine"] else {}


def rmsnorm_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """weight * x / sqrt(mean of squares + eps), across each pixel's channels (Zhang and Sennrich 2019)."""
    x = xs[0]
    mean = (x * x).mean(axis=1, keepdims=True)
    return scaled_and_shifted(x / np.sqrt(mean + x.dtype.type(attrs["eps"])), weights)


def grn_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One number per channel in two slots."""
    return dict.fromkeys(("weight", "bias"), (shapes[0][1],))


def grn_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """x + weight * x * n + bias, where n is the length of each channel's plane over the mean length of all
    (global response norm: Woo et al. 2023, ConvNeXt V2, section 3.3)."""
    x = xs[0]
    length = np.sqrt((x * x).sum(axis=tuple(range(2, x.ndim)), keepdims=True))
    n = length / (length.mean(axis=1, keepdims=True) + x.dtype.type(attrs["eps"]))
    return x * (1 + column(weights, "weight", x) * n) + column(weights, "bias", x)


def scale_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One number per channel, and another with `bias`."""
    return dict.fromkeys(("weight", "bias") if attrs["bias"] else ("weight",), (shapes[0][1],))


def scale_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """weight * x + bias (ConvNeXt's layer scale; ResMLP's affine: Touvron et al. 2021)."""
    return scaled_and_shifted(xs[0], weights)


def scale_folds(weights: Weights, attrs: Attrs) -> tuple[Array, Array, Array]:
    """No mean; the weight, and the bias or zeros."""
    weight = weights["weight"].astype(np.float64)
    return np.zeros_like(weight), weight, weights.get("bias", np.zeros_like(weight))


NOAFFINE: Mapping[str, Word] = {"noaffine": ("affine", Always(False))}
NOBIAS: Mapping[str, Word] = {"nobias": ("bias", Always(False))}
EPS = Choice((1e-6, 0.1))
LAYERNORM = Op(
    name="layernorm",
    arity=(1, 1),
    attributes={"eps": 1e-5, "affine": True, "bias": True},
    weights=layernorm_weights,
    shape=same_shape,
    macs=no_macs,
    window=one_position,
    reference=layernorm_reference,
    tolerance=1e-5,
    traits=NORMED,
    types=floats,
    forms=(
        Form(
            "layernorm",
            "layernorm eps 1e-6",
            words={**numbers("eps"), **NOAFFINE, **NOBIAS},
            chains=True,
            leads=True,
            after=(Kind.LINEAR,),
            synonyms=("layernormalization", "ln"),
        ),
    ),
    tried=Tried(Inputs.VALUE, {"affine": FLAG, "bias": FLAG, "eps": EPS}),
    initial={"weight": uniform(0.5, 1.5), "bias": BIAS_VALUES},
    spread=normalized,
)
RMSNORM = Op(
    name="rmsnorm",
    arity=(1, 1),
    attributes={"eps": 1e-5, "affine": True},
    weights=rmsnorm_weights,
    shape=same_shape,
    macs=no_macs,
    window=one_position,
    reference=rmsnorm_reference,
    tolerance=1e-5,
    traits=NORMED,
    types=floats,
    forms=(
        Form(
            "rmsnorm",
            "rmsnorm eps 1e-6",
            words={**numbers("eps"), **NOAFFINE},
            chains=True,
            leads=True,
            after=(Kind.LINEAR,),
            synonyms=("rmsnormalization",),
        ),
    ),
    tried=Tried(Inputs.VALUE, {"affine": FLAG, "eps": EPS}),
    initial={"weight": uniform(0.5, 1.5)},
    spread=normalized,
)
GRN = Op(
    name="grn",
    arity=(1, 1),
    attributes={"eps": 1e-6},
    weights=grn_weights,
    shape=same_shape,
    macs=no_macs,
    window=whole_image,
    reference=grn_reference,
    tolerance=1e-5,
    traits=NORMED,
    forms=(
        Form(
            "grn",
            "grn",
            words=numbers("eps"),
            chains=True,
            leads=True,
            synonyms=("globalresponsenorm", "globalresponsenormalization"),
        ),
    ),
    tried=Tried(Inputs.VALUE, {"eps": EPS}),
    initial={"weight": uniform(-0.5, 0.5), "bias": BIAS_VALUES},
)
SCALE = Op(
    name="scale",
    arity=(1, 1),
    attributes={"bias": False},
    weights=scale_weights,
    shape=same_shape,
    macs=no_macs,
    window=one_position,
    reference=scale_reference,
    tolerance=1e-6,
    traits=replace(COMPUTED, post_ops=PostOps.ACTIVATIONS_AND_ADDS, in_place=True, folds=scale_folds),
    types=floats,
    forms=(
        Form(
            "scale",
            "scale",
            words={"bias": ("bias", Always(True))},
            chains=True,
            leads=True,
            after=(Kind.LINEAR,),
            synonyms=("layerscale",),
        ),
    ),
    tried=Tried(Inputs.VALUE, {"bias": FLAG}),
    initial={"weight": uniform(0.5, 1.5), "bias": BIAS_VALUES},
)
OPS = tuple(map(with_epilogue, (LAYERNORM, RMSNORM, GRN, SCALE)))
