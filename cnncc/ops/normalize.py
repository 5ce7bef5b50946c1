"""Batch norm with fixed statistics, local response norm, softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cnncc.ops.columns import column
from cnncc.ops.domains import ANYTHING, Choice, Inputs, Tenths, Tried
from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.forms import Form, Syntax, numbers
from cnncc.ops.initial import BATCH_NORM, activated, normalized_and_shifted
from cnncc.ops.onnx import Onnx
from cnncc.ops.shapes import at_least, image, whole_image
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
    no_weights,
    one_position,
    same_shape,
)
from cnncc.ops.traits import COMPUTED, LOGICAL, Kind, Memory, PostOps
from cnncc.ops.type_rules import floats


def bn_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """Four slots of one number per channel."""
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (shapes[0][1],))


def bn_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """weight * (x - running_mean) / sqrt(running_var + eps) + bias  (Ioffe and Szegedy 2015, inference)."""
    x = xs[0]
    slots = ("weight", "bias", "running_mean", "running_var")
    gain, bias, mean, var = (column(weights, slot, x) for slot in slots)
    return (x - mean) * (gain / np.sqrt(var + x.dtype.type(attrs["eps"]))) + bias


def bn_folds(weights: Weights, attrs: Attrs) -> tuple[Array, Array, Array]:
    """The mean, weight / sqrt(running_var + eps), and the bias."""
    scale = weights["weight"] / np.sqrt(weights["running_var"].astype(np.float64) + attrs["eps"])
    return weights["running_mean"].astype(np.float64), scale, weights["bias"]


def lrn_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Same as the input; nothing is divided by zero."""
    at_least(1, attrs, "size")
    if attrs["k"] <= 0:
        raise ShapeError(f"k {attrs['k']:g} must be positive: zeros would be divided by it", hint="k 1, or k 2")
    return shapes[0]


def lrn_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """x / (k + alpha / size * sum of squares over `size` channels) ** beta  (Krizhevsky 2012, with alpha / size).

    A window of even size reaches one channel further up than down.
    """
    x = xs[0]
    size, channels = attrs["size"], x.shape[1]
    squares = np.pad(x * x, [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (x.ndim - 2)])
    total = sum(squares[:, i : i + channels] for i in range(attrs["size"]))
    kind = x.dtype.type
    return x / (kind(attrs["k"]) + kind(attrs["alpha"] / attrs["size"]) * total) ** kind(attrs["beta"])


def softmax_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """exp(x) / sum(exp(x)) over the channels, shifted by the largest so that nothing overflows."""
    powers = np.exp(xs[0] - xs[0].max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def rows_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """That of the image."""
    image(shapes[0])
    return shapes[0]


def softmax_rows_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The same over the columns of each row: an attention's shares."""
    return softmax_reference((xs[0].swapaxes(1, 3),), weights, attrs).swapaxes(1, 3)


BN = Op(
    name="bn",
    arity=(1, 1),
    attributes={"eps": 1e-5},
    weights=bn_weights,
    shape=same_shape,
    macs=no_macs,
    window=one_position,
    reference=bn_reference,
    tolerance=2e-6,
    traits=replace(COMPUTED, post_ops=PostOps.ACTIVATIONS_AND_ADDS, in_place=True, folds=bn_folds),
    types=floats,
    forms=(
        Form(
            "bn",
            "conv 3x3 64 bn",
            words=numbers("eps"),
            chains=True,
            leads=True,
            after=(Kind.LINEAR,),
            unbiased=True,
            synonyms=("batchnorm", "batchnormalization"),
        ),
    ),
    tried=Tried(Inputs.VALUE, {"eps": Choice((1e-5, 1e-3))}),
    initial=BATCH_NORM,
    spread=normalized_and_shifted,
)
LRN = Op(
    name="lrn",
    arity=(1, 1),
    attributes={"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0},
    weights=no_weights,
    shape=lrn_shape,
    macs=no_macs,
    window=one_position,
    reference=lrn_reference,
    tolerance=5e-6,
    traits=COMPUTED,
    forms=(
        Form(
            "lrn",
            "lrn size 5",
            words={"size": ("size", Syntax.COUNT), **numbers("alpha", "beta", "k")},
            chains=True,
            leads=True,
            synonyms=("localresponsenorm", "localresponsenormalization"),
        ),
    ),
    tried=Tried(Inputs.IMAGE, {"size": Choice((1, 3, 5)), "k": Tenths(10, 30)}),
    spread=activated,
)
SOFTMAX = Op(
    name="softmax",
    arity=(1, 1),
    attributes={},
    weights=no_weights,
    shape=same_shape,
    macs=no_macs,
    window=one_position,
    reference=softmax_reference,
    tolerance=5e-6,
    traits=replace(COMPUTED, memory=Memory.OVER),
    forms=(Form("softmax", "softmax", chains=True),),
    tried=ANYTHING,
    onnx=Onnx("Softmax", fixed={"axis": 1}),
)
SOFTMAX_ROWS = Op(
    name="softmax_rows",
    arity=(1, 1),
    attributes={},
    weights=no_weights,
    shape=rows_shape,
    macs=no_macs,
    window=whole_image,
    reference=softmax_rows_reference,
    tolerance=5e-6,
    traits=replace(COMPUTED, layout=LOGICAL, memory=Memory.OVER),
    forms=(Form("softmax_rows", "softmax_rows", chains=True),),
    tried=Tried(Inputs.IMAGE, {}),
    onnx=Onnx("Softmax", fixed={"axis": 3}),
)
OPS = (with_epilogue(BN), LRN, SOFTMAX, SOFTMAX_ROWS)
