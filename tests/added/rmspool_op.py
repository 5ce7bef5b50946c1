"""rmspool: the root of the mean of squares of each window. The first of three files: the op, in `cnncc/ops`."""

from __future__ import annotations

import numpy as np

from cnncc.ops.domains import Inputs, Tried, pair
from cnncc.ops.forms import KERNEL, Form, Syntax
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, Shapes, Weights, no_macs, no_weights
from cnncc.ops.traits import COMPUTED
from cnncc.ops.window import counts, sliding, windows

FIXED: Attrs = {"pad": (0, 0, 0, 0), "rounding": "floor"}


def shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c, oh, ow)."""
    return (*shapes[0][:2], *counts(shapes[0], {**attrs, **FIXED}))


def reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Window by window."""
    return np.sqrt(np.mean(windows(xs[0] * xs[0], {**attrs, **FIXED}, fill=0), axis=(0, 1)))


RMSPOOL = Op(
    name="rmspool",
    arity=(1, 1),
    attributes={"kernel": REQUIRED, "stride": (1, 1)},
    weights=no_weights,
    shape=shape,
    macs=no_macs,
    window=lambda shapes, attrs: sliding(shapes, {**attrs, **FIXED}),
    reference=reference,
    tolerance=2e-6,
    traits=COMPUTED,
    forms=(Form("rmspool", "rmspool 2x2 /2", (KERNEL,), words={"/": ("stride", Syntax.PAIR)}),),
    tried=Tried(Inputs.IMAGE, {"kernel": pair(1, 3), "stride": pair(1, 3)}),
)
OPS = (RMSPOOL,)
