"""Weights in 16 bits: of which ops, how they are rounded, and how a module stores them. Arithmetic stays float32."""

from __future__ import annotations

import numpy as np

from cnncc.base.elements import ELEMENTS, FLOAT32, Element, decode, encode
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.ops import traits


def check_range(weight: np.ndarray, element: Element, name: str) -> None:
    """CnnccError if rounding would make a number of the weight infinite. NaNs are allowed."""
    if element == FLOAT32 or not weight.size:
        return
    largest = max(float(np.fmax.reduce(weight, axis=None)), -float(np.fmin.reduce(weight, axis=None)))
    if np.isinf(decode(encode(np.array([largest], np.float32), element), element)).any():
        hint = "bfloat16 has the range of float32" if element.name == "float16" and np.isfinite(largest) else ""
        raise CnnccError(f"weight {name} does not fit {element}: its largest absolute value is {largest:g}", hint=hint)


def is_rounded(graph: Graph, node: Node) -> bool:
    """Whether a module may store the node's weight in half precision: not one of integers."""
    return traits(node).half_weights and graph.constants[node.weights["weight"]].element == FLOAT32


def rounded(graph: Graph, dtype: str) -> Graph:
    """The graph, with the weights that a module would store in `dtype` rounded to it.

    The rounded weights are new constants, so that another node that shares one keeps the exact value. When its value is
    computed, a weight that does not fit raises CnnccError."""
    element = ELEMENTS[dtype]
    if element == FLOAT32:
        return graph
    nodes, constants = [], {}
    for node in graph.nodes:
        if is_rounded(graph, node):
            old = node.weights["weight"]
            weight, new = graph.constants[old], f"{old}.{element.short}"
            constants[new] = weight.map(weight.shape, lambda w, name=old: _round(w, element, name))
            node = node.with_(weights={**node.weights, "weight": new})
        nodes.append(node)
    return graph.rebuild(nodes, constants=constants)


def _round(weight: np.ndarray, element: Element, name: str) -> np.ndarray:
    check_range(weight, element, name)
    return decode(encode(weight, element), element)
