"""Fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cnncc.ops.conv import add_bias, with_bias
from cnncc.ops.domains import FLAG, Inputs, Tried, Whole
from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.forms import BIAS, Form, Syntax
from cnncc.ops.initial import BIAS_VALUES, he_normal, he_scaled, products
from cnncc.ops.shapes import at_least, whole_image
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, Shapes, Weights
from cnncc.ops.traits import COMPUTED, KEPT, Kind, PostOps
from cnncc.ops.type_rules import floats_to_float32

MOST_COPIED = 1 << 23
"""Weights converted at a time: VGG's first layer in float64 would be 822 MB at once."""


def fc_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, k) or (n, c, h, w) -> (n, out)."""
    at_least(1, attrs, "out")
    return shapes[0][0], attrs["out"]


def fc_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """weight (out, c * h * w), columns in c, h, w order; bias (out,)."""
    return with_bias((attrs["out"], math.prod(shapes[0][1:])), attrs)


def fc_macs(shapes: Shapes, result: Shape, attrs: Attrs) -> int:
    """Every result takes one multiply-add per input element."""
    return math.prod(shapes[0]) * attrs["out"]


def fc_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """x @ weight.T + bias."""
    x = xs[0].reshape(len(xs[0]), -1)
    w = weights["weight"]
    rows = max(1, MOST_COPIED // w.shape[1])
    parts = [x @ w[i : i + rows].astype(x.dtype, copy=False).T for i in range(0, len(w), rows)]
    return add_bias(np.concatenate(parts, axis=1), weights)


FC = Op(
    name="fc",
    arity=(1, 1),
    attributes={"out": REQUIRED, "bias": True},
    weights=fc_weights,
    shape=fc_shape,
    macs=fc_macs,
    window=whole_image,
    reference=fc_reference,
    tolerance=1e-5,
    types=floats_to_float32,
    traits=replace(
        COMPUTED, kind=Kind.LINEAR, post_ops=PostOps.ACTIVATIONS_AND_ADDS, layout=KEPT, flat=True, half_weights=True
    ),
    forms=(
        Form(
            "fc",
            "fc 1000",
            (("out", Syntax.RESULTS),),
            words=BIAS,
            leads=True,
            synonyms=("linear", "dense", "gemm", "fullyconnected", "innerproduct"),
        ),
    ),
    tried=Tried(Inputs.VALUE, {"out": Whole(1, 6), "bias": FLAG}),
    initial={"weight": he_normal(products), "bias": BIAS_VALUES},
    spread=he_scaled,
)
OPS = (with_epilogue(FC),)
