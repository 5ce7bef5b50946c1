"""Epilogues: the post-ops of an op. They are additions and activations that it applies to its result before storing it.

The attribute `epilogue` is a tuple of (name, parameters) in the order they apply. ("add", ()) adds the next extra
input, which has the shape of the result; any activation goes by its name with its attributes as (key, value) pairs.
"""

from __future__ import annotations

from dataclasses import replace

from cnncc.base.errors import nearest
from cnncc.ir.rules import extra_inputs
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.shapes import dims
from cnncc.ops.table import Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights


def own_count(count: int, attrs: Attrs) -> int:
    """How many of `count` inputs are the op's own; the rest belong to the epilogue."""
    return count - extra_inputs(attrs)


def check_post_ops(attrs: Attrs) -> None:
    """ShapeError unless every post-op is an `add` or an activation with all its attributes."""
    for name, params in attrs["epilogue"]:
        if name != "add" and name not in RECORDS:
            raise ShapeError(f"unknown post-op {name!r}", hint=nearest(name, ["add", *RECORDS]))
        known = RECORDS[name].numbers if name != "add" else {}
        if dict(params).keys() != known.keys():
            wanted = ", ".join(known) or "none"
            raise ShapeError(f"post-op {name}: attributes {dict(params)}, expected {wanted}")


def check_extras(result: Shape, extras: Shapes) -> None:
    """ShapeError unless every added tensor has the shape of the result; a batch of 1 serves all images."""
    for extra in extras:
        if extra[1:] != result[1:] or extra[0] not in (1, result[0]):
            raise ShapeError(f"post-op add: result is {dims(result)}, the added tensor {dims(extra)}")


def apply(x: Array, extras: Arrays, attrs: Attrs) -> Array:
    """A result after its post-ops, which take the `extras` in turn."""
    added = iter(extras)
    for name, params in attrs["epilogue"]:
        x = x + next(added) if name == "add" else RECORDS[name].evaluate(x, dict(params))
    return x


def with_epilogue(op: Op) -> Op:
    """The op with an attribute `epilogue`; its own rules see its own inputs only."""

    def shape(shapes: Shapes, attrs: Attrs) -> Shape:
        own = own_count(len(shapes), attrs)
        check_post_ops(attrs)
        result = op.shape(shapes[:own], attrs)
        check_extras(result, shapes[own:])
        return result

    def reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
        own = own_count(len(xs), attrs)
        return apply(op.reference(xs[:own], weights, attrs), xs[own:], attrs)

    return replace(op, attributes={**op.attributes, "epilogue": ()}, shape=shape, reference=reference)
