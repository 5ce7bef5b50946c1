"""Tensor types and lazily computed constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cnncc.base.elements import FLOAT32, Element
from cnncc.ir.rules import ShapeError


@dataclass(frozen=True)
class Quantization:
    """What the integers of a tensor stand for: q is the number (q - zero) * scale. One scale for the whole tensor.

    The scale is a float32. ShapeError for one that is not finite and above 0.
    """

    scale: float
    zero: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ShapeError(f"scale {self.scale:g}: must be finite and above 0")
        with np.errstate(over="ignore", under="ignore"):
            exact = float(np.float32(self.scale)) == self.scale
        if not exact:
            raise ShapeError(f"scale {self.scale!r}: must be a float32")

    def __str__(self) -> str:
        """`scale 0.02 zero 128`, with digits enough to tell float32 numbers apart."""
        return f"scale {np.float32(self.scale)!s} zero {self.zero}"


@dataclass(frozen=True)
class TensorType:
    """A tensor: `shape` is logical, (n, c, h, w) for images and (n, k) for vectors.

    `block` is the memory layout of a rank-4 tensor: channels are stored in blocks of that many, innermost
    (NCHWc), so the stored shape is (n, ceil(c / block), h, w, block); 1 means plain NCHW.

    Only integers are quantised. ShapeError for a zero that the element does not have; that of int32 is 0.
    """

    shape: tuple[int, ...]
    block: int = 1
    element: Element = FLOAT32
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        if self.quantization is not None:
            _check_zero(self.element, self.quantization.zero)

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
        return self.element.bytes(math.prod(self.stored_shape))

    @property
    def chw(self) -> tuple[int, int, int]:
        """The shape of one image as channels, height, width; a vector is k x 1 x 1."""
        c, h, w = (*self.shape[1:], 1, 1)[:3]
        return c, h, w

    @property
    def is_float(self) -> bool:
        """Whether it is what nearly all ops take: float32."""
        return self.element == FLOAT32

    @property
    def numbers(self) -> str:
        """What its numbers are: `float32`, or `uint8 scale 0.02 zero 128`."""
        return str(self.element) if self.quantization is None else f"{self.element} {self.quantization}"

    def with_block(self, block: int) -> TensorType:
        return replace(self, block=block)

    def __str__(self) -> str:
        """`1x3x8x8`, `1x16x8x8:c16`, `1x16x8x8:c16 uint8 scale 0.02 zero 128`."""
        dims = "x".join(map(str, self.shape))
        layout = dims if self.block == 1 else f"{dims}:c{self.block}"
        return layout if self.is_float else f"{layout} {self.numbers}"


def _check_zero(element: Element, zero: int) -> None:
    if not element.whole:
        raise ShapeError(f"{element} is not quantised; only integers have a scale")
    low, high = (0, 0) if element.bits > 8 else (element.least, element.most)
    if not low <= zero <= high:
        raise ShapeError(f"zero {zero}: of {element} it must be {low}" + (f" .. {high}" if low != high else ""))


class Constant:
    """A tensor known at compile time, computed when first asked for.

    Most commands need shapes only, and VGG's weights are half a gigabyte: so a pass that rewrites weights
    returns a new `Constant` that knows how to compute its value from the old one. The value is an array of
    `element.dtype`, of float32 also of float64.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        compute: Callable[[], np.ndarray] | None = None,
        element: Element = FLOAT32,
    ) -> None:
        self.shape = tuple(shape)
        self.element = element
        self._compute = compute

    @property
    def nbytes(self) -> int:
        """Bytes of the value, stored as its element."""
        return self.element.bytes(math.prod(self.shape))

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
        assert self.element == FLOAT32 or value.dtype == self.element.dtype, (value.dtype, self.element)
        return value

    def map(
        self, shape: tuple[int, ...], fn: Callable[..., np.ndarray], *others: Constant, element: Element | None = None
    ) -> Constant:
        """A constant computed from this one and `others`; unbound if any of them is. It has this one's element, unless
        another is given."""
        kind = self.element if element is None else element
        sources = (self, *others)
        if not all(s.bound for s in sources):
            return Constant(shape, element=kind)
        return Constant(shape, lambda: fn(*(s.compute() for s in sources)), kind)
