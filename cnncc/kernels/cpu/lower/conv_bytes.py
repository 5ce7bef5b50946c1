"""The direct convolution on bytes: how its words are gathered, and how its sums become results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import IntImm, PrimFunc

from cnncc.base.elements import ELEMENTS, INT8, INT32
from cnncc.kernels.cpu.conv_bytes import PLANAR_BLOCK, ByteConvConfig
from cnncc.kernels.cpu.lower.byte_results import SIGNS, Results, as_words
from cnncc.kernels.cpu.lower.conv_direct import DirectKernel, TileAt, UnitAt
from cnncc.kernels.cpu.lower.dots import DotSums
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.moves import Corner, ImageWindow, copy_numbers, each_row, vector_runs
from cnncc.kernels.shared.builder import Expr, KernelBuilder, filled, splat
from cnncc.kernels.shared.byte_steps import FILL


def lower(config: ByteConvConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one section of output blocks of some rows."""
    return _ByteConv(config).build(symbol)


@dataclass(frozen=True, eq=False)
class _Run:
    """Pixels of a tile that follow each other in the result: the first of them, and how many."""

    row: int
    column: int
    count: int


class _ByteConv(DirectKernel):
    c: ByteConvConfig

    def __init__(self, config: ByteConvConfig) -> None:
        self.c = c = config
        self.g = g = config.geometry
        self.k = k = KernelBuilder()
        types, channels = c.types, c.out_blocks * c.block
        pixels = g.in_size[0] * g.in_size[1]
        count = g.out_size[0] * g.out_size[1] * channels
        self.source_kind = ELEMENTS[types.source]
        self.in_words = c.unit.depth == 4 and not c.channels
        numbers = (c.channels or c.in_blocks * g.in_block) * pixels
        kind = INT32 if self.in_words else self.source_kind
        self.image = k.operand("image", numbers * self.source_kind.itemsize // kind.itemsize, kind)
        self.weight = k.operand("weight", max(1, c.reduction) * channels, INT8)
        self.bias = k.operand("bias", channels, INT32)
        self.results = Results(k, c, channels, c.outputs or count)
        self.numbers = self.results.numbers
        self.window = k.scratch(c.scratch_words, INT32) if c.gathers else None

    def sums(self, t: TileAt) -> Sums:
        return DotSums(self.k, len(t.pixels), t.size * self.c.block // self.c.lanes, self.c.micro)

    # ------------------------------------------------------------------------------------------------ gathering

    def gather(self, unit: UnitAt) -> None:
        """Makes words of the input rows of the unit, and of the zero point where taps fall outside the image."""
        k, c, g = self.k, self.c, self.g
        if self.window is None:
            return
        top = k.let(unit.row * g.stride[0] + g.origin[0])
        window = ImageWindow(c.group_in_blocks, c.words, g.in_size, c.window, g.origin[1], outside=0.0)
        outside = k.let(self.numbers.load(FILL))
        if not c.channels:
            self.rows_of(window, Corner(unit.first_in, top), outside, self.move_blocks)
            return
        for plane in range(c.in_blocks):
            one = ImageWindow(1, c.words, g.in_size, c.window, g.origin[1], outside=0.0)
            start = plane * c.words * c.window[0] * c.window[1]
            self.rows_of(one, Corner(0, top), outside, self.planes_from(plane * PLANAR_BLOCK), start)

    def rows_of(
        self, window: ImageWindow, corner: Corner, outside: Expr, copy: Callable[..., None], start: int = 0
    ) -> None:
        """The rows of a window between words of the zero point."""
        to = self.window
        assert to is not None

        def fill(at: Expr, count: int) -> None:
            for lanes, first, runs in vector_runs(count):
                with self.k.loop(runs) as i:
                    to.store(at + i * lanes + first, splat(outside, lanes), lanes)

        each_row(self.k, window, corner, fill, copy, start)

    def move_blocks(self, row: Expr, column: int, at: Expr, pixels: int) -> None:
        """Words of so many pixels of a block of channels."""
        k, c, depth = self.k, self.c, self.c.unit.depth
        assert self.window is not None
        source, to = k.let((row * self.g.in_size[1] + column) * c.words), k.let(at)
        for lanes, first, runs in vector_runs(pixels * c.words):
            with k.loop(runs) as i:
                word = k.let(source + i * lanes + first)
                if self.in_words:
                    loaded = k.let(self.image.load(word, lanes))
                    flipped = loaded ^ filled(SIGNS, lanes, INT32) if c.shift else loaded
                else:
                    flipped = as_words(k, c, self.image.load(word * depth, lanes * depth), lanes)
                self.window.store(to + i * lanes + first, flipped, lanes)

    def planes_from(self, channel: int) -> Callable[..., None]:
        """Puts together the channels from one on of pixels of an image of planes."""
        k, c = self.k, self.c
        height, width = self.g.in_size
        channels = min(PLANAR_BLOCK, c.channels - channel)

        def copy(row: Expr, column: int, at: Expr, pixels: int) -> None:
            assert self.window is not None
            source, to = k.let((row + channel * height) * width + column), k.let(at)
            for lanes, first, runs in vector_runs(pixels, (16, 4, 1)):
                with k.loop(runs) as i:
                    x = k.let(source + i * lanes + first)
                    planes = [k.let(self.image.load(x + p * (height * width), lanes)) for p in range(channels)]
                    planes += [filled(0, lanes, self.source_kind)] * (PLANAR_BLOCK - channels)
                    order = [IntImm("int32", p * lanes + i) for i in range(lanes) for p in range(PLANAR_BLOCK)]
                    words = as_words(k, c, k.let(tirx.Shuffle(planes, order)), lanes * c.words)
                    self.window.store(to + (i * lanes + first) * c.words, words, lanes * c.words)

        return copy

    # ------------------------------------------------------------------------------------------------ results

    def store(self, t: TileAt, computed: Sums) -> None:
        """The scale of each channel, the residual, rounding, and the bounds; then the results of each output block."""
        k, c, g = self.k, self.c, self.g
        height, width = g.out_size
        y = k.let(t.unit.row + t.y)
        sums = computed.acc
        corner = k.let((y * g.out_step[0] + g.out_start[0]) * width + t.x * g.out_step[1] + g.out_start[1])
        for b in range(t.size):
            first = k.let((t.block + b) * c.block)
            scales = self.results.scales(first)
            at = k.let(first * (height * width) + corner * c.block)
            for run in self.runs(t):
                index = [
                    at + (run.row * g.out_step[0] * width + (run.column + i) * g.out_step[1]) * c.block
                    for i in range(run.count)
                ]
                place = ((run.row * t.columns + run.column) * t.size + b) * c.block
                values = [
                    self.results.value(sums.load(place + i * t.size * c.block + v, c.lanes), index[i] + v, scales[v])
                    for i in range(run.count)
                    for v in range(0, c.block, c.lanes)
                ]
                self.write(first, index[0], values)

    def write(self, channel: Expr, index: Expr, values: list[Expr]) -> None:
        """Stores results of the channels from one on; of a vector only those that it has."""
        k, c = self.k, self.c
        ragged = c.outputs % c.block
        if not ragged:
            self.results.write(index, values)
            return
        with k.when(channel + c.block <= c.outputs):
            self.results.write(index, values)
        with k.otherwise():
            block = k.registers(c.block, self.results.kind)
            self.results.write(0, values, block)
            copy_numbers(k, block, 0, self.results.result, index, ragged)

    def runs(self, t: TileAt) -> Iterator[_Run]:
        """The pixels of a tile: as many together as make up four vectors, where they follow each other."""
        together = self.results.together if self.g.out_step[1] == 1 else 1
        for row in range(t.rows):
            for column in range(0, t.columns, together):
                yield _Run(row, column, min(together, t.columns - column))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"conv_bytes": lower}
"""Family of a kernel -> its lowering."""
