"""Known tensors that a model has as integers with a scale: after reading they are float32, and become integers again
where a layer on bytes takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnncc.base.elements import INT8

if TYPE_CHECKING:
    from onnx import NodeProto

REARRANGED = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Ops after which a tensor has the same numbers."""


@dataclass(frozen=True)
class Dequantised:
    """A float32 tensor that is integers times scales."""

    scale: np.ndarray
    """One number, or one for each place of some axis."""
    integers: np.ndarray | None
    """Less the zero points, int64; None of a tensor that has been rearranged since."""


def dequantised(integers: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int) -> Dequantised:
    """What DequantizeLinear makes of known tensors. Scales and zero points are one number, or one for each place of the
    axis."""
    whole = integers.astype(np.int64)
    if zero is not None:
        whole = whole - column(zero.astype(np.int64), whole.ndim, axis)
    return Dequantised(np.asarray(scale, np.float32).reshape(-1), whole)


def column(numbers: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """One number, or one for each place of an axis, beside a tensor of so many axes."""
    return numbers.reshape([-1 if i == axis % rank else 1 for i in range(rank)] if numbers.size > 1 else (1,) * rank)


def traced(known: dict[str, Dequantised], node: NodeProto, inputs: Sequence[np.ndarray | None]) -> Dequantised | None:
    """What the first result of a node of known tensors is, if it is integers times scales."""
    from cnncc.frontends.onnx.attributes import find

    first = inputs[0] if inputs else None
    if node.op_type == "DequantizeLinear" and first is not None and len(inputs) > 1 and inputs[1] is not None:
        axis, block = find(node, "axis"), find(node, "block_size")
        if first.dtype.kind not in "iu" or (block is not None and block.i):
            return None
        return dequantised(first, inputs[1], inputs[2] if len(inputs) > 2 else None, axis.i if axis else 1)
    if node.op_type in REARRANGED and node.input[0] in known:
        return Dequantised(known[node.input[0]].scale, None)
    return None


def byte_weights(weight: np.ndarray, known: Dequantised | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights (outputs, ...) as int8 and one float32 scale for each output, if they are exactly that; else None."""
    if known is None or known.scale.size not in (1, len(weight)):
        return None
    scale = np.broadcast_to(known.scale, (len(weight),)).astype(np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    wide, given = scale.reshape(-1, *[1] * (weight.ndim - 1)), weight.astype(np.float32)
    with np.errstate(all="ignore"):
        whole = np.rint(given.astype(np.float64) / wide)
        same = np.array_equal(whole.astype(np.float32) * wide, given)
    if not same or whole.size == 0 or whole.min() < INT8.least or whole.max() > INT8.most:
        return None
    return whole.astype(np.int8), scale
