"""Weights in 16 bits: of which ops, how they are rounded, and how a module stores them. Arithmetic stays float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.ops import traits
from cnncc.options import WEIGHTS_DTYPES

SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""The types in kernel names."""

_STORED = ("<f4", "<f2", "<u2")
STORED: dict[str, np.dtype[Any]] = {d: np.dtype(s) for d, s in zip(WEIGHTS_DTYPES, _STORED, strict=True)}
"""The NumPy type of the stored numbers. NumPy has no bfloat16, so its 16 bits are an unsigned integer."""

_OVERFLOW = {"float32": np.inf, "float16": 65520.0, "bfloat16": 2.0**128 * (1 - 2.0**-9)}
"""The smallest number that would be rounded to infinity: the middle between the largest number and the next one."""


def check_range(weight: np.ndarray, dtype: str, name: str) -> None:
    """CnnccError if rounding would make a number of the weight infinite. NaNs are allowed."""
    if dtype == "float32":
        return
    largest = max(float(np.fmax.reduce(weight, axis=None)), -float(np.fmin.reduce(weight, axis=None)))
    if largest >= _OVERFLOW[dtype]:
        hint = "bfloat16 has the range of float32" if dtype == "float16" and np.isfinite(largest) else ""
        raise CnnccError(f"weight {name} does not fit {dtype}: its largest absolute value is {largest:g}", hint=hint)


def encode(array: np.ndarray, dtype: str) -> np.ndarray:
    """float32 numbers as the module stores them (see STORED). Each is rounded to the nearest number, ties to even."""
    if dtype != "bfloat16":
        return array.astype(STORED[dtype])
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    upper = bits >> 16
    rounded = (bits + (np.uint32(0x7FFF) + (upper & 1))) >> 16
    # Rounding could turn a NaN into infinity or zero. It keeps its upper half instead, as a quiet NaN.
    return np.where(np.isnan(array), upper | 0x40, rounded).astype(STORED[dtype])


def decode(stored: npt.NDArray[Any], dtype: str) -> np.ndarray:
    """The stored numbers as float32, without rounding."""
    if dtype != "bfloat16":
        return stored.astype(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)


def rounded(graph: Graph, dtype: str) -> Graph:
    """The graph, with the weights that a module would store in `dtype` rounded to it.

    The rounded weights are new constants, so that another node that shares one keeps the exact value. When its value is
    computed, a weight that does not fit raises CnnccError."""
    if dtype == "float32":
        return graph
    nodes, constants = [], {}
    for node in graph.nodes:
        if traits(node).half_weights:
            old = node.weights["weight"]
            weight, new = graph.constants[old], f"{old}.{SHORT[dtype]}"
            constants[new] = weight.map(weight.shape, lambda w, name=old: _round(w, dtype, name))
            node = node.with_(weights={**node.weights, "weight": new})
        nodes.append(node)
    return graph.rebuild(nodes, constants=constants)


def _round(weight: np.ndarray, dtype: str, name: str) -> np.ndarray:
    check_range(weight, dtype, name)
    return decode(encode(weight, dtype), dtype)
