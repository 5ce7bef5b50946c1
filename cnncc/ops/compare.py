"""Comparisons of two tensors, and the choice between two. What is true is 1, what is false 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncc.ops.combine import elementwise
from cnncc.ops.table import Array, Arrays, Attrs, Weights

Reference = Callable[[Arrays, Weights, Attrs], Array]


def comparison(function: Callable[[Array, Array], Array]) -> Reference:
    """1 where it holds, else 0: nothing holds of NaN."""
    return lambda xs, weights, attrs: function(xs[0], xs[1]).astype(xs[0].dtype)


def where_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The second tensor where the first is not 0, else the third."""
    return np.where(xs[0] != 0, xs[1], xs[2])


OPS = (
    elementwise("greater", comparison(np.greater), 0.0, (2, 2)),
    elementwise("greater_equal", comparison(np.greater_equal), 0.0, (2, 2)),
    elementwise("equal", comparison(np.equal), 0.0, (2, 2)),
    elementwise("where", where_reference, 0.0, (3, 3)),
)
