"""The kernel for regions brought to one size: for each bin its samples, for each of these all channels, in vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.lower.moves import fill_numbers
from cnncc.kernels.cpu.roi_align import RoiAlignConfig
from cnncc.kernels.shared.arithmetic import LOWEST, real, vmax
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.regions import BinSpan, Regions, Sample


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
        self.regions = Regions(k, c)
        self.line = k.scratch(c.channel_blocks * c.block)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as u:
            region, y = k.let(u // c.out_size[0]), k.let(u % c.out_size[0])
            bounds = k.let(region * 4)
            rows, columns = (self.regions.span(self.rois, bounds, axis) for axis in (1, 0))
            start, exists = self.image(region)
            to = k.let(region * c.channels * self.bins + y * c.out_size[1])
            with k.loop(c.out_size[1]) as x:
                fill_numbers(k, self.line, 0, c.channel_blocks * c.block, 0.0 if c.mode == "avg" else LOWEST)
                with k.when(exists), k.loop(rows.count) as i:
                    down = self.regions.sample(rows, y, i)
                    with k.loop(columns.count) as j:
                        self.add(start, down, self.regions.sample(columns, x, j))
                self.write(k.let(to + x), rows, columns)
        return k.finish(symbol)

    def image(self, region: Expr) -> tuple[Expr, Expr]:
        """Where the region's image begins, and whether there is such an image."""
        if self.chosen is None:
            return 0, tirx.IntImm("bool", 1)
        number, exists = self.regions.image(self.chosen.load(region))
        return self.k.let(number * (self.c.channel_blocks * self.plane)), exists

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
