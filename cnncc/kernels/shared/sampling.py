"""What a place between the pixels of an image is made of, as code of a kernel: taps and their shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tvm import tirx

from cnncc.base.dim import Extent, least_of
from cnncc.kernels.shared.arithmetic import real, vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.modes import SampleMode
from cnncc.ops.sample import CUBIC, limits

Tap = tuple[Expr, Expr, Expr]
"""Index, share, and whether it is inside the image (None where it always is)."""


class Sampled(Protocol):
    """What is sampled: sizes of an image are its width and height (and depth); the modes are those of the op."""

    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def mode(self) -> SampleMode: ...
    @property
    def outside(self) -> str: ...
    @property
    def place(self) -> str: ...


class SampleTaps:
    """The taps of a kernel that samples."""

    def __init__(self, k: KernelBuilder, config: Sampled) -> None:
        self.k = k
        self.c = config

    def around(self, places: Sequence[Expr]) -> list[Tap]:
        """The taps of a place, given by its coordinates; each is computed once for all channels."""
        axes = [self.axis_taps(axis, place) for axis, place in enumerate(places)]
        taps = combined(axes, self.c.sizes)
        return [(self.k.let(index), self.k.let(share), seen) for index, share, seen in taps]

    def axis_taps(self, axis: int, place: Expr) -> list[Tap]:
        """The taps along one axis."""
        k, c = self.k, self.c
        at = self.coordinate(k.let(place), c.sizes[axis])
        # The index of what is no number is any that exists: its share is no number either.
        number = k.let(vmin(k.let(vmax(at, splat(-4.0, 1))), real(c.sizes[axis] + 3)))
        if c.mode == "nearest":
            share = k.let(tirx.Select(tirx.isnan(at), at, splat(1.0, 1)))
            return [self.tap(number, share, axis)]
        first = k.let(tirx.floor(number))
        fraction = k.let(at - first)
        if c.mode == "linear":
            shares = {0: k.let(splat(1.0, 1) - fraction), 1: fraction}
        else:
            shares = {t: cubic(k, fraction, t) for t in (-1, 0, 1, 2)}
        return [self.tap(k.let(first + splat(float(t), 1)), share, axis) for t, share in shares.items()]

    def coordinate(self, place: Expr, size: int) -> Expr:
        """In pixels, brought inside as `cnncc.ops.sample.pixels` does."""
        k, c = self.k, self.c
        if c.place == "half_pixel":
            place = ((place + splat(1.0, 1)) * real(size) - splat(1.0, 1)) * splat(0.5, 1)
        elif c.place == "align_corners":
            place = (place + splat(1.0, 1)) * half(size - 1)
        place = k.let(tirx.nearbyint(place) if c.mode == "nearest" else place)
        if c.outside == "zeros" or (c.mode, c.outside) == ("cubic", "border"):
            return between(k, place, splat(-4.0, 1), real(size + 3))
        # The ends lie at centres of pixels or half way between them, so twice an end is a whole number.
        first, last = limits(0, {"place": c.place})
        low, high = half(int(2 * first)), half(2 * size + int(2 * last))
        out = tirx.any(place < low, place > high)
        if c.outside == "border":
            inside = between(k, place, splat(0.0, 1), real(size - 1))
        else:
            inside = reflected(k, place, (low, high), 2 * size + int(2 * (last - first)))
        return k.let(tirx.Select(out, inside, place))

    def tap(self, index: Expr, share: Expr, axis: int) -> Tap:
        """The pixel that a tap reads: found as a float, so that TVM does not try to simplify the index."""
        k, zero, last = self.k, splat(0.0, 1), real(self.c.sizes[axis] - 1)
        seen = k.let(tirx.all(index >= zero, index <= last)) if self.c.outside == "zeros" else None
        if self.c.outside == "reflection":
            edge = splat(float(self.c.place != "align_corners"), 1)
            index = k.let(tirx.Select(index < zero, zero - index - edge, index))
            index = k.let(tirx.Select(index > last, last + last + edge - index, index))
        return k.let(tirx.Cast("int32", between(k, index, zero, last))), share, seen


def combined(axes: list[list[Tap]], sizes: tuple[int, ...]) -> Iterator[Tap]:
    """Taps of an image, or a volume: one of each axis, in rows."""
    (first, *rest), (width, *others) = axes, sizes
    if not rest:
        yield from first
        return
    for row, down, below in combined(rest, tuple(others)):
        for column, across, beside in first:
            seen = beside if below is None else tirx.all(below, beside)
            yield row * width + column, down * across, seen


def half(number: Expr) -> Expr:
    """Half of a whole number, a float32."""
    return splat(number / 2, 1) if isinstance(number, int) else real(number) * splat(0.5, 1)


def between(k: KernelBuilder, x: Expr, low: Expr, high: Expr) -> Expr:
    """x between two numbers; what is no number stays that."""
    return k.let(vmin(high, k.let(vmax(low, x))))


def reflected(k: KernelBuilder, x: Expr, ends: tuple[Expr, Expr], length: Extent) -> Expr:
    """Mirrored at both ends until it is between them. `length` is twice their distance, a whole number."""
    low, high = ends
    if length == 0:
        return low
    whole = half(length)
    away = k.let(tirx.abs(x - low))
    turns = k.let(tirx.floor(away / whole))
    rest = k.let(away - turns * whole)
    middle = k.let(turns * splat(0.5, 1))
    found = tirx.Select(tirx.floor(middle) >= middle, low + rest, high - rest)
    return k.let(found if least_of(length) > 0 else tirx.Select(k.number(length) == 0, low, k.let(found)))


def cubic(k: KernelBuilder, fraction: Expr, tap: int) -> Expr:
    """The share of a tap at a distance from the place: Keys' kernel in its inner and outer part."""
    x = k.let(fraction - splat(float(tap), 1) if tap < 1 else splat(float(tap), 1) - fraction)
    a = CUBIC
    if tap in (0, 1):
        return k.let((splat(a + 2, 1) * x - splat(a + 3, 1)) * x * x + splat(1.0, 1))
    return k.let(((splat(a, 1) * x - splat(5 * a, 1)) * x + splat(8 * a, 1)) * x - splat(4 * a, 1))
