"""Merges: sum, product, extremes, quotient, power and concatenation. A batch of 1 (a constant) serves all images."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.shapes import dims, listing
from cnncc.ops.table import Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, no_macs, no_weights, pointwise


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


def merge(
    name: str,
    shape: Callable[[Shapes, Attrs], Shape],
    reference: Callable[[Arrays, Weights, Attrs], Array],
    tolerance: float,
    arity: tuple[int, int | None] = (2, None),
) -> Op:
    """An op of several tensors without attributes."""
    return Op(
        name=name,
        arity=arity,
        attributes={},
        weights=no_weights,
        shape=shape,
        macs=no_macs,
        window=pointwise,
        reference=reference,
        tolerance=tolerance,
    )


def elementwise(
    name: str,
    reference: Callable[[Arrays, Weights, Attrs], Array],
    tolerance: float,
    arity: tuple[int, int | None] = (2, None),
) -> Op:
    """A merge of tensors that fit each other, element by element."""
    return with_epilogue(merge(name, elementwise_shape, reference, tolerance, arity))


UNBOUNDED = frozenset({"div", "pow", "mod", "fmod"})
"""Merges that may be infinite or NaN where their arms are finite (see `activation.UNBOUNDED`)."""
OPS = (
    elementwise("add", add_reference, 1e-6),
    elementwise("mul", mul_reference, 1e-6),
    elementwise("max", max_reference, 0.0),
    elementwise("min", min_reference, 0.0),
    elementwise("div", div_reference, 1e-6, (2, 2)),
    elementwise("pow", pow_reference, 2e-6, (2, 2)),
    elementwise("fmod", remainder(np.fmod), 0.0, (2, 2)),
    elementwise("mod", remainder(np.mod), 1e-6, (2, 2)),
    merge("concat", concat_shape, concat_reference, 0.0),
)
