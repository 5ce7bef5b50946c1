"""Merges: sum, product, extremes, quotient, power and concatenation. A batch of 1 (a constant) serves all images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from cnncc.ops.domains import Inputs, Tried, Values
from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.forms import Form
from cnncc.ops.initial import merged, mixture
from cnncc.ops.onnx import Onnx
from cnncc.ops.pointwise import Formula
from cnncc.ops.shapes import dims, listing
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
)
from cnncc.ops.traits import COMPUTED, Finite, Kind, PostOps
from cnncc.ops.type_rules import floats, same_numbers
from cnncc.ops.vectors import NumpyVectors, Value, Vectors


def merged_batch(shapes: Shapes) -> int:
    """The common batch; ShapeError unless every batch is that or 1."""
    batch = max(s[0] for s in shapes)
    if any(s[0] not in (1, batch) for s in shapes):
        raise ShapeError(f"batches differ: {listing(str(s[0]) for s in shapes)}")
    return batch


def arms_differ(shapes: Shapes, hint: str) -> ShapeError:
    return ShapeError(f"arms differ: {listing(map(dims, shapes))}", hint)


def elementwise_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """All equal, or c x 1 x 1 and 1 x h x w among c x h x w."""
    largest = max((s[1:] for s in shapes), key=np.prod)
    per_channel, per_pixel = (largest[0], *(1,) * (len(largest) - 1)), (1, *largest[1:])
    fitting = (largest, per_channel, per_pixel) if len(largest) > 1 else (largest,)
    if any(s[1:] not in fitting for s in shapes):
        raise arms_differ(shapes, "all arms need the same shape, or c x 1 x 1 or 1 x h x w beside c x h x w")
    return (merged_batch(shapes), *largest)


def concat_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Channels add up; everything else is equal."""
    rest = shapes[0][2:]
    if any(len(s) != len(shapes[0]) or s[2:] != rest for s in shapes):
        raise arms_differ(shapes, "concat needs arms of the same height and width")
    return (merged_batch(shapes), sum(s[1] for s in shapes), *rest)


def concat_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Channels of all arms, in argument order."""
    batch = max(len(x) for x in xs)
    return np.concatenate([np.broadcast_to(x, (batch, *x.shape[1:])) for x in xs], axis=1)


def joined_channels(shapes: Shapes, attrs: Attrs) -> tuple[int, ...]:
    """The `channels` trait of concat: all."""
    return tuple(range(sum(shape[1] for shape in shapes)))


def of_pairs(function: Callable[[Vectors, Value, Value], Value]) -> Formula:
    """A formula of two or more values: the function of the first two, then of what that gave and the next."""
    return lambda v, *values: reduce(lambda a, b: function(v, a, b), values)


ADD = of_pairs(lambda v, a, b: v.let(a + b))
MUL = of_pairs(lambda v, a, b: v.let(a * b))
MAX = of_pairs(lambda v, a, b: v.let(v.select(v.is_nan(a), a, v.max(a, b))))
MIN = of_pairs(lambda v, a, b: v.let(v.select(v.is_nan(a), a, v.min(a, b))))
DIV = of_pairs(lambda v, a, b: v.let(a / b))
POW = of_pairs(lambda v, a, b: v.pair("pow", a, b))
MOD = of_pairs(lambda v, a, b: v.pair("mod", a, b))
FMOD = of_pairs(lambda v, a, b: v.pair("fmod", a, b))


@dataclass(frozen=True)
class Merge:
    """A function of one element of each of several tensors that fit each other."""

    name: str
    formula: Formula
    """How kernels compute it, and the reference. It takes as many values as the op."""
    tolerance: float
    finite: Finite
    onnx: Onnx | None
    """The same op in ONNX. Without one, `cnncc/frontends/onnx` needs a rule for writing it."""
    synonyms: tuple[str, ...] = ()
    arity: tuple[int, int | None] = (2, 2)
    values: Values = Values.ANY
    """Those that it is tried with."""
    example: str = ""
    """One use of it in a text, if `NAME { | sigmoid }` is none."""

    def op(self) -> Op:
        """The entry of the op table."""
        example = self.example or f"{self.name} {{ | sigmoid }}"

        def reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
            kind = xs[0].dtype
            with np.errstate(all="ignore"):
                return np.asarray(self.formula(NumpyVectors(kind), *xs), kind)

        return with_epilogue(
            Op(
                name=self.name,
                arity=self.arity,
                attributes={},
                weights=no_weights,
                shape=elementwise_shape,
                macs=no_macs,
                window=one_position,
                reference=reference,
                tolerance=self.tolerance,
                traits=replace(
                    COMPUTED, kind=Kind.MERGE, post_ops=PostOps.ACTIVATIONS, finite=self.finite, in_place=True
                ),
                forms=(Form(self.name, example, arms=True, leads=True, synonyms=self.synonyms),),
                tried=Tried(Inputs.FITTING, {}, self.values),
                spread=merged,
                onnx=self.onnx,
                types=floats,
            )
        )


MERGES: dict[str, Merge] = {}
"""Every merge by name."""


def merge_ops(*merges: Merge) -> tuple[Op, ...]:
    """The ops of a file of merges, which from then on have their kernels."""
    MERGES.update((merge.name, merge) for merge in merges)
    return tuple(merge.op() for merge in merges)


CONCAT = Op(
    name="concat",
    arity=(2, None),
    attributes={},
    weights=no_weights,
    shape=concat_shape,
    macs=no_macs,
    window=one_position,
    reference=concat_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, kind=Kind.CONCAT, channels=joined_channels),
    forms=(
        Form(
            "concat",
            "concat { conv 3x3 64 | }",
            arms=True,
            leads=True,
            synonyms=("cat", "concatenate", "merge"),
        ),
        Form("cropcat", "cropcat { conv 3x3 64 pad 0 | }", arms=True),
    ),
    tried=Tried(Inputs.FITTING, {}),
    spread=mixture,
    types=same_numbers,
)
SUM: tuple[int, int | None] = (2, None)
"""Two or more."""
OPS = (
    *merge_ops(
        Merge(
            "add",
            ADD,
            1e-6,
            Finite.ALWAYS,
            onnx=None,
            synonyms=("sum", "plus", "residual"),
            arity=SUM,
            example="add { conv 3x3 3 | }",
        ),
        Merge(
            "mul",
            MUL,
            1e-6,
            Finite.ALWAYS,
            onnx=None,
            synonyms=("multiply", "times"),
            arity=SUM,
            example="mul { conv 3x3 3 | }",
        ),
        Merge(
            "max",
            MAX,
            0.0,
            Finite.ALWAYS,
            Onnx("Max"),
            synonyms=("maximum",),
            arity=SUM,
            example="max { conv 3x3 3 | }",
        ),
        Merge(
            "min",
            MIN,
            0.0,
            Finite.ALWAYS,
            Onnx("Min"),
            synonyms=("minimum",),
            arity=SUM,
            example="min { conv 3x3 3 | }",
        ),
        Merge(
            "div",
            DIV,
            1e-6,
            Finite.NOT_AT_ZERO,
            Onnx("Div"),
            ("divide",),
            values=Values.LAST_POSITIVE,
        ),
        Merge("pow", POW, 2e-6, Finite.AT_ZERO, Onnx("Pow"), values=Values.POSITIVE),
        Merge(
            "fmod",
            FMOD,
            0.0,
            Finite.NOT_AT_ZERO,
            Onnx("Mod", fixed={"fmod": 1}),
            values=Values.EXACT,
        ),
        Merge("mod", MOD, 1e-6, Finite.NOT_AT_ZERO, onnx=None, values=Values.EXACT),
    ),
    CONCAT,
)
