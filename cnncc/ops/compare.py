"""Comparisons of two tensors, and the choice between two. What is true is 1, what is false 0."""

from __future__ import annotations

import operator
from collections.abc import Callable

from cnncc.ops.combine import Merge, merge_ops, of_pairs
from cnncc.ops.domains import Values
from cnncc.ops.traits import Finite
from cnncc.ops.vectors import Value, Vectors


def compared(name: str, function: Callable[[Value, Value], Value], *synonyms: str) -> Merge:
    """1 where it holds, else 0: nothing holds of NaN."""
    formula = of_pairs(lambda v, a, b: v.let(v.select(function(a, b), v.number(1.0), v.number(0.0))))
    return Merge(name, formula, 0.0, Finite.ALWAYS, None, synonyms, values=Values.EXACT)


def chosen(v: Vectors, mask: Value, yes: Value, no: Value) -> Value:
    """The second value where the first is not 0, else the third."""
    return v.let(v.select(mask == v.number(0.0), no, yes))


OPS = merge_ops(
    compared("greater", operator.gt, "gt"),
    compared("greater_equal", operator.ge, "ge", "greaterorequal"),
    compared("equal", operator.eq, "eq"),
    Merge(
        "where",
        chosen,
        0.0,
        Finite.ALWAYS,
        onnx=None,
        synonyms=("select",),
        arity=(3, 3),
        values=Values.EXACT,
        example="where { sigmoid | | relu }",
    ),
)
