"""Winograd kernels: input transform, products, output transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.cpu.vectors import apply_epilogue, vmax, vmin
from cnncc.kernels.tiles import even_tiles
from cnncc.kernels.winograd import Matrix, WinogradConfig, matrices

UNROLLED_CHANNELS = 4
LINE = 16
"""Floats of a cache line."""

FEW_UNITS = 4
"""Units by tiles up to which weights are taken to come from memory; more units find them in a cache."""

Load = Callable[[int, int, int], Expr]
"""A vector of a tile: row, column, first lane of the channel block."""

SHORT_STEPS = ("add", "relu", "relu6")
"""Steps of an epilogue that may be written out for every pixel of a tile; the others would make long code."""


def lower_input(config: WinogradConfig, symbol: str) -> PrimFunc:
    """The transform of a whole image to an operand; a unit is the tiles of one row of one channel block."""
    return _Input(config).build(symbol)


def lower(config: WinogradConfig, symbol: str) -> PrimFunc:
    """Products and output transform, after the unit's own input transform where the input is not shared."""
    return _Winograd(config).build(symbol)


@dataclass(frozen=True)
class Panel:
    """Transformed filters of `size` output blocks and of `planes` channel blocks from `plane` on, in floats from one
    point and from one channel to the next."""

    size: int
    plane: Expr
    planes: int
    point: int
    channel: int


@dataclass(frozen=True)
class Fetch:
    """Weights to be fetched into the cache on the way: where they start, and the lines at every step."""

    start: Expr
    lines: int


class _Transform:
    """The parts both kernels use."""

    k: KernelBuilder
    c: WinogradConfig

    def combine(self, terms: list[tuple[Fraction, Expr]]) -> Expr:
        """A sum of products with constants, no multiplication by one."""
        k, lanes = self.k, self.c.lanes
        kept = sorted((t for t in terms if t[0] != 0), key=lambda t: t[0] != 1)
        if not kept:
            return splat(0.0, lanes)
        factor, total = kept[0]
        if factor != 1:
            total = total * splat(float(factor), lanes)
        for factor, value in kept[1:]:
            if abs(factor) == 1:
                total = total + value if factor == 1 else total - value
            else:
                total = total + value * splat(float(factor), lanes)
        return k.let(total)

    def rows(self, matrix: Matrix, values: list[Expr]) -> list[Expr]:
        """matrix x values. Rows of the points p and -p share their even and odd halves."""
        done: dict[int, Expr] = {}
        for i, row in enumerate(matrix):
            if i in done:
                continue
            twin = next((j for j in range(i + 1, len(matrix)) if j not in done and _mirrored(row, matrix[j])), None)
            if twin is None:
                done[i] = self.combine(list(zip(row, values, strict=True)))
                continue
            even = self.combine([(row[j], values[j]) for j in range(0, len(row), 2)])
            odd = self.combine([(row[j], values[j]) for j in range(1, len(row), 2)])
            done[i], done[twin] = self.k.let(even + odd), self.k.let(even - odd)
        return [done[i] for i in range(len(matrix))]

    def columns(self, matrix: Matrix, values: list[Expr]) -> list[Expr]:
        """matrix x values. Columns of the points p and -p enter as a sum and a difference."""
        terms: list[list[tuple[Fraction, Expr]]] = [[] for _ in matrix]
        used: set[int] = set()
        across = list(zip(*matrix, strict=True))
        for j, column in enumerate(across):
            if j in used:
                continue
            twin = next((i for i in range(j + 1, len(across)) if i not in used and _mirrored(column, across[i])), None)
            if twin is None:
                parts = (values[j], values[j])
            else:
                used.add(twin)
                parts = (self.k.let(values[j] + values[twin]), self.k.let(values[j] - values[twin]))
            for i in range(len(matrix)):
                terms[i].append((column[i], parts[i % 2]))
        return [self.combine(t) for t in terms]

    def transform_tile(self, image: Buffer, data: Buffer, plane: Expr, tile: Expr, place: Expr) -> None:
        """Tile number `tile` of a channel block to [point][channel block][place][lane]; zeros beyond the last tile."""
        k, c = self.k, self.c
        height, width = c.in_size
        y = k.let(tile // c.grid[1] * c.m - c.pad[0])
        x = k.let(tile % c.grid[1] * c.m - c.pad[1])
        to = k.let((plane * c.data_tiles + place) * c.block)
        inside = tirx.all(tile < c.total, y >= 0, x >= 0, y + c.edge <= height, x + c.edge <= width)
        with k.when(inside):
            corner = k.let(((plane * height + y) * width + x) * c.block)
            self.transform_from(lambda i, j, v: image.load(corner + (i * width + j) * c.block + v, c.lanes), data, to)
        with k.otherwise():
            self.transform_from(self.masked(image, plane, tile, y, x), data, to)

    def masked(self, image: Buffer, plane: Expr, tile: Expr, y: Expr, x: Expr) -> Load:
        """Loads of a tile that reaches over the border: the nearest pixel, its bits cleared outside the image.

        Without branches, and without a copy in memory, which the transform's loads would wait for."""
        k, c = self.k, self.c
        (height, width), lanes = c.in_size, c.lanes
        rows, columns, kept_rows, kept_columns = [], [], [], []
        for i in range(c.edge):
            row, column = k.let(y + i), k.let(x + i)
            rows.append(k.let((plane * height + vmin(vmax(row, 0), height - 1)) * (width * c.block)))
            columns.append(k.let(vmin(vmax(column, 0), width - 1) * c.block))
            kept_rows.append(k.let(tirx.Select(tirx.all(tile < c.total, row >= 0, row < height), -1, 0)))
            kept_columns.append(k.let(tirx.Select(tirx.all(column >= 0, column < width), -1, 0)))

        def load(i: int, j: int, v: int) -> Expr:
            bits = tirx.reinterpret(f"int32x{lanes}", image.load(rows[i] + columns[j] + v, lanes))
            return tirx.reinterpret(f"float32x{lanes}", bits & splat(kept_rows[i] & kept_columns[j], lanes))

        return load

    def transform_from(self, load: Load, data: Buffer, to: Expr) -> None:
        """B' d B for every lane of a tile."""
        k, c = self.k, self.c
        matrix = matrices(c.m, c.taps).data
        for v in range(0, c.block, c.lanes):
            half: list[list[Expr]] = []
            for j in range(c.edge):
                half.append(self.rows(matrix, [k.let(load(i, j, v)) for i in range(c.edge)]))
            for i in range(c.edge):
                line = self.rows(matrix, [half[j][i] for j in range(c.edge)])
                for j, value in enumerate(line):
                    data.store(to + (i * c.edge + j) * c.data_step + v, value, c.lanes)


class _Input(_Transform):
    def __init__(self, config: WinogradConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.image = k.operand("image", c.in_blocks * c.block * c.in_size[0] * c.in_size[1])
        self.data = k.operand("data", c.data_floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as unit:
            plane, first = k.let(unit // c.tile_units), k.let(unit % c.tile_units * c.tiles)
            with k.loop(c.tiles) as i:
                tile = k.let(first + i)
                self.transform_tile(self.image, self.data, plane, tile, tile)
        return k.finish(symbol)


class _Winograd(_Transform):
    def __init__(self, config: WinogradConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        plane = c.out_size[0] * c.out_size[1]
        source = c.data_floats if c.shared else c.in_blocks * c.block * c.in_size[0] * c.in_size[1]
        self.source = k.operand("source", source)
        self.weight = k.operand("weight", c.weight_floats)
        self.bias = k.operand("bias", c.out_blocks * c.block) if c.bias else None
        adds = sum(name == "add" for name, _ in c.epilogue)
        self.extras = [k.operand(f"extra{i}", c.out_blocks * plane * c.block) for i in range(adds)]
        self.result = k.operand("result", c.out_blocks * plane * c.block)
        self.product = k.scratch(c.points * c.product_step)
        self.pixels = k.scratch(c.pixel_floats)
        self.filters = k.scratch(c.depth * c.block * c.filter_step) if c.depth else self.weight
        self.data = self.source if c.shared else k.scratch(c.data_floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as unit:
            chunk, first = k.let(unit // c.tile_units), k.let(unit % c.tile_units * c.tiles)
            if not c.shared:
                with k.loop(c.in_blocks) as plane, k.loop(c.tiles) as i:
                    self.transform_tile(self.source, self.data, plane, k.let(first + i), i)
            per_chunk = c.out_blocks // c.chunks
            for start, size, count in c.chunk_runs:
                with k.loop(count) as group:
                    block = k.let(chunk * per_chunk + start + group * size)
                    self.group(block, size, first)
                    self.outputs(block, size, first)
        return k.finish(symbol)

    def group(self, block: Expr, size: int, first: Expr) -> None:
        """[point][tile][block][lane] of `size` output blocks."""
        k, c = self.k, self.c
        width = size * c.block
        if not c.depth:
            stored = k.let(block * (c.points * c.in_blocks * c.block * c.block))
            panel = Panel(size, 0, c.in_blocks, c.in_blocks * c.block * width, width)
            self.products(panel, stored, stored + panel.point, panel.point, first)
            return
        stored = k.let(block * (c.taps**2 * c.in_blocks * c.block * c.block))
        if c.depth < c.in_blocks:
            with k.loop(c.points) as point, k.loop(c.tiles * width // c.lanes) as i:
                self.product.store(point * c.product_step + i * c.lanes, splat(0.0, c.lanes), c.lanes)
        for start, planes, count in even_tiles(c.in_blocks, c.depth):
            with k.loop(count) as i:
                plane, floats = k.let(start + i * planes), c.taps**2 * c.block * width
                here = k.let(stored + plane * floats)
                self.transform_filters(here, planes, size)
                panel = Panel(size, plane, planes, width, c.filter_step)
                self.products(panel, 0, here + planes * floats, -(-planes * floats // c.points), first)

    def transform_filters(self, stored: Expr, planes: int, size: int) -> None:
        """G g G' of the filters from some channel blocks to [channel][point][block][lane].

        One stream of stores, which wait for the second cache where they jump; the products' loads do not."""
        k, c = self.k, self.c
        matrix, step = matrices(c.m, c.taps).filter, size * c.block
        with k.loop(planes * c.block) as channel:
            at, to = k.let(stored + channel * (c.taps**2 * step)), k.let(channel * c.filter_step)
            for v in range(0, step, c.lanes):
                half = []
                for j in range(c.taps):
                    column = [self.weight.load(at + ((i * c.taps + j) * step + v), c.lanes) for i in range(c.taps)]
                    half.append(self.rows(matrix, [k.let(value) for value in column]))
                for i in range(c.edge):
                    for j, value in enumerate(self.rows(matrix, [half[j][i] for j in range(c.taps)])):
                        self.filters.store(to + ((i * c.edge + j) * step + v), value, c.lanes)

    def products(self, panel: Panel, weights: Expr, ahead: Expr, share: int, first: Expr) -> None:
        """A matrix product for every point. During each, `share` floats of the weights that will be read next, from
        `ahead` on, are fetched."""
        k, c = self.k, self.c
        place = first if c.shared else 0
        runs = even_tiles(c.tiles, c.tile.columns)
        steps = panel.planes * (c.block // UNROLLED_CHANNELS)
        lines = -(-share // (LINE * steps * sum(count for *_, count in runs))) if c.tile_units <= FEW_UNITS else 0
        with k.loop(c.points) as point:
            source = k.let(point * c.data_step + (panel.plane * c.data_tiles + place) * c.block)
            result, done = k.let(point * c.product_step), 0
            for start, tiles, count in runs:
                with k.loop(count) as i:
                    at, fetched = k.let(start + i * tiles), (done + i) * (steps * lines * LINE)
                    fetch = Fetch(k.let(ahead + point * share + fetched), lines)
                    tile = (tiles, k.let(source + at * c.block), k.let(result + at * (panel.size * c.block)))
                    self.product_tile(panel, k.let(weights + point * panel.point), tile, fetch)
                done += count

    def product_tile(self, panel: Panel, weights: Expr, tile: tuple[int, Expr, Expr], fetch: Fetch) -> None:
        """Some tiles, read from one place and stored to another, times the weights of one point."""
        k, c = self.k, self.c
        tiles, source, result = tile
        vectors = panel.size * c.block // c.lanes
        acc = k.registers(tiles * vectors * c.lanes)
        for i in range(tiles * vectors):
            again = 0 < c.depth < c.in_blocks
            value = self.product.load(result + i * c.lanes, c.lanes) if again else splat(0.0, c.lanes)
            acc.store(i * c.lanes, value, c.lanes)
        with k.loop(panel.planes) as plane:
            at = k.let(source + plane * (c.data_tiles * c.block))
            weight = k.let(weights + plane * (c.block * panel.channel))
            with k.loop(c.block // UNROLLED_CHANNELS) as i:
                step = plane * (c.block // UNROLLED_CHANNELS) + i
                for line in range(fetch.lines):
                    self.weight.prefetch(fetch.start + (step * fetch.lines + line) * LINE)
                here = k.let(at + i * UNROLLED_CHANNELS)
                there = k.let(weight + i * (UNROLLED_CHANNELS * panel.channel))
                for q in range(UNROLLED_CHANNELS):
                    self.multiply(acc, here + q, k.let(there + q * panel.channel), tiles, vectors)
        for i in range(tiles * vectors):
            self.product.store(result + i * c.lanes, acc.load(i * c.lanes, c.lanes), c.lanes)

    def multiply(self, acc: Buffer, here: Expr, there: Expr, tiles: int, vectors: int) -> None:
        """One channel of some tiles times its filters."""
        k, c = self.k, self.c
        loaded = [k.let(self.filters.load(there + v * c.lanes, c.lanes)) for v in range(vectors)]
        for t in range(tiles):
            value = k.let(splat(self.data.load(here + t * c.block), c.lanes))
            for v, vector in enumerate(loaded):
                slot = (t * vectors + v) * c.lanes
                acc.store(slot, acc.load(slot, c.lanes) + value * vector, c.lanes)

    def outputs(self, block: Expr, size: int, first: Expr) -> None:
        """A' m A, bias and epilogue for every tile and block of the group."""
        k, c = self.k, self.c
        with k.loop(c.tiles) as i:
            tile = k.let(first + i)
            with k.when(tile < c.total), k.loop(size) as b:
                self.output_tile(k.let(block + b), tile, k.let((i * size + b) * c.block))

    def output_tile(self, block: Expr, tile: Expr, at: Expr) -> None:
        """One tile of one block: the inverse transform, then bias and epilogue where its pixels lie in the image."""
        k, c = self.k, self.c
        height, width = c.out_size
        y, x = k.let(tile // c.grid[1] * c.m), k.let(tile % c.grid[1] * c.m)
        to = k.let(((block * height + y) * width + x) * c.block)
        for v in range(0, c.block, c.lanes):
            bias = splat(0.0, c.lanes) if self.bias is None else k.let(self.bias.load(block * c.block + v, c.lanes))
            lines = [[k.let(value + bias) for value in line] for line in self.inverse(at + v)]
            if all(name in SHORT_STEPS for name, _ in c.epilogue):
                self.store_parts(lines, y, x, k.let(to + v))
                continue
            for i, value in enumerate(value for line in lines for value in line):
                self.pixels.store(i * c.lanes, value, c.lanes)
            with k.loop(k.let(vmin(c.m, height - y))) as r, k.loop(k.let(vmin(c.m, width - x))) as s:
                kept = self.pixels.load((r * c.m + s) * c.lanes, c.lanes)
                self.finish(k.let(to + (r * width + s) * c.block + v), kept)

    def store_parts(self, lines: list[list[Expr]], y: Expr, x: Expr, to: Expr) -> None:
        """The pixels of a tile that lie in the image: those at the lower and right border have known sizes."""
        height, width = self.c.out_size
        self.cases(y, height, lambda rows: self.cases(x, width, lambda columns: self.store(lines, rows, columns, to)))

    def cases(self, at: Expr, extent: int, then: Callable[[int], None]) -> None:
        """What is to be done with as many pixels of a tile as lie before the image's end."""
        k, c = self.k, self.c
        if extent % c.m == 0:
            then(c.m)
        elif extent < c.m:
            then(extent)
        else:
            with k.when(at + c.m <= extent):
                then(c.m)
            with k.otherwise():
                then(extent % c.m)

    def store(self, lines: list[list[Expr]], rows: int, columns: int, to: Expr) -> None:
        for r in range(rows):
            for s in range(columns):
                self.finish(to + (r * self.c.out_size[1] + s) * self.c.block, lines[r][s])

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


def _mirrored(a: tuple[Fraction, ...], b: tuple[Fraction, ...]) -> bool:
    """Whether b is a with the signs of its odd entries turned (and a has odd entries at all)."""
    return any(a[1::2]) and all(x == (-y if i % 2 else y) for i, (x, y) in enumerate(zip(a, b, strict=True)))
