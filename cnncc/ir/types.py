"""Tensor types and lazily computed constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class TensorType:
    """A float32 tensor: `shape` is logical, (n, c, h, w) for images and (n, k) for vectors.

    `block` is the memory layout of a rank-4 tensor: channels are stored in blocks of that many, innermost
    (NCHWc), so the stored shape is (n, ceil(c / block), h, w, block); 1 means plain NCHW.
    """

    shape: tuple[int, ...]
    block: int = 1

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in memory, with the channels of a blocked tensor rounded up to whole blocks."""
        if self.block == 1:
            return self.shape
        n, c, h, w = self.shape
        return (n, -(-c // self.block), h, w, self.block)

    @property
    def nbytes(self) -> int:
        """Bytes in memory of the whole batch."""
        return 4 * math.prod(self.stored_shape)

    @property
    def chw(self) -> tuple[int, int, int]:
        """The shape of one image as channels, height, width; a vector is k x 1 x 1."""
        c, h, w = (*self.shape[1:], 1, 1)[:3]
        return c, h, w

    def with_block(self, block: int) -> TensorType:
        return replace(self, block=block)

    def __str__(self) -> str:
        dims = "x".join(map(str, self.shape))
        return dims if self.block == 1 else f"{dims}:c{self.block}"


class Constant:
    """A float32 tensor known at compile time, computed when first asked for.

    Most commands need shapes only, and VGG's weights are half a gigabyte: so a pass that rewrites weights
    returns a new `Constant` that knows how to compute its value from the old one.
    """

    def __init__(self, shape: tuple[int, ...], compute: Callable[[], np.ndarray] | None = None) -> None:
        self.shape = tuple(shape)
        self._compute = compute

    @property
    def bound(self) -> bool:
        """Whether a value can be computed (false until weights are bound to a freshly parsed graph)."""
        return self._compute is not None

    @cached_property
    def value(self) -> np.ndarray:
        """The value, kept once computed."""
        return self.compute()

    def compute(self) -> np.ndarray:
        """The value, not kept: for weights that are written once and would otherwise be held twice."""
        if "value" in self.__dict__:
            return self.value
        assert self._compute is not None, "weights are not bound; call cnncc.weights.bind first"
        value = np.ascontiguousarray(self._compute())
        assert value.shape == self.shape, (value.shape, self.shape)
        return value

    def map(self, shape: tuple[int, ...], fn: Callable[..., np.ndarray], *others: Constant) -> Constant:
        """A constant computed from this one and `others`; unbound if any of them is."""
        sources = (self, *others)
        if not all(s.bound for s in sources):
            return Constant(shape)
        return Constant(shape, lambda: fn(*(s.compute() for s in sources)))
