"""Regions of an image that are brought to one size, as code of a kernel: their bins, and the samples of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tvm import tirx

from cnncc.kernels.shared.arithmetic import real, vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.ops.roi_align import MOST_SAMPLES


class Aligned(Protocol):
    """What is brought to one size: regions of `images` of `in_size`; `samples` 0 is as many as pixels."""

    @property
    def images(self) -> int: ...
    @property
    def in_size(self) -> tuple[int, int]: ...
    @property
    def out_size(self) -> tuple[int, int]: ...
    @property
    def scale(self) -> float: ...
    @property
    def samples(self) -> int: ...
    @property
    def half_pixel(self) -> bool: ...


@dataclass(frozen=True)
class BinSpan:
    """A region along one axis: where it begins, the length of a bin, samples in a bin."""

    first: Expr
    bin: Expr
    count: Expr
    size: int


@dataclass(frozen=True)
class Sample:
    """Where a sample lies along one axis: the pixels around it and their shares, and whether it counts."""

    low: Expr
    high: Expr
    share: Expr
    seen: Expr


class Regions:
    """The regions of a kernel."""

    def __init__(self, k: KernelBuilder, config: Aligned) -> None:
        self.k = k
        self.c = config

    def image(self, chosen: Expr) -> tuple[Expr, Expr]:
        """The image that a number names, and whether there is such an image."""
        k, c = self.k, self.c
        number = k.let(chosen)
        exists = k.let(tirx.all(number > splat(-1.0, 1), number < splat(float(c.images), 1)))
        index = tirx.Cast("int32", tirx.Select(exists, number, splat(0.0, 1)))
        return k.let(index), exists

    def span(self, regions: Buffer, at: Expr, axis: int) -> BinSpan:
        """A region, whose bounds begin at an index, along columns (axis 0) or rows."""
        k, c = self.k, self.c
        size, bins = c.in_size[1 - axis], c.out_size[1 - axis]
        offset = splat(0.5 if c.half_pixel else 0.0, 1)
        first, last = (k.let(regions.load(at + (axis + end)) * splat(c.scale, 1) - offset) for end in (0, 2))
        length = k.let(last - first)
        if not c.half_pixel:
            length = k.let(vmax(splat(1.0, 1), length))
        part = k.let(length * splat(1.0 / bins, 1))
        if c.samples:
            return BinSpan(first, part, c.samples, size)
        # What is no number gets no samples, what is infinite not too many.
        wanted = k.let(vmax(tirx.ceil(length / splat(float(bins), 1)), splat(0.0, 1)))
        return BinSpan(first, part, k.let(tirx.Cast("int32", vmin(real(MOST_SAMPLES * size), wanted))), size)

    def sample(self, span: BinSpan, bin: Expr, i: Expr) -> Sample:
        """Sample i of a bin along one axis."""
        k = self.k
        inner = (real(i) + splat(0.5, 1)) * span.bin / real(span.count)
        at = k.let(span.first + real(bin) * span.bin + inner)
        seen = k.let(tirx.all(at >= splat(-1.0, 1), at <= real(span.size)))
        known = k.let(tirx.Select(seen, at, splat(0.0, 1)))
        at = k.let(vmin(real(span.size - 1), k.let(vmax(splat(0.0, 1), known))))
        low = k.let(tirx.Cast("int32", at))
        return Sample(low, k.let(tirx.min(low + 1, span.size - 1)), k.let(at - tirx.Cast("float32", low)), seen)
