"""How far rounding to halves moves the outputs of a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from cnncc.base.elements import FLOAT32, HALVES
from cnncc.ir import Graph
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.weights import half

Values = Mapping[str, np.ndarray]


def rounds(source: Graph, options: Options) -> bool:
    """Whether a module has rounded weights or values."""
    narrow = any(node.type.element in HALVES for node in source.nodes)
    return narrow or options.weights_dtype != FLOAT32.name


def by_weights(passed: Graph, rounded: Values) -> float:
    """The largest change of an output, from the graph's own weights to the values that the rounded ones gave, as a
    share of its largest value. `passed` is the graph after all passes, whose weights are rounded."""
    values = dict(rounded)
    changed: set[str] = set()
    for node in passed.nodes:
        if half.is_rounded(passed, node) or changed & set(node.inputs):
            arguments = tuple(values[name] for name in node.inputs)
            values[node.name] = reference.evaluate(passed, node, arguments, np.dtype(np.float64))
            changed.add(node.name)
    return _distance(rounded, values, passed.outputs)


def by_all(source: Graph, inputs: Values, got: Values) -> float:
    """The same, from the network as it is written to what a module gave."""
    return _distance(got, reference.run(source, inputs), source.outputs)


def _distance(got: Values, exact: Values, outputs: Iterable[str]) -> float:
    moved = [(float(np.abs(got[o] - exact[o]).max()), float(np.abs(exact[o]).max())) for o in outputs]
    return max((share(*pair) for pair in moved), default=0.0)


def share(worst: float, largest: float) -> float:
    """A difference as a share of the largest value; infinite where that is 0."""
    if math.isnan(worst) or worst == 0.0:
        return worst
    return worst / largest if largest else math.inf
