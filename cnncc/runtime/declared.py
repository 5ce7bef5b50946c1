"""Inputs and outputs as the ONNX file of a network declares them: type, shape and order of axes.

A module mostly takes float32 images (c, h, w). The file may declare others, such as whole numbers or five axes.
Arrays are converted here before a run, and results after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnncc.runtime.extents import Extent, shape_at

FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Declared:
    """An input or output as the file declares it. Axis i of `shape` is axis `axes[i]` of the stored array."""

    dtype: str
    """NumPy's name of the type."""
    shape: tuple[Any, ...]
    """Of a model for a range of sizes, a number that depends on the size is an `Extent`."""
    axes: tuple[int, ...]
    batched: bool
    """Whether the first axis is the batch. If not, an array is one image."""

    def at(self, sizes: Mapping[str, int]) -> Declared:
        """The same for sizes by name, where its shape depends on them."""
        return replace(self, shape=shape_at(self.shape, sizes))

    def shape_for(self, count: int) -> tuple[int, ...]:
        """The shape of an array of `count` images."""
        return (count, *self.shape[1:]) if self.batched else self.shape

    def is_for_other_batch(self, batch: int) -> bool:
        """Whether the file declares a batch of more images than `batch`, the most of a run."""
        return self.batched and self.shape[0] > batch

    def count_in(self, array: np.ndarray) -> int | None:
        """How many images an array holds; None if its shape is not the declared one."""
        if self.batched and array.ndim == len(self.shape) and array.shape[1:] == self.shape[1:]:
            return len(array)
        return 1 if array.shape == self.shape else None

    def to_ours(self, array: np.ndarray, dims: tuple[int, ...], kind: np.dtype = FLOAT32) -> np.ndarray:
        """An array of the declared type and shape, as images of shape `dims` and the module's type. Other arrays are
        returned as they are."""
        if array.dtype == self.dtype:
            array = array.astype(kind, copy=False)
        count = self.count_in(array)
        if count is None or (array.ndim and array.shape[1:] == dims):
            return array
        order = [self.axes.index(i) for i in range(len(self.axes))]
        return np.ascontiguousarray(array.transpose(order)).reshape(count, *dims)

    def from_ours(self, array: np.ndarray) -> np.ndarray:
        """Results in the declared type. They also get the declared shape, unless its axes are stored in another
        order."""
        kind = np.dtype(self.dtype)
        values = np.rint(array) if kind.kind in "iu" and array.dtype.kind == "f" else array
        values = values.astype(kind, copy=False)
        shape = self.shape_for(len(array))
        in_order = self.axes == tuple(range(len(self.axes)))
        return values.reshape(shape) if in_order and math.prod(shape) == array.size else values

    def __str__(self) -> str:
        between = " x " if any(isinstance(d, Extent) for d in self.shape) else "x"
        return f"{self.dtype} {between.join(map(str, self.shape)) or 'scalar'}"
