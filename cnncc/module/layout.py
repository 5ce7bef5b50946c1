"""Between the logical NCHW of an array and the layout its tensor type stores."""

from __future__ import annotations

import numpy as np

from cnncc.ir import TensorType


def to_stored(array: np.ndarray, kind: TensorType) -> np.ndarray:
    """An array of the logical shape as the type stores it; channels that only fill up a block are zero."""
    if kind.block == 1:
        return np.ascontiguousarray(array, dtype=kind.element.dtype)
    n, _, h, w = kind.shape
    blocks = kind.stored_shape[1]
    full = np.zeros((n, blocks * kind.block, h, w), kind.element.dtype)
    full[:, : array.shape[1]] = array
    return np.ascontiguousarray(full.reshape(n, blocks, kind.block, h, w).transpose(0, 1, 3, 4, 2))


def from_stored(stored: np.ndarray, kind: TensorType) -> np.ndarray:
    """The inverse: the logical array, without the channels that only fill up a block."""
    if kind.block == 1:
        return stored.reshape(kind.shape)
    n, c, h, w = kind.shape
    planes = stored.reshape(kind.stored_shape).transpose(0, 1, 4, 2, 3).reshape(n, -1, h, w)
    return np.ascontiguousarray(planes[:, :c])
