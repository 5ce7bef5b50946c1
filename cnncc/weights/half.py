"""Weights in half precision: whose, how they are rounded, and how a module stores them. Arithmetic stays float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.options import WEIGHTS_DTYPES

SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""As in kernel names."""

_STORED = ("<f4", "<f2", "<u2")
STORED: dict[str, np.dtype[Any]] = {d: np.dtype(s) for d, s in zip(WEIGHTS_DTYPES, _STORED, strict=True)}
"""What NumPy holds them in: it has no bfloat16, so its 16 bits are an integer."""

OPS = frozenset({"fc"})
"""Ops whose `weight` is stored so: reading it is most of their time. Biases stay float32."""

_OVERFLOW = {"float32": np.inf, "float16": 65520.0, "bfloat16": 2.0**128 * (1 - 2.0**-9)}
"""The smallest number that would round to infinity: halfway from the largest one to the next."""


def check_range(weight: np.ndarray, dtype: str, name: str) -> None:
    """CnnccError if a number of the weight would become infinite. A NaN stays one."""
    if dtype == "float32":
        return
    largest = max(float(np.fmax.reduce(weight, axis=None)), -float(np.fmin.reduce(weight, axis=None)))
    if largest >= _OVERFLOW[dtype]:
        hint = "bfloat16 has the range of float32" if dtype == "float16" and np.isfinite(largest) else ""
        raise CnnccError(f"weight {name} does not fit {dtype}: its largest absolute value is {largest:g}", hint=hint)


def encode(array: np.ndarray, dtype: str) -> np.ndarray:
    """float32 numbers as the module stores them (see STORED), each rounded to the nearest, halfway to even."""
    if dtype != "bfloat16":
        return array.astype(STORED[dtype])
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    upper = bits >> 16
    rounded = (bits + (np.uint32(0x7FFF) + (upper & 1))) >> 16
    # Adding could carry a NaN into infinity or zero: it keeps its upper half, made quiet.
    return np.where(np.isnan(array), upper | 0x40, rounded).astype(STORED[dtype])


def decode(stored: npt.NDArray[Any], dtype: str) -> np.ndarray:
    """Stored numbers as float32, exactly."""
    if dtype != "bfloat16":
        return stored.astype(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)


def rounded(graph: Graph, dtype: str) -> Graph:
    """The graph with the weights that a module would store in `dtype` rounded to it. They get names of their own, so
    that another node that shares one keeps it whole. CnnccError, when the value is computed, if one does not fit."""
    if dtype == "float32":
        return graph
    nodes, constants = [], {}
    for node in graph.nodes:
        if node.op in OPS:
            old = node.weights["weight"]
            weight, new = graph.constants[old], f"{old}.{SHORT[dtype]}"
            constants[new] = weight.map(weight.shape, lambda w, name=old: _round(w, dtype, name))
            node = node.with_(weights={**node.weights, "weight": new})
        nodes.append(node)
    return graph.rebuild(nodes, constants=constants)


def _round(weight: np.ndarray, dtype: str, name: str) -> np.ndarray:
    check_range(weight, dtype, name)
    return decode(encode(weight, dtype), dtype)
