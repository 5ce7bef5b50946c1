"""The sampling kernel: for each place its taps, then all channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Extent, least_of
from cnncc.kernels.cpu.sample import SampleConfig
from cnncc.kernels.shared.arithmetic import real, vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.ops.sample import CUBIC, limits

Tap = tuple[Expr, Expr, Expr]
"""Index, share, and whether it is inside the image (None where it always is)."""


def lower(c: SampleConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one output row of all channels."""
    return _Sample(c).build(symbol)


class _Sample:
    def __init__(self, config: SampleConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.image, self.pixels = math.prod(c.sizes), math.prod(c.out_size)
        self.source = k.operand("source", c.channel_blocks * c.block * self.image)
        self.grid = k.operand("places", len(c.sizes) * self.pixels)
        self.result = k.operand("result", c.channel_blocks * c.block * self.pixels)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as y, k.loop(c.out_size[1]) as x:
            pixel = k.let(y * c.out_size[1] + x)
            axes = [self.axis_taps(axis, self.grid.load(axis * self.pixels + pixel)) for axis in range(len(c.sizes))]
            taps = [self.named(tap) for tap in combined(axes, c.sizes)]
            with k.loop(c.channel_blocks) as plane:
                start = k.let(plane * self.image)
                for v in range(0, c.block, c.lanes):
                    self.result.store((plane * self.pixels + pixel) * c.block + v, self.total(start, taps, v), c.lanes)
        return k.finish(symbol)

    def named(self, tap: Tap) -> Tap:
        """A tap that is computed once for all channels."""
        index, share, seen = tap
        return self.k.let(index), self.k.let(share), seen

    def total(self, start: Expr, taps: list[Tap], lane: int) -> Expr:
        """The weighted sum of a vector of channels."""
        k, c = self.k, self.c
        acc = splat(0.0, c.lanes)
        for index, share, seen in taps:
            value = self.source.load((start + index) * c.block + lane, c.lanes)
            if seen is not None:
                value = tirx.Select(tirx.Broadcast(seen, c.lanes) if c.lanes > 1 else seen, value, splat(0.0, c.lanes))
            acc = k.let(acc + value * splat(share, c.lanes))
        return acc

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


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"sample": lower}
"""Family of a kernel -> its lowering."""
