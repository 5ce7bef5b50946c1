"""The depthwise convolution on bytes: rows of words, and tiles of pixels that a row of weights serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import IntImm, PrimFunc

from cnncc.base.elements import ELEMENTS, INT8, INT32
from cnncc.kernels.cpu.byte_operands import ZERO_IN
from cnncc.kernels.cpu.depthwise_bytes import ByteDepthwiseConfig
from cnncc.kernels.cpu.lower.byte_results import Results, as_words
from cnncc.kernels.cpu.lower.dots import DotSums
from cnncc.kernels.cpu.lower.moves import copy_numbers, vector_runs, widths_of
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat


def lower(config: ByteDepthwiseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is some rows of one block of channels."""
    return _ByteDepthwise(config).build(symbol)


class _ByteDepthwise:
    def __init__(self, config: ByteDepthwiseConfig) -> None:
        self.c = c = config
        self.g = g = config.geometry
        self.k = k = KernelBuilder()
        channels, kind = c.out_blocks * c.block, ELEMENTS[c.types.source]
        self.image = k.operand("image", channels * g.in_size[0] * g.in_size[1], kind)
        self.weight = k.operand("weight", channels * g.kernel[0] * c.steps * c.unit.depth, INT8)
        self.bias = k.operand("bias", channels, INT32)
        self.results = Results(k, c, channels, channels * g.out_size[0] * g.out_size[1])
        self.words = k.scratch(c.window_rows * c.row_words * c.block, INT32)
        self.line = k.scratch(c.row_pixels * c.block, kind)

    def build(self, symbol: str) -> PrimFunc:
        k, c, g = self.k, self.c, self.g
        with k.units() as u:
            block, first = k.let(u // c.row_units), k.let((u % c.row_units) * c.rows)
            outside = k.let(tirx.Cast(self.line.kind.tir, self.results.numbers.load(ZERO_IN)))
            with k.loop(c.window_rows) as r:
                self.fill_line(block, k.let(first * g.stride[0] + g.origin[0] + r), outside)
                self.make_words(k.let(r * (c.row_words * c.block)))
            with k.loop(tirx.min(c.rows, g.grid[0] - first) if g.grid[0] % c.rows else c.rows) as y:
                for start, columns, runs in even_tiles(g.grid[1], c.columns):
                    with k.loop(runs) as i:
                        self.tile(block, k.let(first + y), y, k.let(i * columns + start), columns)
        return k.finish(symbol)

    def fill_line(self, block: Expr, y: Expr, outside: Expr) -> None:
        """One row of the image between bytes of its zero point; only those if there is no such row."""
        k, c, (height, width) = self.k, self.c, self.g.in_size
        begin = min(c.row_pixels, max(0, -self.g.origin[1]))
        skipped = max(0, self.g.origin[1])
        end = max(begin, min(c.row_pixels, begin + width - skipped))
        with k.when(tirx.all(y >= 0, y < height)):
            self.blank(0, begin, outside)
            source = k.let(((block * height + y) * width + skipped) * c.block)
            copy_numbers(k, self.image, source, self.line, begin * c.block, (end - begin) * c.block)
            self.blank(end, c.row_pixels - end, outside)
        with k.otherwise():
            self.blank(0, c.row_pixels, outside)

    def blank(self, first: int, pixels: int, outside: Expr) -> None:
        """So many pixels of the zero point."""
        for lanes, start, runs in vector_runs(pixels * self.c.block, widths_of(self.line.kind)):
            with self.k.loop(runs) as i:
                self.line.store(i * lanes + (first * self.c.block + start), splat(outside, lanes), lanes)

    def make_words(self, to: Expr) -> None:
        """The words of the row of pixels: of each channel, neighbours side by side."""
        k, c, depth = self.k, self.c, self.c.unit.depth
        with k.loop(c.row_words) as w:
            at = k.let(w * (c.grain * c.block))
            apart = self.g.dilation[1] * c.block
            if depth == 1:
                taken = self.line.load(at, c.block)
            else:
                pixels = [k.let(self.line.load(at + i * apart, c.block)) for i in range(depth)]
                order = [IntImm("int32", i * c.block + lane) for lane in range(c.block) for i in range(depth)]
                taken = k.let(tirx.Shuffle(pixels, order))
            self.words.store(to + w * c.block, as_words(k, c, taken, c.block), c.block)

    def tile(self, block: Expr, row: Expr, y: Expr, x: Expr, columns: int) -> None:
        """The sums of some pixels of a row, and their results."""
        k, c, g = self.k, self.c, self.g
        sums = _RowSums(k, columns, c.micro.vectors, c.micro)
        first = k.let(block * c.block)
        sums.start(self.bias, [first + v for v in range(0, c.block, c.lanes)])
        weight = k.let(first * (g.kernel[0] * c.steps * c.unit.depth))
        step = c.block * c.unit.depth
        row_step, apart = c.row_words * c.block, g.stride[1] // c.grain * c.block
        corner = k.let((y * (g.stride[0] * c.row_words) + x * (g.stride[1] // c.grain)) * c.block)
        with k.loop(g.kernel[0]) as i:
            at, at_w = k.let(corner + i * (g.dilation[0] * row_step)), k.let(weight + i * (c.steps * step))
            for j in range(c.steps):
                begin = at + j * (c.reach // c.grain * c.block)
                places = [begin + p * apart for p in range(columns)]
                sums.multiply((self.weight, at_w + j * step), self.words, places)
        index = k.let(((block * g.out_size[0] + row) * g.out_size[1] + x) * c.block)
        self.store(sums, index, first, columns)

    def store(self, sums: DotSums, index: Expr, channel: Expr, columns: int) -> None:
        """As many pixels at a time as are stored as one."""
        results, c = self.results, self.c
        scales = results.scales(channel)
        for start in range(0, columns, results.together):
            values = [
                results.value(sums.acc.load(p * c.block + v, c.lanes), index + (p * c.block + v), scale)
                for p in range(start, min(columns, start + results.together))
                for v, scale in scales.items()
            ]
            results.write(index + start * c.block, values)


class _RowSums(DotSums):
    """Sums of which each lane has a word of its own."""

    def words(self, source: Buffer, index: Expr) -> list[Expr]:
        return [self.k.let(source.load(index + v * self.lanes, self.lanes)) for v in range(self.vectors)]


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"depthwise_bytes": lower}
"""Family of a kernel -> its lowering."""
