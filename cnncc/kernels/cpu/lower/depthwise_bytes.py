"""The depthwise convolution on bytes: rows of words, and tiles of pixels that a row of weights serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import IntImm, PrimFunc

from cnncc.base.dim import Dim, largest, least_of, most_of, smallest
from cnncc.base.elements import ELEMENTS, INT8, INT32, Element
from cnncc.kernels.cpu.depthwise_bytes import ByteDepthwiseConfig
from cnncc.kernels.cpu.lower.byte_results import Results, as_words
from cnncc.kernels.cpu.lower.dots import DotSums, apart
from cnncc.kernels.cpu.lower.tile_runs import tile_runs
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat, vector_type
from cnncc.kernels.shared.byte_steps import FILL, ZERO_IN

WHOLE = 64
"""Bytes of a vector of AVX-512."""


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
        self.words = k.scratch(c.ring_rows * c.row_words * c.block, INT32)

    def build(self, symbol: str) -> PrimFunc:
        k, c, g = self.k, self.c, self.g
        tiles = tile_runs(k, g.grid[1], c.columns)
        with k.units() as u:
            block, first = k.let(u // c.row_units), k.let((u % c.row_units) * c.rows)
            top, kept = k.let(first * g.stride[0] + g.origin[0]), c.ring_rows - c.new_rows
            if kept:
                with k.loop(kept) as r:
                    self.make_words(block, k.let(top + r), self.slot(r))
            with k.loop(tirx.min(c.rows, g.grid[0] - first) if g.grid[0] % c.rows else c.rows) as y:
                with k.loop(c.new_rows) as r:
                    row = k.let(y * g.stride[0] + kept + r)
                    self.make_words(block, k.let(top + row), self.slot(row))
                for start, columns, runs in tiles:
                    with k.loop(runs) as i:
                        self.tile(block, k.let(first + y), y, k.let(i * columns + start), columns)
        return k.finish(symbol)

    def slot(self, row: Expr) -> Expr:
        """Where the words of a unit's input row lie in the ring."""
        c = self.c
        return self.k.let(row % c.ring_rows * (c.row_words * c.block))

    def make_words(self, block: Expr, y: Expr, to: Expr) -> None:
        """The words of one row of the image: of each channel, neighbours side by side. Outside the image they are of
        its zero point."""
        k, c, (height, width) = self.k, self.c, self.g.in_size
        with k.when(tirx.all(y >= 0, y < height)):
            source = k.let((block * height + y) * (width * c.block))
            first, end = self.inside
            self.edges(source, to, 0, first)
            self.edges(source, to, end, c.row_words)
            with k.loop(end - first) as i:
                w = k.let(i + first)
                at = k.let(source + (w * c.grain + self.g.origin[1]) * c.block)
                self.store_words(to + w * c.block, self.neighbours(at))
        with k.otherwise(), k.loop(c.row_words) as w:
            self.words.store(to + w * c.block, splat(self.results.numbers.load(FILL), c.block), c.block)

    @property
    def inside(self) -> tuple[Expr, Expr]:
        """The first of the words of a row that are made of pixels of the image only, and the first behind them."""
        c, left = self.c, self.g.origin[1]
        reach = left + (c.unit.depth - 1) * self.g.dilation[1]
        first = smallest(c.row_words, max(0, -(left // c.grain)))
        return first, largest(first, smallest(c.row_words, (self.g.in_size[1] - 1 - reach) // c.grain + 1))

    def edges(self, source: Expr, to: Expr, first: Expr, end: Expr) -> None:
        """Words of which a part lies outside the image."""
        k, c, count = self.k, self.c, end - first
        if isinstance(count, int):
            for w in range(count):
                self.store_words(to + (first + w) * c.block, self.edge(source, first + w))
            return
        with k.loop(count) as i:
            w = k.let(i + first)
            self.store_words(to + w * c.block, self.edge(source, w))

    def columns(self, word: Expr) -> list[Expr]:
        """Of the image, which a word of a row is made of; some may lie outside."""
        first = word * self.c.grain + self.g.origin[1]
        return [first + i * self.g.dilation[1] for i in range(self.c.unit.depth)]

    def store_words(self, to: Expr, pixels: Expr) -> None:
        self.words.store(to, as_words(self.k, self.c, self.k.let(pixels), self.c.block), self.c.block)

    def neighbours(self, at: Expr) -> Expr:
        """The bytes of the words from a pixel on, all of which lie in the image."""
        c, further = self.c, self.g.dilation[1] * self.c.block
        if further == c.block and c.unit.depth * c.block == 4 * c.lanes == WHOLE:
            return turned(self.k, self.image.load(at, WHOLE), self.image.kind)
        return self.beside([self.k.let(self.image.load(at + i * further, c.block)) for i in range(c.unit.depth)])

    def edge(self, source: Expr, word: Expr) -> Expr:
        """The bytes of words of which a part lies outside the image."""
        k, c, kind = self.k, self.c, self.image.kind
        outside = splat(tirx.Cast(kind.tir, self.results.numbers.load(ZERO_IN)), c.block)
        return self.beside([k.let(self.pixel(source, x, outside)) for x in self.columns(word)])

    def pixel(self, source: Expr, x: Expr, outside: Expr) -> Expr:
        """The bytes of a pixel of a row, which may lie outside the image."""
        k, c, width = self.k, self.c, self.g.in_size[1]
        if isinstance(x, int | Dim):
            if least_of(x) >= 0 and least_of(width - x) > 0:
                return self.image.load(source + x * c.block, c.block)
            if most_of(x) < 0 or least_of(x - width) >= 0:
                return outside
        place = k.number(x)
        near = k.let(vmin(vmax(place, 0), width - 1))
        loaded = k.let(self.image.load(source + near * c.block, c.block))
        return tirx.Select(splat(near == place, c.block), loaded, outside)

    def beside(self, pixels: list[Expr]) -> Expr:
        """Of each channel, the bytes of these pixels side by side."""
        c = self.c
        order = [IntImm("int32", i * c.block + lane) for lane in range(c.block) for i in range(len(pixels))]
        return pixels[0] if len(pixels) == 1 else tirx.Shuffle(pixels, order)

    def tile(self, block: Expr, row: Expr, y: Expr, x: Expr, columns: int) -> None:
        """The sums of some pixels of a row, and their results."""
        k, c, g = self.k, self.c, self.g
        sums = _RowSums(k, columns, c.micro.vectors, c.micro)
        first = k.let(block * c.block)
        sums.start(self.bias, [first + v for v in range(0, c.block, c.lanes)])
        weight = k.let(first * (g.kernel[0] * c.steps * c.unit.depth))
        step = c.block * c.unit.depth
        further = g.stride[1] // c.grain * c.block
        with k.loop(g.kernel[0]) as i:
            row_at = self.slot(y * g.stride[0] + i * g.dilation[0])
            at, at_w = k.let(row_at + x * further), k.let(weight + i * (c.steps * step))
            for j in range(c.steps):
                begin = at + j * (c.reach // c.grain * c.block)
                places = [begin + p * further for p in range(columns)]
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


def turned(k: KernelBuilder, pixels: Expr, kind: Element) -> Expr:
    """16 channels of 4 pixels, one pixel after the other, as 4 pixels of 16 channels. In two steps, each of which is an
    instruction of AVX-512: words change places, then bytes within each quarter of the vector. LLVM would make one step
    of both, and of that twelve instructions."""
    words = tirx.reinterpret("float32x16", k.let(pixels))
    corners = [IntImm("int32", 4 * pixel + quarter) for quarter in range(4) for pixel in range(4)]
    moved = k.let(apart(tirx.Shuffle([words], corners), WHOLE // 4))
    order = [
        IntImm("int32", 16 * quarter + 4 * pixel + channel)
        for quarter in range(4)
        for channel in range(4)
        for pixel in range(4)
    ]
    return tirx.Shuffle([k.let(tirx.reinterpret(vector_type(kind.tir, WHOLE), moved))], order)


class _RowSums(DotSums):
    """Sums of which each lane has a word of its own."""

    def words(self, source: Buffer, index: Expr) -> list[Expr]:
        return [self.k.let(source.load(index + v * self.lanes, self.lanes)) for v in range(self.vectors)]


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"depthwise_bytes": lower}
"""Family of a kernel -> its lowering."""
