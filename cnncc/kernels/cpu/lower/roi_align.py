"""The kernel for regions brought to one size: for each bin its samples, for each of these all channels, in vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.lower.moves import fill_numbers
from cnncc.kernels.cpu.roi_align import RoiAlignConfig
from cnncc.kernels.shared.arithmetic import LOWEST, real, vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.ops.roi_align import MOST_SAMPLES


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


def lower(c: RoiAlignConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a row of bins of a region."""
    return _RoiAlign(c).build(symbol)


class _RoiAlign:
    def __init__(self, config: RoiAlignConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.plane = c.in_size[0] * c.in_size[1] * c.block
        self.source = k.operand("source", c.images * c.channel_blocks * self.plane)
        self.rois = k.operand("rois", c.regions * 4)
        self.chosen = k.operand("images", c.regions) if c.chosen else None
        self.bins = c.out_size[0] * c.out_size[1]
        self.result = k.operand("result", c.regions * c.channels * self.bins)
        self.line = k.scratch(c.channel_blocks * c.block)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as u:
            region, y = k.let(u // c.out_size[0]), k.let(u % c.out_size[0])
            rows, columns = self.span(region, 1), self.span(region, 0)
            start, exists = self.image(region)
            to = k.let(region * c.channels * self.bins + y * c.out_size[1])
            with k.loop(c.out_size[1]) as x:
                fill_numbers(k, self.line, 0, c.channel_blocks * c.block, 0.0 if c.mode == "avg" else LOWEST)
                with k.when(exists), k.loop(rows.count) as i:
                    down = self.sample(rows, y, i)
                    with k.loop(columns.count) as j:
                        self.add(start, down, self.sample(columns, x, j))
                self.write(k.let(to + x), rows, columns)
        return k.finish(symbol)

    def image(self, region: Expr) -> tuple[Expr, Expr]:
        """Where the region's image begins, and whether there is such an image."""
        k, c = self.k, self.c
        if self.chosen is None:
            return 0, tirx.IntImm("bool", 1)
        number = k.let(self.chosen.load(region))
        exists = k.let(tirx.all(number > splat(-1.0, 1), number < splat(float(c.images), 1)))
        index = tirx.Cast("int32", tirx.Select(exists, number, splat(0.0, 1)))
        return k.let(index * (c.channel_blocks * self.plane)), exists

    def span(self, region: Expr, axis: int) -> BinSpan:
        """The region along columns (axis 0) or rows."""
        k, c = self.k, self.c
        size, bins = c.in_size[1 - axis], c.out_size[1 - axis]
        offset = splat(0.5 if c.half_pixel else 0.0, 1)
        first, last = (k.let(self.rois.load(region * 4 + (axis + end)) * splat(c.scale, 1) - offset) for end in (0, 2))
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

    def add(self, start: Expr, down: Sample, across: Sample) -> None:
        """A sample of all channels into the line, a vector of them at a time."""
        k, c, width = self.k, self.c, self.c.in_size[1]
        inside = k.let(tirx.all(down.seen, across.seen))
        one = splat(1.0, 1)
        corners = []
        for row, tall in ((down.low, one - down.share), (down.high, down.share)):
            for column, wide in ((across.low, one - across.share), (across.high, across.share)):
                share = k.let(tirx.Select(inside, tall * wide, splat(0.0, 1)))
                corners.append((k.let(start + (row * width + column) * c.block), share))
        with k.loop(c.channel_blocks) as block:
            at = k.let(block * self.plane)
            for v in range(0, c.block, c.lanes):
                values = [
                    k.let(self.source.load(at + corner + v, c.lanes) * splat(share, c.lanes))
                    for corner, share in corners
                ]
                total = self.line.load(block * c.block + v, c.lanes)
                for value in values:
                    total = k.let(total + value if c.mode == "avg" else vmax(value, total))
                self.line.store(block * c.block + v, total, c.lanes)

    def write(self, to: Expr, rows: BinSpan, columns: BinSpan) -> None:
        """The line as one bin of all channels."""
        k, c = self.k, self.c
        count = k.let(vmax(real(rows.count) * real(columns.count), splat(1.0, 1)))
        with k.loop(c.channels) as channel:
            value = k.let(self.line.load(channel))
            if c.mode == "avg":
                found = value / count
            else:
                found = tirx.Select(value <= splat(LOWEST, 1), splat(0.0, 1), value)
            self.result.store(to + channel * self.bins, found)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"roi_align": lower}
"""Family of a kernel -> its lowering."""
