"""How the file a network was imported from declares its inputs and outputs: type, shape and order of axes.

A module computes in float32 on images (c, h, w). An array as the file has it, of whole numbers say, or of five axes, is
converted here on its way in, and the result on its way out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Declared:
    """An input or output as its file has it: axis i of `shape` is axis `axes[i]` of the order in which we store it."""

    dtype: str
    """NumPy's name."""
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    batched: bool
    """Whether the first axis is the batch; else an array is one image, whatever its first axis is."""

    def shape_for(self, count: int) -> tuple[int, ...]:
        """The shape of an array of so many images."""
        return (count, *self.shape[1:]) if self.batched else self.shape

    def is_for_other_batch(self, batch: int) -> bool:
        """Whether the file has a batch of its own, of more than one image."""
        return self.batched and self.shape[0] not in (1, batch)

    def count_in(self, array: np.ndarray) -> int | None:
        """How many images an array of this shape holds; None if it is of another shape."""
        if self.batched and array.ndim == len(self.shape) and array.shape[1:] == self.shape[1:]:
            return len(array)
        return 1 if array.shape == self.shape else None

    def to_ours(self, array: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
        """An array of the declared type or shape as float32 images of `dims`; any other array as it is."""
        if array.dtype == self.dtype:
            array = array.astype(np.float32, copy=False)
        count = self.count_in(array)
        if count is None or (array.ndim and array.shape[1:] == dims):
            return array
        order = [self.axes.index(i) for i in range(len(self.axes))]
        return np.ascontiguousarray(array.transpose(order)).reshape(count, *dims)

    def from_ours(self, array: np.ndarray) -> np.ndarray:
        """Results in the declared type and, unless its axes are in another order than ours, in the declared shape."""
        kind = np.dtype(self.dtype)
        values = np.rint(array) if kind.kind in "iu" else array
        values = values.astype(kind, copy=False)
        shape = self.shape_for(len(array))
        in_order = self.axes == tuple(range(len(self.axes)))
        return values.reshape(shape) if in_order and math.prod(shape) == array.size else values

    def __str__(self) -> str:
        return f"{self.dtype} {'x'.join(map(str, self.shape)) or 'scalar'}"
