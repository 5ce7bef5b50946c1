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
from cnncc.ops.traits import COMPUTED, Finite, Hosts, Kind

Reference = Callable[[Arrays, Weights, Attrs], Array]


def merged_batch(shapes: Shapes) -> int:
    """The common batch; ShapeError unless every batch is that or 1."""
    batch = max(s[0] for s in shapes)
    if any(s[0] not in (1, batch) for s in shapes):
        raise ShapeError(f"batches differ: {listing(str(s[0]) for s in shapes)}")
    return batch


def arms_differ(shapes: Shapes, hint: str) -> ShapeError:
    return ShapeError(f"arms differ: {listing(map(dims, shapes))}", hint)


def elementwise_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """All equal, or c x 1 x 1 among c x h x w."""
    largest = max((s[1:] for s in shapes), key=np.prod)
    per_channel = (largest[0], *(1,) * (len(largest) - 1))
    if any(s[1:] not in (largest, per_channel) for s in shapes):
        raise arms_differ(shapes, "all arms need the same shape, or c x 1 x 1 beside c x h x w")
    return (merged_batch(shapes), *largest)


def concat_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Channels add up; everything else is equal."""
    rest = shapes[0][2:]
    if any(len(s) != len(shapes[0]) or s[2:] != rest for s in shapes):
        raise arms_differ(shapes, "concat needs arms of the same height and width")
    return (merged_batch(shapes), sum(s[1] for s in shapes), *rest)


def add_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Sum in argument order."""
    return reduce(np.add, xs)


def mul_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Product in argument order."""
    return reduce(np.multiply, xs)


def max_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The largest, element by element; NaN if one is."""
    return reduce(np.maximum, xs)


def min_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The smallest, element by element; NaN if one is."""
    return reduce(np.minimum, xs)


def concat_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Channels of all arms, in argument order."""
    batch = max(len(x) for x in xs)
    return np.concatenate([np.broadcast_to(x, (batch, *x.shape[1:])) for x in xs], axis=1)


def div_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The first over the second."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return xs[0] / xs[1]


def pow_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The first to the power of the second; NaN of a negative one with an exponent that is not whole."""
    with np.errstate(all="ignore"):
        return np.power(xs[0], xs[1])


def remainder(function: Callable[[Array, Array], Array]) -> Callable[[Arrays, Weights, Attrs], Array]:
    """What division leaves over; NaN for a divisor of 0."""

    def reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return function(xs[0], xs[1])

    return reference


@dataclass(frozen=True)
class Merge:
    """A function of one element of each of several tensors that fit each other."""

    name: str
    reference: Reference
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
        return with_epilogue(
            Op(
                name=self.name,
                arity=self.arity,
                attributes={},
                weights=no_weights,
                shape=elementwise_shape,
                macs=no_macs,
                window=one_position,
                reference=self.reference,
                tolerance=self.tolerance,
                traits=replace(COMPUTED, kind=Kind.MERGE, hosts=Hosts.STEPS, finite=self.finite, in_place=True),
                forms=(Form(self.name, example, arms=True, leads=True, synonyms=self.synonyms),),
                tried=Tried(Inputs.FITTING, {}, self.values),
                spread=merged,
                onnx=self.onnx,
            )
        )


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
    traits=replace(COMPUTED, kind=Kind.CONCAT),
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
)
SUM: tuple[int, int | None] = (2, None)
"""Two or more."""
MERGES = (
    Merge(
        "add",
        add_reference,
        1e-6,
        Finite.ALWAYS,
        onnx=None,
        synonyms=("sum", "plus", "residual"),
        arity=SUM,
        example="add { conv 3x3 3 | }",
    ),
    Merge(
        "mul",
        mul_reference,
        1e-6,
        Finite.ALWAYS,
        onnx=None,
        synonyms=("multiply", "times"),
        arity=SUM,
        example="mul { conv 3x3 3 | }",
    ),
    Merge(
        "max",
        max_reference,
        0.0,
        Finite.ALWAYS,
        Onnx("Max"),
        synonyms=("maximum",),
        arity=SUM,
        example="max { conv 3x3 3 | }",
    ),
    Merge(
        "min",
        min_reference,
        0.0,
        Finite.ALWAYS,
        Onnx("Min"),
        synonyms=("minimum",),
        arity=SUM,
        example="min { conv 3x3 3 | }",
    ),
    Merge("div", div_reference, 1e-6, Finite.NOT_AT_ZERO, Onnx("Div"), ("divide",), values=Values.LAST_POSITIVE),
    Merge("pow", pow_reference, 2e-6, Finite.AT_ZERO, Onnx("Pow"), values=Values.POSITIVE),
    Merge("fmod", remainder(np.fmod), 0.0, Finite.NOT_AT_ZERO, Onnx("Mod", fixed={"fmod": 1}), values=Values.EXACT),
    Merge("mod", remainder(np.mod), 1e-6, Finite.NOT_AT_ZERO, onnx=None, values=Values.EXACT),
)
OPS = (*(merge.op() for merge in MERGES), CONCAT)
