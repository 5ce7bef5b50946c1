"""Products of two computed tensors, and the largest values of each position."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cnncc.ops.combine import arms_differ, merged_batch
from cnncc.ops.domains import FLAG, Arm, Choice, Inputs, Tried, Whole
from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.forms import Always, Form, Syntax
from cnncc.ops.onnx import Onnx
from cnncc.ops.shapes import at_least, image, whole_image
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
from cnncc.ops.traits import COMPUTED, LOGICAL, PostOps


def matmul_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, k) and (n, c, k, w) -> (n, c, h, w)."""
    (_, c, h, k), (_, c2, k2, w) = map(image, shapes)
    if (c, k) != (c2, k2):
        raise arms_differ(shapes, "matmul takes c x h x k and c x k x w")
    return merged_batch(shapes), c, h, w


def matmul_macs(shapes: Shapes, result: Shape, attrs: Attrs) -> int:
    """Every result takes k multiply-adds."""
    return math.prod(result) * shapes[0][3]


def matmul_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """A matrix product for each channel."""
    return xs[0] @ xs[1]


def topk_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, ...) -> (n, k, ...)."""
    at_least(1, attrs, "k")
    channels = shapes[0][1]
    if attrs["k"] > channels:
        raise ShapeError(f"the {attrs['k']} largest of {channels} channels", hint=f"at most topk {channels}")
    return (shapes[0][0], attrs["k"], *shapes[0][2:])


def topk_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The k largest values of each position (or smallest), in order, or their channels; of equal ones the first comes
    first, with `last` the last."""
    x = xs[0]
    keys = -x if attrs["largest"] else x
    if attrs["last"]:
        order = x.shape[1] - 1 - np.argsort(keys[:, ::-1], axis=1, kind="stable")
    else:
        order = np.argsort(keys, axis=1, kind="stable")
    chosen = order[:, : attrs["k"]]
    return chosen.astype(x.dtype) if attrs["indices"] else np.take_along_axis(x, chosen, axis=1)


MATMUL = Op(
    name="matmul",
    arity=(2, 2),
    attributes={},
    weights=no_weights,
    shape=matmul_shape,
    macs=matmul_macs,
    window=whole_image,
    reference=matmul_reference,
    tolerance=1e-5,
    # The last tiles of a product overlap the ones before: what is added there is read twice.
    traits=replace(COMPUTED, layout=LOGICAL, post_ops=PostOps.ACTIVATIONS_AND_ADDS, over_added=False),
    forms=(Form("matmul", "matmul { | sigmoid }", arms=True, leads=True),),
    tried=Tried(Inputs.IMAGE, {}, arms=(Arm(lambda s: (Choice((s[1],)), Choice((s[3],)), Choice((1, 7, 8, 17)))),)),
    onnx=Onnx("MatMul"),
)
TOPK = Op(
    name="topk",
    arity=(1, 1),
    attributes={"k": REQUIRED, "largest": True, "indices": False, "last": False},
    weights=no_weights,
    shape=topk_shape,
    macs=no_macs,
    window=one_position,
    reference=topk_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, layout=LOGICAL),
    forms=(
        Form(
            "topk",
            "topk 1",
            (("k", Syntax.COUNT),),
            words={
                "smallest": ("largest", Always(False)),
                "indices": ("indices", Always(True)),
                "last": ("last", Always(True)),
            },
        ),
    ),
    tried=Tried(
        Inputs.VALUE,
        {"k": lambda shape, attrs: Whole(1, shape[1]), "largest": FLAG, "indices": FLAG, "last": FLAG},
    ),
)
OPS = (with_epilogue(MATMUL), TOPK)
