"""The kernel of grouped convolutions: rows gathered or spread, register tile, epilogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim
from cnncc.base.elements import ELEMENTS
from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.grouped import UNROLLED_TAPS, GroupedConfig
from cnncc.kernels.cpu.lower.bfloats import round_by
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.moves import Corner, ImageWindow, gather_rows
from cnncc.kernels.cpu.lower.spread import spread_rows
from cnncc.kernels.cpu.lower.tile_runs import tile_runs
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.epilogue import costly, each, readable
from cnncc.kernels.shared.vectors import apply_epilogue


def lower(config: GroupedConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is some panels of some rows."""
    return _Grouped(config).build(symbol)


@dataclass(frozen=True, eq=False)
class _Panel:
    """A panel of a unit whose first output row is `row`: its first output, the first input channel of its groups, how
    many channels these have, and where its weights begin."""

    row: Expr
    first: Expr
    channel: Expr
    depth: Expr
    weight: Expr
    plane: Expr
    """The block of the image that comes first in the window."""


@dataclass(frozen=True, eq=False)
class _Tile:
    """`rows` x `columns` pixels of a panel, whose corner is (panel.row + y, x)."""

    panel: _Panel
    y: Expr
    x: Expr
    rows: int
    columns: int


class _Grouped:
    def __init__(self, config: GroupedConfig) -> None:
        self.c = c = config
        self.g = g = config.geometry
        self.k = k = KernelBuilder()
        round_by(k, c.rounds)
        outputs, element = c.out_floats * g.out_size[0] * g.out_size[1], ELEMENTS[g.element]
        self.image = k.operand("image", c.in_blocks * g.in_block * g.in_size[0] * g.in_size[1], element)
        self.weight = k.operand("weight", c.weight_numbers, c.micro.stored)
        self.bias = k.operand("bias", c.out_floats) if g.bias else None
        self.extras = [k.operand(f"extra{i}", outputs, element) for i in range(added_inputs(g.epilogue))]
        self.result = k.operand("result", outputs, element)
        self.window = k.scratch(c.scratch_floats) if c.gathers else None
        self.source = self.image if self.window is None else self.window
        self.size = g.in_size if self.window is None else c.window
        """Rows and columns of the source."""
        self.step = c.lanes if c.spread else g.in_block
        """Floats from one pixel of the source to the next."""

    def build(self, symbol: str) -> PrimFunc:
        k, c, g = self.k, self.c, self.g
        with k.units() as u:
            first, row = k.let(u // c.row_units * c.panels), k.let(u % c.row_units * c.rows)
            plane = self.gather(first, row)
            with k.loop(self.panels(first)) as i:
                panel = self.panel(k.let(first + i), row, plane)
                if self.window is not None and c.spread:
                    top = k.let(row * g.stride[0] + g.origin[0])
                    spread_rows(k, c, (self.image, self.window), panel.first, top)
                self.rows(panel)
        return k.finish(symbol)

    def panels(self, first: Expr) -> Expr:
        """Panels of a unit."""
        c = self.c
        return self.k.let(vmin(c.panels, c.panel_count - first)) if c.panel_count % c.panels else c.panels

    def gather(self, first: Expr, row: Expr) -> Expr:
        """Copies the input rows of the unit into the window, zeros where taps fall outside the image. Returns the block
        of the image that comes first in what is read."""
        k, c, g = self.k, self.c, self.g
        if self.window is None or c.spread:
            return 0
        begin = k.let(vmin(self.group(first) * c.group_in // g.in_block, c.in_blocks - c.planes))
        window = ImageWindow(c.planes, g.in_block, g.in_size, c.window, g.origin[1], outside=0.0)
        gather_rows(k, self.image, self.window, window, Corner(begin, k.let(row * g.stride[0] + g.origin[0])))
        return begin

    def group(self, number: Expr) -> Expr:
        """The group of a panel's first output."""
        return self.k.let(vmin(number * self.c.width // self.c.group_out, self.g.groups - 1))

    def panel(self, number: Expr, row: Expr, plane: Expr) -> _Panel:
        k, c, g = self.k, self.c, self.g
        group, first = self.group(number), k.let(number * c.width)
        # Groups of all panels before this one, and of this one: see `GroupedConfig.panel`.
        before, groups = number, 1
        if not c.spread and not c.aligned:
            passed = k.let(vmin(first, g.out_channels))
            before = number + (passed + c.group_out - 1) // c.group_out - (passed + c.period - 1) // c.period
            groups = vmin((first + (c.width - 1)) // c.group_out, g.groups - 1) - group + 1
        weight = k.let(before * (c.group_in * c.taps * c.width))
        return _Panel(row, first, k.let(group * c.group_in), k.let(groups * c.group_in), weight, plane)

    def rows(self, panel: _Panel) -> None:
        """The rows of the unit; those of the last one may be fewer."""
        k, c, g = self.k, self.c, self.g
        if isinstance(g.grid[0], Dim):
            self.tiles(panel, k.let(vmin(c.rows, g.grid[0] - panel.row)))
            return
        last = g.grid[0] % c.rows
        if last == 0:
            self.tiles(panel, c.rows)
            return
        with k.when(panel.row + c.rows <= g.grid[0]):
            self.tiles(panel, c.rows)
        with k.otherwise():
            self.tiles(panel, last)

    def tiles(self, panel: _Panel, count: Expr) -> None:
        k, c = self.k, self.c
        for top, rows, down in tile_runs(k, count, c.tile.rows):
            for left, columns, across in tile_runs(k, self.g.grid[1], c.tile.columns):
                with k.loop(down) as i, k.loop(across) as j:
                    self.tile(_Tile(panel, k.let(i * rows + top), k.let(j * columns + left), rows, columns))

    def tile(self, t: _Tile) -> None:
        k, c = self.k, self.c
        sums = Sums(k, t.rows * t.columns, c.tile.vectors, c.lanes)
        sums.start(self.bias, [t.panel.first + v * c.lanes for v in range(c.tile.vectors)])
        with self.channels(t) as (at, weight):
            self.multiply(t, sums, at, weight)
        self.store(t, sums)

    @contextmanager
    def channels(self, t: _Tile) -> Iterator[tuple[Expr, Expr]]:
        """A loop over the input channels of the panel's groups: where the tile's first tap of each is, and where its
        weights begin. Channels are counted in each block anew, so that all addresses in the loop are steps of one."""
        k, c, p, weights = self.k, self.c, t.panel, self.c.taps * self.c.width
        if c.spread:
            with k.loop(c.group_in) as channel:
                yield self.first_tap(t, channel), k.let(p.weight + channel * weights)
            return
        size = self.g.in_block
        with k.loop(k.let((p.channel + p.depth - 1) // size - p.channel // size + 1)) as i:
            block = k.let(p.channel // size + i)
            start, end = vmax(p.channel - block * size, 0), vmin(p.channel + p.depth - block * size, size)
            at, weight = self.first_tap(t, block - p.plane), k.let(p.weight + (block * size - p.channel) * weights)
            start = k.let(start)
            with k.loop(k.let(end - start), start=start) as channel:
                yield k.let(at + channel), k.let(weight + channel * weights)

    def first_tap(self, t: _Tile, plane: Expr) -> Expr:
        """Index of the tile's first tap in a plane of the source."""
        k, g = self.k, self.g
        height, width = self.size
        y, x = t.y * g.stride[0], t.x * g.stride[1]
        if self.window is None:
            y, x = y + (t.panel.row * g.stride[0] + g.origin[0]), x + g.origin[1]
        return k.let(((plane * height + y) * width + x) * self.step)

    def multiply(self, t: _Tile, sums: Sums, at: Expr, weight: Expr) -> None:
        """Adds the products of all taps of one channel."""
        k, c, g = self.k, self.c, self.g
        row_step, row_weights = g.dilation[0] * self.size[1] * self.step, g.kernel[1] * c.width

        def row(i: Expr) -> None:
            self.tap_row(t, sums, k.let(at + i * row_step), k.let(weight + i * row_weights))

        each(k, (g.kernel[0],), c.taps > UNROLLED_TAPS, row)

    def tap_row(self, t: _Tile, sums: Sums, at: Expr, weight: Expr) -> None:
        """Adds the products of one row of taps."""
        k, c, g = self.k, self.c, self.g
        held = c.held_taps
        reach = (t.columns - 1) * g.stride[1] + (held - 1) * g.dilation[1] + 1
        size = ((t.rows - 1) * g.stride[0] * self.size[1] + reach) * self.step
        with k.loop(g.kernel[1] // held) as i:
            source = self.source.view(at + i * (g.dilation[1] * self.step), size)
            factors = self.weight.view(weight + i * c.width, held * c.width)
            self.shared_values(t, sums, source, [self.weights(factors, j) for j in range(held)])

    def shared_values(self, t: _Tile, sums: Sums, source: Buffer, taps: list[list[Expr]]) -> None:
        """Adds the products of neighbouring taps whose weights are given, value by value."""
        g = self.g
        for r in range(t.rows):
            readers = defaultdict(list)
            for s in range(t.columns):
                for j in range(len(taps)):
                    readers[s * g.stride[1] + j * g.dilation[1]].append((r * t.columns + s, j))
            for column, uses in sorted(readers.items()):
                value = self.value(source, (r * g.stride[0] * self.size[1] + column) * self.step)
                for p, j in uses:
                    self.add(sums, p, value, taps[j])

    def weights(self, factors: Buffer, tap: int) -> list[Expr]:
        """The vectors of one of the held taps."""
        k, c = self.k, self.c
        return [k.let(factors.load(tap * c.width + v * c.lanes, c.lanes)) for v in range(c.tile.vectors)]

    def value(self, source: Buffer, at: int) -> Expr:
        """What a vector of weights is multiplied by."""
        lanes = self.c.lanes
        return self.k.let(source.load(at, lanes) if self.c.spread else splat(source.load(at), lanes))

    def add(self, sums: Sums, p: int, value: Expr, factors: list[Expr]) -> None:
        lanes = self.c.lanes
        for v, factor in enumerate(factors):
            to = (p * sums.vectors + v) * lanes
            sums.acc.store(to, sums.acc.load(to, lanes) + value * factor, lanes)

    def store(self, t: _Tile, computed: Sums) -> None:
        """The epilogue on every vector of the tile, and its result at the output pixels."""
        k, c, g = self.k, self.c, self.g
        looped = costly(g.epilogue)
        sums = readable(k, computed.acc, computed.floats, c.lanes, looped)
        corner = k.let((t.panel.row + t.y) * g.grid[1] + t.x)

        def vector(v: Expr) -> None:
            first = k.let(t.panel.first + v * c.lanes)
            at = k.let((first // c.block * (g.grid[0] * g.grid[1]) + corner) * c.block + first % c.block)

            def pixel(r: Expr, s: Expr) -> None:
                index = at + (r * g.grid[1] + s) * c.block
                value = sums.load(((r * t.columns + s) * c.tile.vectors + v) * c.lanes, c.lanes)
                extras = [e.load(index, c.lanes) for e in self.extras]
                self.result.store(index, apply_epilogue(k, value, g.epilogue, extras, c.lanes), c.lanes)

            each(k, (t.rows, t.columns), looped, pixel)

        each(k, (c.tile.vectors,), looped, vector)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"conv_grouped": lower}
"""Family of a kernel -> its lowering."""
