"""Winograd kernels: products of transformed tiles and filters, and the output's transform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim
from cnncc.base.elements import ELEMENTS
from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.lower.bfloats import round_by
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.tile_runs import Run, tile_runs
from cnncc.kernels.cpu.lower.winograd_fetch import LINE, Coming, Region, fetch_share, first
from cnncc.kernels.cpu.lower.winograd_transform import Transform
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.cpu.winograd import WinogradConfig
from cnncc.kernels.shared.arithmetic import quotient, remainder, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.vectors import apply_epilogue
from cnncc.kernels.shared.winograd import matrices

UNROLLED = 4
"""Channels of one step of the innermost loop."""

SHORT_POST_OPS, MOST_SHORT = ("add", "relu", "relu6"), 3
"""Post-ops that may be written out for every pixel of a tile, and how many of them; all others would make
long code, since the tiles at the border are written out too."""

MOST_PARTS = 4
"""Different parts of a tile that may lie in the image: of more, with dilation, a loop stores the pixels."""


def lower(config: WinogradConfig, symbol: str) -> PrimFunc:
    """Products and output transform, after the unit's own input transform where the input is not shared."""
    return _Winograd(config).build(symbol)


@dataclass(frozen=True, eq=False)
class _Unit:
    """Where a unit works: its section of output blocks, the first input block of its group, its first tile, and the
    first tile of the unit after it, which a thread mostly takes next."""

    section: Expr
    first_in: Expr
    tile: Expr
    coming: Expr


class _Winograd(Transform):
    def __init__(self, config: WinogradConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        plane = c.out_size[0] * c.out_size[1]
        round_by(k, c.rounds)
        element, image = ELEMENTS[c.element], c.in_planes * c.block * c.in_size[0] * c.in_size[1]
        self.source = k.operand("source", c.data_floats) if c.shared else k.operand("source", image, element)
        self.weight = k.operand("weight", c.weight_floats)
        self.bias = k.operand("bias", c.out_planes * c.block) if c.bias else None
        adds = added_inputs(c.epilogue)
        self.extras = [k.operand(f"extra{i}", c.out_planes * plane * c.block, element) for i in range(adds)]
        self.result = k.operand("result", c.out_planes * plane * c.block, element)
        self.product = k.scratch(c.points * c.product_step)
        self.pixels = k.scratch(c.pixel_floats)
        self.data = self.source if c.shared else k.scratch(c.data_floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as unit:
            section, first = k.let(unit // c.tile_units), k.let(unit % c.tile_units * c.tiles)
            first_in = k.let(section // c.sections * c.in_blocks) if c.groups > 1 else 0
            if not c.shared:
                with k.loop(c.in_blocks) as plane, k.loop(self.tiles(first)) as i:
                    to = self.place(plane, i)
                    self.transform_tile(self.source, self.data, first_in + plane, k.let(first + i), to)
            own = _Unit(section, first_in, first, k.let((unit + 1) % c.tile_units * c.tiles))
            per_section, done = c.out_blocks // c.sections, 0
            for start, size, count in c.section_runs:
                with k.loop(count) as panel:
                    block = k.let(section * per_section + start + panel * size)
                    self.products(own, block, size, self.ahead(own, block, size, k.let(done + panel)))
                    self.outputs(block, size, first)
                done += count
        return k.finish(symbol)

    def ahead(self, unit: _Unit, block: Expr, size: int, panel: Expr) -> list[Region]:
        """What is fetched during the products of a panel: the pixels it will write, and its share of the image that the
        next unit reads."""
        c = self.c
        result = Region(self.result, c.out_size, block, size, unit.tile, 0, write=True)
        if c.shared:
            return [result]
        panels, below = sum(count for *_, count in c.section_runs), (c.taps - 1) * c.dilation[0] - c.pad[0]
        image = Region(self.source, c.in_size, unit.first_in, c.in_blocks, unit.coming, below, False, panel, panels)
        return [result, image]

    def products(self, unit: _Unit, block: Expr, size: int, regions: list[Region]) -> None:
        """[point][tile][block][lane] of `size` output blocks: a matrix product for every point. The last unit of an
        image of any size may have fewer tiles."""
        k, c = self.k, self.c
        runs = even_tiles(c.tiles, c.tile.columns)
        if not isinstance(c.total, Dim):
            self.points(unit, block, size, regions, runs)
            return
        rest = tile_runs(k, c.total - (c.tile_units - 1) * c.tiles, c.tile.columns)
        with k.when(unit.tile + c.tiles <= c.total):
            self.points(unit, block, size, regions, runs)
        with k.otherwise():
            self.points(unit, block, size, regions, rest)

    def points(self, unit: _Unit, block: Expr, size: int, regions: list[Region], runs: Sequence[Run]) -> None:
        """The products of all points, of tiles in these runs."""
        k, c = self.k, self.c
        place = unit.first_in * c.data_tiles + unit.tile if c.shared else 0
        floats = c.in_blocks * c.block * size * c.block
        stored = k.let(block * (c.points * c.in_blocks * c.block * c.block))
        lines = self.fetched_lines(size)
        passes = sum(count for *_, count in even_tiles(c.tiles, c.tile.columns))
        with k.loop(c.points) as point:
            weights = k.let(stored + point * floats)
            source = k.let(point * c.data_step + place * c.block)
            result = k.let(point * c.product_step)
            done: Expr = 0
            for start, tiles, count in runs:
                with k.loop(count) as i:
                    at = k.let(start + i * tiles)
                    tile = (tiles, k.let(source + at * c.block), k.let(result + at * (size * c.block)))
                    ahead = k.let(weights + floats + (done + i) * (c.in_blocks * c.block // UNROLLED * lines * LINE))
                    share = k.let((point * passes + (done + i)) * c.in_blocks)
                    coming = Coming(ahead, lines, regions, share, c.points * passes * c.in_blocks)
                    self.product_tile(weights, size, tile, coming)
                done = done + count

    def fetched_lines(self, size: int) -> int:
        """Lines of the next point's weights to be fetched in each step of the innermost loop."""
        c = self.c
        passes = sum(count for *_, count in even_tiles(c.tiles, c.tile.columns))
        return -(-UNROLLED * size * c.block // (LINE * passes))

    def product_tile(self, weights: Expr, size: int, tile: tuple[int, Expr, Expr], coming: Coming) -> None:
        """Some tiles (how many, from where, to where) times the weights of one point."""
        k, c = self.k, self.c
        tiles, source, result = tile
        vectors = size * c.block // c.lanes
        sums = Sums(k, tiles, vectors, c.lanes)
        sums.start()
        with k.loop(c.in_blocks) as plane:
            at = k.let(source + plane * (c.data_tiles * c.block))
            for region in coming.regions:
                fetch_share(k, c, region, k.let(coming.share + plane), coming.shares)
            with k.loop(c.block // UNROLLED) as i:
                step = k.let(plane * (c.block // UNROLLED) + i)
                for line in range(coming.lines):
                    self.weight.prefetch(coming.weights + (step * coming.lines + line) * LINE)
                for q in range(UNROLLED):
                    there = k.let(weights + (step * UNROLLED + q) * (size * c.block))
                    here = k.let(at + i * UNROLLED + q)
                    sums.multiply((self.weight, there), self.data, (here + t * c.block for t in range(tiles)))
        for i in range(tiles * vectors):
            self.product.store(result + i * c.lanes, sums.acc.load(i * c.lanes, c.lanes), c.lanes)

    def outputs(self, block: Expr, size: int, first: Expr) -> None:
        """A' m A, bias and epilogue for every tile and block of the panel."""
        k, c = self.k, self.c
        with k.loop(self.tiles(first)) as i:
            tile = k.let(first + i)
            with k.when(tile < c.total), k.loop(size) as b:
                self.output_tile(k.let(block + b), tile, k.let((i * size + b) * c.block))

    def output_tile(self, block: Expr, tile: Expr, at: Expr) -> None:
        """One tile of one block: the inverse transform, then bias and epilogue where its pixels lie in the image."""
        k, c = self.k, self.c
        (height, width), (down, across) = c.out_size, c.dilation
        y, x = k.let(first(c, quotient(tile, c.grid[1]), 0)), k.let(first(c, remainder(tile, c.grid[1]), 1))
        to = k.let(((block * height + y) * width + x) * c.block)
        for v in range(0, c.block, c.lanes):
            bias = splat(0.0, c.lanes) if self.bias is None else k.let(self.bias.load(block * c.block + v, c.lanes))
            lines = [[k.let(value + bias) for value in line] for line in self.inverse(at + v)]
            if self.short:
                self.store_parts(lines, y, x, k.let(to + v))
                continue
            for i, value in enumerate(value for line in lines for value in line):
                self.pixels.store(i * c.lanes, value, c.lanes)
            with k.loop(self.inside(y, 0)) as r, k.loop(self.inside(x, 1)) as s:
                kept = self.pixels.load((r * c.m + s) * c.lanes, c.lanes)
                self.finish(k.let(to + (r * (down * width) + s * across) * c.block + v), kept)

    @property
    def short(self) -> bool:
        """Whether what happens to the pixels of a tile is written out, for every number of them in the image."""
        c = self.c
        parts = len(c.counts(0)) * len(c.counts(1))
        post_ops = len(c.epilogue) <= MOST_SHORT and all(name in SHORT_POST_OPS for name, _ in c.epilogue)
        return parts <= MOST_PARTS and post_ops

    def inside(self, at: Expr, axis: int) -> Expr:
        """How many pixels of a tile that begins `at` lie before the image's end."""
        c, left = self.c, self.c.out_size[axis] - at
        d = c.dilation[axis]
        return self.k.let(vmin(c.m, left if d == 1 else (left + (d - 1)) // d))

    def store_parts(self, lines: list[list[Expr]], y: Expr, x: Expr, to: Expr) -> None:
        """The pixels of a tile that lie in the image: those at the lower and right border have known sizes."""
        self.cases(y, 0, lambda rows: self.cases(x, 1, lambda columns: self.store(lines, rows, columns, to)))

    def cases(self, at: Expr, axis: int, then: Callable[[int], None], tried: int = 0) -> None:
        """What is to be done with as many pixels of a tile as lie before the image's end; not the first `tried`."""
        k, counts = self.k, self.c.counts(axis)
        count = counts[tried]
        if count == counts[-1]:
            then(count)
            return
        with k.when(at + ((count - 1) * self.c.dilation[axis] + 1) <= self.c.out_size[axis]):
            then(count)
        with k.otherwise():
            self.cases(at, axis, then, tried + 1)

    def store(self, lines: list[list[Expr]], rows: int, columns: int, to: Expr) -> None:
        c, (down, across) = self.c, self.c.dilation
        for r in range(rows):
            for s in range(columns):
                self.finish(to + (r * down * c.out_size[1] + s * across) * c.block, lines[r][s])

    def inverse(self, at: Expr) -> list[list[Expr]]:
        """A' m A of the products of one tile and vector of channels: rows of pixels."""
        k, c = self.k, self.c
        matrix = matrices(c.m, c.taps).output
        half = []
        for j in range(c.edge):
            column = [k.let(self.product.load(at + (i * c.edge + j) * c.product_step, c.lanes)) for i in range(c.edge)]
            half.append(self.columns(matrix, column))
        return [self.columns(matrix, [half[j][r] for j in range(c.edge)]) for r in range(c.m)]

    def finish(self, index: Expr, value: Expr) -> None:
        c = self.c
        loads = [e.load(index, c.lanes) for e in self.extras]
        self.result.store(index, apply_epilogue(self.k, value, c.epilogue, loads, c.lanes), c.lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"winograd": lower}
"""Family of a kernel -> its lowering."""
