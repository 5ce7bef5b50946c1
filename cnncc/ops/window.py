"""Sliding windows: their number, and one strided view of them. Convolutions and pools share both.

A window covers `dilation * (kernel - 1) + 1` positions (its span) and moves by `stride` over the padded input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from cnncc.base.divisors import divisors
from cnncc.ops.shapes import at_least, dims, image, listing, refuse_huge
from cnncc.ops.table import Array, Attrs, Shape, ShapeError, Shapes, Window

ROUNDINGS = ("floor", "ceil", "exact")
MOST_PADDED = 1 << 24
"""Elements of a padded image which may be any number of times as many as there are without the padding."""
MOST_TIMES = 64


@dataclass(frozen=True)
class Axis:
    """The window along one axis of an input of `size` positions."""

    name: str
    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> int:
        return self.size + self.before + self.after

    @property
    def room(self) -> int:
        """How far the first window can move: (W - F + 2P) of the formula."""
        return self.padded - self.span

    def count(self, rounding: str) -> int:
        """Number of windows, (W - F + 2P) / S + 1 rounded; ShapeError if there are none.

        `ceil` counts a last, partial window if it starts inside the input or its leading pad (as PyTorch and
        Caffe do); `exact` refuses what does not divide.
        """
        if rounding == "exact" and self.room >= 0 and self.room % self.stride:
            raise self.inexact()
        partial = self.stride - 1 if rounding == "ceil" else 0
        count = (self.room + partial) // self.stride + 1
        if count < 1:
            raise self.too_small()
        return count - (rounding == "ceil" and (count - 1) * self.stride >= self.size + self.before)

    def too_small(self) -> ShapeError:
        pads = f" with padding {self.before}+{self.after}" if self.before or self.after else ""
        widened = f" ({self.kernel} at dilation {self.dilation})" if self.dilation > 1 else ""
        return ShapeError(
            f"window {self.span}{widened} does not fit {self.name} {self.size}{pads}",
            hint=f"the {self.name} must be at least {max(1, self.span - self.before - self.after)}, or pad more",
        )

    def inexact(self) -> ShapeError:
        """The error of `exact`, with sizes, strides and pads that would fit."""
        over = self.room % self.stride
        sizes = [s for s in (self.size - over, self.size - over + self.stride) if s >= 1]
        strides = [s for s in divisors(self.room) if s <= self.stride * 2] if self.room else []
        fits = f"{self.name}s that fit: {listing(map(str, sizes))}"
        return ShapeError(
            f"window {self.span} with stride {self.stride} does not fit {self.name} {self.size}: "
            f"({self.size} - {self.span} + {self.before + self.after})/{self.stride} + 1 = "
            f"{self.room / self.stride + 1:.2f} is not a whole number",
            hint=f"{fits}; or stride {listing(map(str, strides), 'or')}; or {self.stride - over} more padding in all",
        )

    def sees_only_padding(self, count: int) -> bool:
        """Whether some window has no position inside the input."""
        last = (count - 1) * self.stride - self.before
        starts = np.arange(-self.before, min(0, last + 1), self.stride)
        # Of a window that starts before the input, only the first tap at or behind 0 and later ones might fall into it.
        tap = -(starts // self.dilation)
        passes_over = (tap >= self.kernel) | (starts + tap * self.dilation >= self.size)
        return last >= self.size or bool(passes_over.any())


def refuse_padding(shape: Shape, padded: Shape) -> None:
    """ShapeError for padding that makes an image huge."""
    refuse_huge(padded, "the padded image would be")
    before, after = math.prod(shape), math.prod(padded)
    if after > MOST_PADDED and after > MOST_TIMES * before:
        raise ShapeError(
            f"padding makes {dims(padded)} of {dims(shape)}, {after // before} times as many values",
            hint=f"pad less: {MOST_TIMES} times as many are the most, beyond {MOST_PADDED} in all",
        )


def axes(shape: Shape, attrs: Attrs) -> tuple[Axis, Axis]:
    """The two axes of a sliding window op on an image (n, c, h, w); pad is (top, left, bottom, right)."""
    _, _, h, w = image(shape)
    at_least(1, attrs, "kernel", "stride")
    at_least(0, attrs, "pad")
    dilation = attrs.get("dilation", (1, 1))
    at_least(1, {"dilation": dilation}, "dilation")
    top, left, bottom, right = attrs["pad"]
    refuse_padding(shape, (*shape[:2], h + top + bottom, w + left + right))
    (kh, kw), (sh, sw), (dh, dw) = attrs["kernel"], attrs["stride"], dilation
    return Axis("height", h, kh, sh, dh, top, bottom), Axis("width", w, kw, sw, dw, left, right)


def counts(shape: Shape, attrs: Attrs) -> tuple[int, int]:
    """Result height and width of a sliding window op; ShapeError if the window does not fit."""
    rounding = attrs["rounding"]
    if rounding not in ROUNDINGS:
        raise ShapeError(f"unknown rounding {rounding!r}", hint=f"known: {listing(ROUNDINGS)}")
    y, x = axes(shape, attrs)
    return y.count(rounding), x.count(rounding)


def refuse_empty_windows(shape: Shape, attrs: Attrs, result: tuple[int, int]) -> None:
    """ShapeError if a window lies in the padding alone: a pool has no value there."""
    for axis, count in zip(axes(shape, attrs), result, strict=True):
        if axis.sees_only_padding(count):
            raise ShapeError(
                f"padding {axis.before}+{axis.after} leaves a window of {axis.span} with nothing of {dims(shape)}",
                hint=f"pad by less than {axis.span} along the {axis.name}",
            )


def sliding(shapes: Shapes, attrs: Attrs) -> Window:
    """The `window` rule of convolutions and pools."""
    y, x = axes(shapes[0], attrs)
    return (y.span, x.span), (y.stride, x.stride)


def strided(x: Array, attrs: Attrs, count: Sequence[int], writeable: bool = False) -> Array:
    """View of a padded image (n, c, h, w) as (kh, kw, n, c, oh, ow): element [i, j] is what tap (i, j) of every
    window sees. No copy; writing is safe one tap at a time."""
    (kh, kw), (sh, sw), (dh, dw) = attrs["kernel"], attrs["stride"], attrs.get("dilation", (1, 1))
    n, c, h, w = x.shape
    oh, ow = count
    assert (oh - 1) * sh + dh * (kh - 1) < h, "windows reach below the image"
    assert (ow - 1) * sw + dw * (kw - 1) < w, "windows reach right of the image"
    bn, bc, bh, bw = x.strides
    strides = (bh * dh, bw * dw, bn, bc, bh * sh, bw * sw)
    return as_strided(x, (kh, kw, n, c, oh, ow), strides, writeable=writeable)


def windows(x: Array, attrs: Attrs, fill: float) -> Array:
    """All windows of an image (n, c, h, w), as (kh, kw, n, c, oh, ow); padding, and what partial windows of `ceil`
    see beyond it, is `fill`."""
    count = counts(x.shape, attrs)
    pads = [
        (axis.before, max(axis.after, (n - 1) * axis.stride + axis.span - axis.size - axis.before))
        for axis, n in zip(axes(x.shape, attrs), count, strict=True)
    ]
    if any(map(any, pads)):
        x = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)
    return strided(x, attrs, count)
