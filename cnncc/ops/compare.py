"""Comparisons of two tensors, and the choice between two. What is true is 1, what is false 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncc.ops.combine import Merge, Reference
from cnncc.ops.domains import Values
from cnncc.ops.table import Array, Arrays, Attrs, Weights
from cnncc.ops.traits import Finite


def comparison(function: Callable[[Array, Array], Array]) -> Reference:
    """1 where it holds, else 0: nothing holds of NaN."""
    return lambda xs, weights, attrs: function(xs[0], xs[1]).astype(xs[0].dtype)


def where_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The second tensor where the first is not 0, else the third."""
    return np.where(xs[0] != 0, xs[1], xs[2])


def compared(name: str, function: Callable[[Array, Array], Array], *synonyms: str) -> Merge:
    return Merge(name, comparison(function), 0.0, Finite.ALWAYS, None, synonyms, values=Values.EXACT)


MERGES = (
    compared("greater", np.greater, "gt"),
    compared("greater_equal", np.greater_equal, "ge", "greaterorequal"),
    compared("equal", np.equal, "eq"),
    Merge(
        "where",
        where_reference,
        0.0,
        Finite.ALWAYS,
        onnx=None,
        synonyms=("select",),
        arity=(3, 3),
        values=Values.EXACT,
        example="where { sigmoid | | relu }",
    ),
)
OPS = tuple(merge.op() for merge in MERGES)
