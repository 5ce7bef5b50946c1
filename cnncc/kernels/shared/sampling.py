"""What a place between the pixels of an image is made of, as code of a kernel: taps and their shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tvm import tirx

from cnncc.kernels.shared.arithmetic import vmax, vmin
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
        number = k.let(vmin(k.let(vmax(at, splat(-4.0, 1))), splat(c.sizes[axis] + 3.0, 1)))
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
            place = ((place + splat(1.0, 1)) * splat(float(size), 1) - splat(1.0, 1)) * splat(0.5, 1)
        elif c.place == "align_corners":
            place = (place + splat(1.0, 1)) * splat((size - 1) / 2, 1)
        place = k.let(tirx.nearbyint(place) if c.mode == "nearest" else place)
        if c.outside == "zeros" or (c.mode, c.outside) == ("cubic", "border"):
            return between(k, place, -4.0, size + 3.0)
        low, high = limits(size, {"place": c.place})
        out = tirx.any(place < splat(low, 1), place > splat(high, 1))
        inside = between(k, place, 0.0, size - 1.0) if c.outside == "border" else reflected(k, place, low, high)
        return k.let(tirx.Select(out, inside, place))

    def tap(self, index: Expr, share: Expr, axis: int) -> Tap:
        """The pixel that a tap reads: found as a float, so that TVM does not try to simplify the index."""
        k, zero, last = self.k, splat(0.0, 1), splat(self.c.sizes[axis] - 1.0, 1)
        seen = k.let(tirx.all(index >= zero, index <= last)) if self.c.outside == "zeros" else None
        if self.c.outside == "reflection":
            edge = splat(float(self.c.place != "align_corners"), 1)
            index = k.let(tirx.Select(index < zero, zero - index - edge, index))
            index = k.let(tirx.Select(index > last, last + last + edge - index, index))
        return k.let(tirx.Cast("int32", between(k, index, 0.0, self.c.sizes[axis] - 1.0))), share, seen


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


def between(k: KernelBuilder, x: Expr, low: float, high: float) -> Expr:
    """x between two constants; what is no number stays that."""
    return k.let(vmin(splat(high, 1), k.let(vmax(splat(low, 1), x))))


def reflected(k: KernelBuilder, x: Expr, low: float, high: float) -> Expr:
    """Mirrored at both ends until it is between them."""
    length = high - low
    if length == 0:
        return splat(low, 1)
    away = k.let(tirx.abs(x - splat(low, 1)))
    turns = k.let(tirx.floor(away / splat(length, 1)))
    rest = k.let(away - turns * splat(length, 1))
    half = k.let(turns * splat(0.5, 1))
    return k.let(tirx.Select(tirx.floor(half) >= half, splat(low, 1) + rest, splat(high, 1) - rest))


def cubic(k: KernelBuilder, fraction: Expr, tap: int) -> Expr:
    """The share of a tap at a distance from the place: Keys' kernel in its inner and outer part."""
    x = k.let(fraction - splat(float(tap), 1) if tap < 1 else splat(float(tap), 1) - fraction)
    a = CUBIC
    if tap in (0, 1):
        return k.let((splat(a + 2, 1) * x - splat(a + 3, 1)) * x * x + splat(1.0, 1))
    return k.let(((splat(a, 1) * x - splat(5 * a, 1)) * x + splat(8 * a, 1)) * x - splat(4 * a, 1))
