"""The sliding-window kernel: depthwise convolution, max and average pooling, one channel per lane."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim, Extent, above, largest, smallest
from cnncc.base.elements import ELEMENTS
from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.lower.bfloats import round_by
from cnncc.kernels.cpu.lower.moves import Corner, ImageWindow, gather_rows
from cnncc.kernels.cpu.lower.tile_runs import tile_runs
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.cpu.window import WindowConfig, summed
from cnncc.kernels.shared.arithmetic import LOWEST, nan_max, vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled, splat
from cnncc.kernels.shared.epilogue import costly, each, readable
from cnncc.kernels.shared.vectors import apply_epilogue


def lower(config: WindowConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is some rows of one channel block."""
    return _Window(config).build(symbol)


@dataclass(frozen=True, eq=False)
class _Tile:
    """`count` pixels of row top + y from column x of one channel block; `top` is the unit's first row. Where a tap may
    fall left or right of the image, x is a number, or each column is looked at (`careful`) before it is read. `inner`
    says that none does, where that does not follow from x."""

    plane: Expr
    top: Expr
    y: Expr
    x: Expr
    count: int
    careful: bool = False
    inner: bool = False


class _Window:
    def __init__(self, config: WindowConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        channels = c.channel_blocks * c.block
        outputs = channels * c.out_size[0] * c.out_size[1]
        kind = ELEMENTS[c.element]
        self.kind = summed(kind)
        round_by(k, c.rounds)
        self.image = k.operand("image", channels * c.in_size[0] * c.in_size[1], kind)
        taps, stored = c.kernel[0] * c.kernel[1], ELEMENTS[c.weights]
        self.weight = k.operand("weight", channels * taps, stored) if c.mode == "depthwise" else None
        self.bias = k.operand("bias", channels) if c.bias else None
        adds = added_inputs(c.epilogue)
        self.extras = [k.operand(f"extra{i}", outputs, kind) for i in range(adds)]
        self.result = k.operand("result", outputs, kind)
        self.window = k.scratch(c.scratch_numbers, self.kind) if c.gathers else None
        self.source, self.width = (self.image, c.in_size[1]) if self.window is None else (self.window, c.window[1])
        """What the taps read, and the pixels of its rows."""

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as u:
            plane, part = u // c.row_units, u % c.row_units
            if c.rows_outermost:
                plane, part = u % c.channel_blocks, u // c.channel_blocks
            plane, top = k.let(plane), k.let(part * c.rows)
            self.gather(plane, top)
            with k.loop(k.let(vmin(c.rows, c.out_size[0] - top))) as y:
                self.row(plane, top, y)
        return k.finish(symbol)

    def row(self, plane: Expr, top: Expr, y: Expr) -> None:
        """The tiles of one row: those at the border one by one, the others in a loop."""
        k = self.k
        if isinstance(self.c.out_size[1], Dim):
            self.row_of_range(plane, top, y)
            return
        for start, columns, count in even_tiles(self.c.out_size[1], self.c.columns):
            inside = [i for i in range(count) if self.inside(start + i * columns, columns)]
            first, last = (inside[0], inside[-1] + 1) if inside else (count, count)
            for i in range(first):
                self.tile(_Tile(plane, top, y, start + i * columns, columns))
            with k.loop(last - first) as i:
                self.tile(_Tile(plane, top, y, k.let((i + first) * columns + start), columns))
            for i in range(last, count):
                self.tile(_Tile(plane, top, y, start + i * columns, columns))

    def row_of_range(self, plane: Expr, top: Expr, y: Expr) -> None:
        """The same where it is known only then how many there are: tiles are cut from the pixels all of whose taps
        exist, and those at the border stand alone, so that no tile of many pixels has to look at each column."""
        k, c = self.k, self.c
        first, end = (0, c.out_size[1]) if c.gathers or not c.reaches_out(1) else self.inner
        for before, count in ((0, first), (end, c.out_size[1] - end)):
            with k.loop(count) as i:
                self.tile(_Tile(plane, top, y, k.let(k.number(before) + i), 1, careful=True))
        for start, columns, count in tile_runs(k, end - first, c.columns):
            with k.loop(count) as i:
                self.tile(_Tile(plane, top, y, k.let(i * columns + (first + start)), columns, inner=not c.gathers))

    @property
    def inner(self) -> tuple[Extent, Extent]:
        """The first pixel of a row all of whose taps are in columns of the image, and the first behind them."""
        c, width = self.c, self.c.out_size[1]
        reach = (c.kernel[1] - 1) * c.dilation[1] - c.pad[1]
        first = smallest(width, -(-c.pad[1] // c.stride[1]))
        return first, largest(first, smallest(width, (c.in_size[1] - 1 - reach) // c.stride[1] + 1))

    def inside(self, x: int, count: int) -> bool:
        """Whether all taps of some pixels are in columns that their source has."""
        c = self.c
        left = x * c.stride[1] - c.pad[1]
        right = left + (count - 1) * c.stride[1] + (c.kernel[1] - 1) * c.dilation[1]
        return c.gathers or (left >= 0 and right < c.in_size[1])

    def gather(self, plane: Expr, top: Expr) -> None:
        """Copies the input rows of the unit into the window, where taps fall outside the image."""
        k, c = self.k, self.c
        if self.window is None:
            return
        first = k.let(top * c.stride[0] - c.pad[0])
        window = ImageWindow(1, c.block, c.in_size, c.window, -c.pad[1], outside=self.start)
        gather_rows(k, self.image, self.window, window, Corner(plane, first))

    @property
    def start(self) -> float:
        """What changes no maximum, or no sum."""
        if self.kind.whole:
            return self.kind.least
        return LOWEST if self.c.mode == "max" else 0.0

    def tile(self, t: _Tile) -> None:
        """Vector by vector: what the sums of one leave of the registers holds the weights of several taps."""
        k, c = self.k, self.c
        with k.loop(c.block // c.lanes) as v:
            lane = v * c.lanes
            acc = k.registers(t.count * c.lanes, self.kind)
            start = filled(self.start, c.lanes, self.kind)
            if self.bias is not None:
                start = k.let(self.bias.load(t.plane * c.block + lane, c.lanes))
            for p in range(t.count):
                acc.store(p * c.lanes, start, c.lanes)
            self.reduce(t, acc, lane)
            self.store(t, acc, lane)

    def reduce(self, t: _Tile, acc: Buffer, lane: Expr) -> None:
        """Every tap of the window on a vector of all pixels of the tile, from lane `lane` of the block."""
        k, c = self.k, self.c
        base = k.let(self.first_tap(t) + lane)
        weight = k.let(t.plane * (c.kernel[0] * c.kernel[1] * c.block) + lane)
        if not c.unrolled:
            with k.loop(c.kernel[0]) as i:
                self.tap_row(t, acc, self.row_start(base, i), self.row_weights(weight, i))
            return
        first = k.let((t.top + t.y) * c.stride[0] - c.pad[0])
        for i in range(c.kernel[0]):
            row = first + i * c.dilation[0]
            exists = tirx.all(row >= 0, row < c.in_size[0])
            with k.when(exists) if c.reaches_out(0) else nullcontext():
                self.tap_row(t, acc, self.row_start(base, i), self.row_weights(weight, i))

    def row_start(self, base: Expr, i: Expr) -> Expr:
        """Index of the first pixel's tap (i, 0), which need not exist."""
        return self.k.let(base + i * (self.c.dilation[0] * self.width * self.c.block))

    def row_weights(self, weight: Expr, i: Expr) -> Expr:
        """Index of the weights of tap (i, 0)."""
        return self.k.let(weight + i * (self.c.kernel[1] * self.c.block))

    def first_tap(self, t: _Tile) -> Expr:
        """Index of the first pixel's tap (0, 0), which need not exist."""
        k, c = self.k, self.c
        if self.window is not None:
            return k.let((t.y * c.stride[0] * self.width + t.x * c.stride[1]) * c.block)
        row = t.plane * c.in_size[0] + (t.top + t.y) * c.stride[0] - c.pad[0]
        return k.let((row * self.width + t.x * c.stride[1] - c.pad[1]) * c.block)

    def tap_row(self, t: _Tile, acc: Buffer, at: Expr, weight: Expr) -> None:
        """A row of taps, as many at a time as weights are held."""
        k, c = self.k, self.c
        if c.unrolled:
            for first in range(0, c.kernel[1], c.held):
                self.taps(t, acc, at, weight, range(first, min(first + c.held, c.kernel[1])))
            return
        steps, rest = divmod(c.kernel[1], c.held)
        for first, count, width in ((0, steps, c.held), (steps, min(rest, 1), rest)):
            with k.loop(count, start=first) as i:
                column = k.let(at + i * (c.held * c.dilation[1] * c.block))
                self.taps(t, acc, column, k.let(weight + i * (c.held * c.block)), range(width))

    def taps(self, t: _Tile, acc: Buffer, at: Expr, weight: Expr, taps: range) -> None:
        """Some taps of a row, column by column: what several pixels read there is loaded once."""
        k, c = self.k, self.c
        readers = defaultdict(list)
        for p, j in product(range(t.count), taps):
            if self.has_column(t, p, j):
                readers[p * c.stride[1] + j * c.dilation[1]].append((p, j))
        if not readers:
            return
        factors = self.factors(weight, taps)
        low, high = min(readers), max(readers)
        source = self.source.view(at + low * c.block, (high - low) * c.block + c.lanes)
        for column, uses in sorted(readers.items()):
            with self.exists(t, column):
                value = k.let(source.load((column - low) * c.block, c.lanes))
                for p, j in uses:
                    before = acc.load(p * c.lanes, c.lanes)
                    acc.store(p * c.lanes, self.combine(before, value, factors[j]), c.lanes)

    def exists(self, t: _Tile, column: int) -> AbstractContextManager[None]:
        """What is emitted inside happens if the image has a column, counted from the first that the tile could see."""
        c = self.c
        if not t.careful:
            return nullcontext()
        at = t.x * c.stride[1] + (column - c.pad[1])
        return self.k.when(tirx.all(at >= 0, at < c.in_size[1]))

    def factors(self, weight: Expr, taps: range) -> dict[int, Expr | None]:
        """The weights of some taps of a row; None each if there are none."""
        k, c = self.k, self.c
        if self.weight is None:
            return dict.fromkeys(taps)
        held = self.weight.view(weight + taps[0] * c.block, (len(taps) - 1) * c.block + c.lanes)
        return {j: k.let(held.load((j - taps[0]) * c.block, c.lanes)) for j in taps}

    def has_column(self, t: _Tile, pixel: int, j: Expr) -> bool:
        """Whether the source has the column of tap j of a pixel."""
        c = self.c
        if c.gathers or not c.reaches_out(1) or not isinstance(t.x, int):
            return True
        column = (t.x + pixel) * c.stride[1] + j * c.dilation[1] - c.pad[1]
        return bool(0 <= column < c.in_size[1])

    def store(self, t: _Tile, acc: Buffer, lane: Expr) -> None:
        """Scale and epilogue of every pixel, and its result."""
        k, c = self.k, self.c
        at = k.let(((t.plane * c.out_size[0] + t.top + t.y) * c.out_size[1] + t.x) * c.block + lane)
        looped = costly(c.epilogue)
        sums = readable(k, acc, t.count * c.lanes, c.lanes, looped)

        def pixel(p: Expr) -> None:
            value, index = sums.load(p * c.lanes, c.lanes), at + p * c.block
            scale = self.scale(t, p)
            if scale is not None:
                value = k.let(value * splat(scale, c.lanes))
            extras = [e.load(index, c.lanes) for e in self.extras]
            self.result.store(index, apply_epilogue(k, value, c.epilogue, extras, c.lanes), c.lanes)

        each(k, (t.count,), looped, pixel)

    def combine(self, before: Expr, value: Expr, factor: Expr | None) -> Expr:
        if factor is not None:
            return before + value * factor
        if self.kind.whole:
            return tirx.max(before, value)
        return nan_max(before, value) if self.c.mode == "max" else before + value

    def scale(self, t: _Tile, p: Expr) -> Expr | None:
        """One over the number of values averaged for a pixel of a tile; pixels of the padding are not counted unless
        asked for."""
        k, c = self.k, self.c
        if c.mode != "avg":
            return None
        whole = c.kernel[0] * c.kernel[1]
        across = c.kernel[1] if t.inner else self._inside(1, t.x + p)
        sides = [self._inside(0, t.top + t.y), across]
        if all(isinstance(s, int) for s in sides):
            return 1.0 / whole
        return k.let(tirx.FloatImm("float32", 1.0) / tirx.Cast("float32", sides[0] * sides[1]))

    def _inside(self, axis: int, at: Expr) -> Expr:
        """Taps of the window along one axis that are counted."""
        c = self.c
        size, kernel, pad = c.in_size[axis], c.kernel[axis], c.pad[axis]
        reach = (c.out_size[axis] - 1) * c.stride[axis] + kernel
        if c.count_include_pad:
            # Ceil rounding may reach beyond even the padding; that is never counted.
            limit, low = size + pad + c.pad[axis + 2], 0
            if not above(reach, limit):
                return kernel
            start = at * c.stride[axis]
            return self.k.let(vmin(start + kernel, limit) - start + low)
        if pad == 0 and not above(reach, size):
            return kernel
        start = at * c.stride[axis] - pad
        return self.k.let(vmin(start + kernel, size) - vmax(start, 0))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"window": lower}
"""Family of a kernel -> its lowering."""
