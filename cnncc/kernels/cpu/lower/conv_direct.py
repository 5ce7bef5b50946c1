"""The direct convolution kernel: gather, register tile, epilogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim, smallest, typical
from cnncc.base.elements import ELEMENTS, FLOAT32, INT32
from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.conv_direct import ConvConfig
from cnncc.kernels.cpu.lower.bfloats import PairSums, round_by
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.moves import Corner, ImageWindow, gather_rows
from cnncc.kernels.cpu.lower.tile_runs import Run, tile_runs
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder
from cnncc.kernels.shared.epilogue import costly, each, readable
from cnncc.kernels.shared.vectors import apply_epilogue
from cnncc.machines.units import PairUnit

LINE = 16
"""Floats of a cache line."""
MOST_PREFETCHING = 64
"""With more tiles than this on the same weights, waiting for them once does not count."""
UNROLLED_WORDS = 4
"""Channels of a block unrolled; more makes LLVM keep weights alive across steps and spill accumulators."""


def lower(config: ConvConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one section of output blocks of some rows."""
    return DirectKernel(config).build(symbol)


@dataclass(frozen=True, eq=False)
class UnitAt:
    """Where a unit works: its section of output blocks, the first input block of its group, its first output row."""

    section: Expr
    first_in: Expr
    row: Expr


@dataclass(frozen=True, eq=False)
class TileAt:
    """`rows` x `columns` pixels of `size` output blocks from `block`, whose corner is (unit.row + y, x)."""

    unit: UnitAt
    block: Expr
    size: int
    y: Expr
    x: Expr
    rows: int
    columns: int
    number: Expr
    """Which tile it is of the unit's `tiles` on the same weights: so many at the size in the middle of a range."""
    tiles: int

    @property
    def pixels(self) -> list[tuple[int, int]]:
        return [(r, t) for r in range(self.rows) for t in range(self.columns)]


@dataclass(frozen=True, eq=False)
class _Source:
    """Where a tile reads: the index of its first tap, and the floats from one row or channel block to the next."""

    buffer: Buffer
    start: Expr
    row_step: int
    block_step: int


@dataclass(frozen=True, eq=False)
class _Coming:
    """Pixels that a tile will read: in each of some rows, that begin at `start` + row, `count` of them, `apart` floats
    from one to the next."""

    buffer: Buffer
    start: Expr
    rows: list[int]
    count: int
    apart: int


def _numbered(runs: Sequence[Run]) -> list[tuple[Expr, Run]]:
    """Each run of tiles with the number of tiles before it."""
    passed: Expr = 0
    numbered = []
    for run in runs:
        numbered.append((passed, run))
        passed += run[2]
    return numbered


class DirectKernel:
    def __init__(self, config: ConvConfig) -> None:
        self.c = c = config
        self.g = g = config.geometry
        self.k = k = KernelBuilder()
        plane, element = g.out_size[0] * g.out_size[1], ELEMENTS[g.element]
        self.pairs = isinstance(c.micro.unit, PairUnit)
        round_by(k, c.rounds)
        words = c.in_blocks * c.words * g.in_size[0] * g.in_size[1]
        self.image = k.operand("image", words, INT32 if self.pairs else element)
        self.weight = k.operand("weight", max(1, c.reduction) * c.out_blocks * c.block, c.micro.stored)
        self.bias = k.operand("bias", c.out_blocks * c.block) if g.bias else None
        adds = added_inputs(g.epilogue)
        self.extras = [k.operand(f"extra{i}", c.out_blocks * plane * c.block, element) for i in range(adds)]
        self.result = k.operand("result", c.out_blocks * plane * c.block, element)
        self.window = k.scratch(c.scratch_words, INT32 if self.pairs else FLOAT32) if c.gathers else None

    def build(self, symbol: str) -> PrimFunc:
        k, c, g = self.k, self.c, self.g
        with k.units() as u:
            section = k.let(u // c.row_units)
            row = k.let((u % c.row_units) * c.rows)
            unit = UnitAt(section, k.let(section // c.sections * c.group_in_blocks), row)
            self.gather(unit)
            if isinstance(g.grid[0], Dim):
                self.rows(unit, k.let(vmin(c.rows, g.grid[0] - row)))
            elif (last := g.grid[0] % c.rows) == 0:
                self.rows(unit, c.rows)
            else:
                with k.when(row + c.rows <= g.grid[0]):
                    self.rows(unit, c.rows)
                with k.otherwise():
                    self.rows(unit, last)
        return k.finish(symbol)

    def gather(self, unit: UnitAt) -> None:
        """Copies the input rows of the unit into the window, zeros where taps fall outside the image."""
        k, c, g = self.k, self.c, self.g
        if self.window is None:
            return
        top = k.let(unit.row * g.stride[0] + g.origin[0])
        window = ImageWindow(c.group_in_blocks, c.words, g.in_size, c.window, g.origin[1], outside=0.0)
        gather_rows(k, self.image, self.window, window, Corner(unit.first_in, top))

    def rows(self, unit: UnitAt, count: Expr) -> None:
        """All output blocks of the section on `count` rows: blocks outermost, so that their weights stay in cache."""
        k, c, g = self.k, self.c, self.g
        per_section = c.group_out_blocks // c.sections
        row_tiles, column_tiles = tile_runs(k, count, c.tile.rows), tile_runs(k, g.grid[1], c.tile.columns)
        across = sum(n for *_, n in column_tiles)
        usual = count if isinstance(count, int) else typical(smallest(c.rows, g.grid[0]))
        tiles = -(-usual // c.tile.rows) * -(-typical(g.grid[1]) // c.tile.columns)
        for start, size, panels in c.section_runs:
            with k.loop(panels) as panel:
                block = k.let(unit.section * per_section + start + panel * size)
                for above, (top, rows, row_runs) in _numbered(row_tiles):
                    for before, (left, columns, column_runs) in _numbered(column_tiles):
                        with k.loop(row_runs) as i, k.loop(column_runs) as j:
                            y, x = i * rows + top, j * columns + left
                            number = k.let((i + above) * across + j + before) if c.prefetch else 0
                            self.tile(TileAt(unit, block, size, y, x, rows, columns, number, tiles))

    def tile(self, t: TileAt) -> None:
        k, c = self.k, self.c
        sums = self.sums(t)
        at = [(t.block + b) * c.block + v for b in range(t.size) for v in range(0, c.block, c.lanes)]
        sums.start(self.bias, at)
        source = self.source(t)
        weight = k.let(t.block * (c.reduction * c.block))
        if c.taps:
            self.reduce(t, sums, source, weight)
        self.store(t, sums)

    def sums(self, t: TileAt) -> Sums:
        """Of the pixels and output blocks of a tile."""
        vectors, unit = t.size * self.c.block // self.c.lanes, self.c.micro.unit
        if isinstance(unit, PairUnit):
            return PairSums(self.k, len(t.pixels), vectors, self.c.lanes, unit)
        return Sums(self.k, len(t.pixels), vectors, self.c.lanes)

    def source(self, t: TileAt) -> _Source:
        """Where the tile's first tap is."""
        k, c, g = self.k, self.c, self.g
        if self.window is not None:
            height, width = c.window
            at = k.let((t.y * g.stride[0] * width + t.x * g.stride[1]) * c.words)
            return _Source(self.window, at, width * c.words, height * width * c.words)
        height, width = g.in_size
        top = (t.unit.row + t.y) * g.stride[0] + g.origin[0]
        left = t.x * g.stride[1] + g.origin[1]
        at = k.let(((t.unit.first_in * height + top) * width + left) * c.words)
        return _Source(self.image, at, width * c.words, height * width * c.words)

    def reduce(self, t: TileAt, sums: Sums, source: _Source, weight: Expr) -> None:
        """sums += sum over channels and taps of pixel times weight; the weights are one stream from index `weight`."""
        k, c, g = self.k, self.c, self.g
        kh, kw = g.kernel
        step = t.size * c.block * c.micro.unit.depth
        taps = next(n for n in (4, 3, 2, 1) if kw % n == 0) if c.words == 1 else 1
        words = min(UNROLLED_WORDS, c.words)
        (top, height), (left, width) = self.taps(t, 0, kh), self.taps(t, 1, kw // taps)
        with k.loop(c.group_in_blocks) as b:
            plane = k.let(source.start + b * source.block_step)
            plane_w = k.let(weight + b * (c.taps * c.words * step))
            with k.loop(height, start=top) as i:
                row = k.let(plane + i * (g.dilation[0] * source.row_step))
                coming = self.coming(t, source, plane, row, i)
                row_w = k.let(plane_w + i * (kw * c.words * step))
                with k.loop(width, start=left) as j:
                    for q in range(taps):
                        tap = k.let(row + (j * taps + q) * (g.dilation[1] * c.words))
                        tap_w = k.let(row_w + (j * taps + q) * (c.words * step))
                        steps = c.words // words
                        with k.loop(steps) as n:
                            self.fetch(coming, (j * taps + q) * steps + n, kw * steps)
                            at, at_w = k.let(tap + n * words), k.let(tap_w + n * (words * step))
                            self.prefetch(t, at_w, words * step)
                            for word in range(words):
                                values = self.values(t, source, at + word)
                                sums.multiply((self.weight, at_w + word * step), source.buffer, values)

    def taps(self, t: TileAt, axis: int, count: int) -> tuple[Expr, Expr]:
        """The first of the taps along an axis that the tile multiplies, and how many: those in the image from all of
        its pixels."""
        k, g = self.k, self.g
        if not self.c.skips:
            return 0, count
        rate, stride = g.dilation[axis], g.stride[axis]
        number, size = ((t.unit.row + t.y), t.rows) if axis == 0 else (t.x, t.columns)
        at = k.let(number * stride + g.origin[axis])
        first = k.let(vmax(0, rate - 1 - at) // rate)
        end = vmin(count, vmax(0, g.in_size[axis] - 1 - (size - 1) * stride - at + rate) // rate)
        return first, k.let(vmax(0, end - first))

    def coming(self, t: TileAt, source: _Source, plane: Expr, row: Expr, i: Expr) -> _Coming | None:
        """The pixels that the tile reads after row `i` of taps: for the next row, or the first on the next channels.
        None where channels are not in blocks of a cache line: then pixels are neighbours, and few."""
        k, g = self.k, self.g
        if self.c.words < LINE:
            return None
        start = plane + source.block_step
        if g.kernel[0] > 1:
            start = tirx.Select(i + 1 < g.kernel[0], row + g.dilation[0] * source.row_step, start)
        reach = (g.kernel[1] - 1) * g.dilation[1]
        apart = 1 if reach else g.stride[1]
        count = ((t.columns - 1) * g.stride[1] + reach) // apart + 1
        rows = [r * g.stride[0] * source.row_step for r in range(t.rows)]
        return _Coming(source.buffer, k.let(start), rows, count, apart * self.c.words)

    def fetch(self, coming: _Coming | None, step: Expr, steps: int) -> None:
        """Step `step` of `steps` asks for its share of the coming pixels: misses of all at once would hold up the
        multiplications. The shares are even, so the last may reach beyond what is needed."""
        if coming is None:
            return
        share = -(-coming.count // steps)
        at = self.k.let(coming.start + step * (share * coming.apart))
        for row in coming.rows:
            for i in range(share):
                coming.buffer.prefetch(at + (row + i * coming.apart), near=True)

    def prefetch(self, t: TileAt, weight: Expr, numbers: int) -> None:
        """Asks for this tile's share of the weights the next panel will read where this one reads now."""
        k, c = self.k, self.c
        if not c.prefetch or t.tiles > MOST_PREFETCHING:
            return
        line = LINE * FLOAT32.itemsize // self.weight.kind.itemsize
        lines = -(-numbers // line)
        share = -(-lines // t.tiles)
        ahead = c.reduction * t.size * c.block
        mine = k.let(weight + ahead + t.number * share % lines * line)
        for i in range(share):
            self.weight.prefetch(mine + i * line)

    def values(self, t: TileAt, source: _Source, at: Expr) -> Iterator[Expr]:
        """Where the pixels of a tile lie, of one input channel at one tap: at index `at` the first of them."""
        g = self.g
        for r, column in t.pixels:
            yield at + (r * g.stride[0] * source.row_step + column * g.stride[1] * self.c.words)

    def store(self, t: TileAt, computed: Sums) -> None:
        """The epilogue on every vector of the tile, and its result at the output pixels."""
        k, c, g = self.k, self.c, self.g
        height, width = g.out_size
        y = k.let(t.unit.row + t.y)
        corner = k.let((y * g.out_step[0] + g.out_start[0]) * width + t.x * g.out_step[1] + g.out_start[1])
        looped = costly(g.epilogue)
        sums = readable(k, computed.acc, computed.floats, c.lanes, looped)

        def block(b: Expr) -> None:
            at = k.let(((t.block + b) * (height * width) + corner) * c.block)

            def vector(r: Expr, column: Expr, v: Expr) -> None:
                index = at + ((r * g.out_step[0] * width + column * g.out_step[1]) * c.block + v * c.lanes)
                value = sums.load(((r * t.columns + column) * t.size + b) * c.block + v * c.lanes, c.lanes)
                extras = [e.load(index, c.lanes) for e in self.extras]
                self.result.store(index, apply_epilogue(k, value, g.epilogue, extras, c.lanes), c.lanes)

            each(k, (t.rows, t.columns, c.block // c.lanes), looped, vector)

        each(k, (t.size,), looped, block)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"conv_direct": lower}
"""Family of a kernel -> its lowering."""
