"""The direct convolution on bytes: how its words are gathered, and how its sums become results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import IntImm, PrimFunc

from cnncc.base.elements import ELEMENTS, FLOAT32, INT8, INT32
from cnncc.kernels.cpu.conv_bytes import (
    FILL,
    HIGH,
    LOW,
    PLANAR_BLOCK,
    SCALE_RESIDUAL,
    STEPS,
    ZERO,
    ZERO_RESIDUAL,
    ByteConvConfig,
)
from cnncc.kernels.cpu.lower.conv_direct import DirectKernel, TileAt, Unit
from cnncc.kernels.cpu.lower.dots import INSTRUCTIONS, DotSums, apart, is_x86, packed, rounded
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.moves import Corner, ImageWindow, each_row, vector_runs
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, dtype_of, filled, splat, vector_type

SIGNS = -0x7F7F7F80
"""The highest bit of each byte. To flip it adds 128 to a signed byte, or takes 128 from an unsigned one."""


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
        self.source_kind, self.result_kind = ELEMENTS[types.source], ELEMENTS[types.result]
        self.in_words = c.unit.depth == 4 and not c.channels
        numbers = (c.channels or c.in_blocks * g.in_block) * pixels
        kind = INT32 if self.in_words else self.source_kind
        self.image = k.operand("image", numbers * self.source_kind.itemsize // kind.itemsize, kind)
        self.weight = k.operand("weight", max(1, c.reduction) * channels, INT8)
        self.bias = k.operand("bias", channels, INT32)
        self.scale, self.numbers = k.operand("scale", channels), k.operand("steps", STEPS, INT32)
        self.extras = [k.operand("extra", count, ELEMENTS[types.residual])] if types.residual else []
        self.result = k.operand("result", count, self.result_kind)
        self.window = k.scratch(c.scratch_words, INT32) if c.gathers else None

    def sums(self, t: TileAt) -> Sums:
        return DotSums(self.k, len(t.pixels), t.size * self.c.block // self.c.lanes, self.c.micro)

    # ------------------------------------------------------------------------------------------------ gathering

    def gather(self, unit: Unit) -> None:
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
                    flipped = self.as_words(self.image.load(word * depth, lanes * depth), lanes)
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
                    words = self.as_words(k.let(tirx.Shuffle(planes, order)), lanes * c.words)
                    self.window.store(to + (i * lanes + first) * c.words, words, lanes * c.words)

        return copy

    def as_words(self, values: Expr, words: int) -> Expr:
        """Bytes as the words of a step: as they are, with the other sign, or widened."""
        c, k = self.c, self.k
        number = INSTRUCTIONS[c.unit.instruction].number
        count = words * c.unit.depth
        if number == "int8":
            found = k.let(tirx.reinterpret(vector_type("int32", words), k.let(values)))
            return found ^ filled(SIGNS, words, INT32) if c.shift else found
        wide = k.let(tirx.Cast(vector_type(number, count), values))
        return wide if number == "int32" else tirx.reinterpret(vector_type("int32", words), wide)

    # ------------------------------------------------------------------------------------------------ results

    def store(self, t: TileAt, computed: Sums) -> None:
        """The scale of each channel, the residual, rounding, and the bounds; then the results of each output block."""
        k, c, g = self.k, self.c, self.g
        height, width = g.out_size
        y = k.let(t.unit.row + t.y)
        corner = k.let((y * g.out_step[0] + g.out_start[0]) * width + t.x * g.out_step[1] + g.out_start[1])
        for b in range(t.size):
            first = k.let((t.block + b) * c.block)
            scales = [k.let(self.scale.load(first + v * c.lanes, c.lanes)) for v in range(c.block // c.lanes)]
            at = k.let(first * (height * width) + corner * c.block)
            for run in self.runs(t):
                index = [
                    at + (run.row * g.out_step[0] * width + (run.column + i) * g.out_step[1]) * c.block
                    for i in range(run.count)
                ]
                place = ((run.row * t.columns + run.column) * t.size + b) * c.block
                values = [
                    self.value(computed.acc, place + i * t.size * c.block + v, index[i] + v, scales[v // c.lanes])
                    for i in range(run.count)
                    for v in range(0, c.block, c.lanes)
                ]
                self.write(index[0], values)

    def runs(self, t: TileAt) -> Iterator[_Run]:
        """The pixels of a tile: as many together as make up four vectors, where they follow each other."""
        per = self.c.block // self.c.lanes
        together = max(1, 4 // per) if self.g.out_step[1] == 1 else 1
        for row in range(t.rows):
            for column in range(0, t.columns, together):
                yield _Run(row, column, min(together, t.columns - column))

    def value(self, acc: Buffer, place: int, index: Expr, scale: Expr) -> Expr:
        """One vector of results: float32, or int32 around its zero point and not within bounds yet."""
        k, lanes = self.k, self.c.lanes
        value = k.let(tirx.Cast(vector_type("float32", lanes), acc.load(place, lanes)) * scale)
        for extra in self.extras:
            zero = splat(self.numbers.load(ZERO_RESIDUAL), lanes)
            factor = tirx.reinterpret("float32", self.numbers.load(SCALE_RESIDUAL))
            steps = k.let(tirx.Cast(vector_type("int32", lanes), extra.load(index, lanes)) - zero)
            more = k.let(tirx.Cast(vector_type("float32", lanes), steps) * splat(factor, lanes))
            value = k.let(apart(value, lanes) + apart(more, lanes))
        if self.result_kind == FLOAT32:
            return value
        whole = k.let(rounded(k, value, lanes, self.c.unit))
        return k.let(whole + splat(self.numbers.load(ZERO), lanes))

    def write(self, index: Expr, values: list[Expr]) -> None:
        """Stores vectors of results one after the other, within their bounds."""
        c = self.c
        if self.result_kind == FLOAT32 or not is_x86(c.unit) or 4 % len(values):
            for i, value in enumerate(values):
                self.result.store(index + i * c.lanes, self.narrow(self.bounded(value)), c.lanes)
            return
        four = [values[i % len(values)] for i in range(4)]
        whole = self.k.let(packed(four, c.lanes, self.result_kind.tir))
        lanes = len(values) * c.lanes
        if len(values) < 4:
            whole = self.k.let(tirx.Shuffle([whole], [IntImm("int32", i) for i in range(lanes)]))
        low, high = (splat(tirx.Cast(self.result_kind.tir, self.numbers.load(at)), lanes) for at in (LOW, HIGH))
        self.result.store(index, tirx.min(tirx.max(whole, low), high), lanes)

    def bounded(self, value: Expr) -> Expr:
        """A vector of results within its bounds."""
        lanes, kind = self.c.lanes, dtype_of(value).partition("x")[0]
        low, high = (splat(tirx.reinterpret(kind, self.numbers.load(at)), lanes) for at in (LOW, HIGH))
        if kind == "int32":
            low, high = (splat(self.numbers.load(at), lanes) for at in (LOW, HIGH))
        return self.k.let(vmin(high, self.k.let(vmax(low, value))))

    def narrow(self, value: Expr) -> Expr:
        """A vector within the bounds of the result's type in that type."""
        if self.result_kind == FLOAT32:
            return value
        return tirx.Cast(vector_type(self.result_kind.tir, self.c.lanes), value)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"conv_bytes": lower}
"""Family of a kernel -> its lowering."""
