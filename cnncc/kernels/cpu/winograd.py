"""Winograd kernels: input transform, products, output transform."""

from __future__ import annotations

from fractions import Fraction

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.cpu.vectors import apply_epilogue, vmax, vmin
from cnncc.kernels.tiles import even_tiles
from cnncc.kernels.winograd import Matrix, WinogradConfig, matrices

UNROLLED_CHANNELS = 4
SHORT_STEPS = ("add", "relu", "relu6")
"""Steps of an epilogue that may be written out for every pixel of a tile; the others would make long code."""


def lower_input(config: WinogradConfig, symbol: str) -> PrimFunc:
    """The transform of a whole image to an operand; a unit is the tiles of one row of one channel block."""
    return _Input(config).build(symbol)


def lower(config: WinogradConfig, symbol: str) -> PrimFunc:
    """Products and output transform, after the unit's own input transform where the input is not shared."""
    return _Winograd(config).build(symbol)


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

    def transform_tile(self, image: Buffer, data: Buffer, border: Buffer, plane: Expr, tile: Expr, place: Expr) -> None:
        """Tile number `tile` of a channel block to [point][channel block][place][lane]; zeros beyond the last tile."""
        k, c = self.k, self.c
        height, width = c.in_size
        y = k.let(tile // c.grid[1] * c.m - c.pad[0])
        x = k.let(tile % c.grid[1] * c.m - c.pad[1])
        to = k.let((plane * c.data_tiles + place) * c.block)
        inside = tirx.all(tile < c.total, y >= 0, x >= 0, y + c.edge <= height, x + c.edge <= width)
        with k.when(inside):
            corner = k.let(((plane * height + y) * width + x) * c.block)
            self.transform_from(image, corner, width * c.block, data, to)
        with k.otherwise():
            self.copy_border(image, border, plane, tile, y, x)
            self.transform_from(border, 0, c.edge * c.block, data, to)

    def copy_border(self, image: Buffer, border: Buffer, plane: Expr, tile: Expr, y: Expr, x: Expr) -> None:
        """The part of a tile that lies in the image, zeros around it."""
        k, c = self.k, self.c
        height, width = c.in_size
        with k.loop(c.points * c.block // c.lanes) as i:
            border.store(i * c.lanes, splat(0.0, c.lanes), c.lanes)
        top, left = k.let(vmax(0 - y, 0)), k.let(vmax(0 - x, 0))
        rows = k.let(tirx.if_then_else(tile < c.total, vmin(c.edge, height - y) - top, 0))
        columns = k.let(vmin(c.edge, width - x) - left)
        with k.when(columns > 0), k.loop(k.let(vmax(rows, 0))) as r:
            at = k.let(((plane * height + y + top + r) * width + x + left) * c.block)
            to = k.let(((top + r) * c.edge + left) * c.block)
            with k.loop(columns) as i:
                for v in range(0, c.block, c.lanes):
                    border.store(to + i * c.block + v, image.load(at + i * c.block + v, c.lanes), c.lanes)

    def transform_from(self, source: Buffer, at: Expr, row: int, data: Buffer, to: Expr) -> None:
        """B' d B for every lane of a tile that lies at `at`, `row` floats from one row to the next."""
        k, c = self.k, self.c
        matrix = matrices(c.m).data
        for v in range(0, c.block, c.lanes):
            half: list[list[Expr]] = []
            for j in range(c.edge):
                column = [k.let(source.load(at + i * row + j * c.block + v, c.lanes)) for i in range(c.edge)]
                half.append(self.rows(matrix, column))
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
        self.border = k.scratch(c.border_floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as unit:
            plane, first = k.let(unit // c.tile_units), k.let(unit % c.tile_units * c.tiles)
            with k.loop(c.tiles) as i:
                tile = k.let(first + i)
                self.transform_tile(self.image, self.data, self.border, plane, tile, tile)
        return k.finish(symbol)


class _Winograd(_Transform):
    def __init__(self, config: WinogradConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        plane = c.out_size[0] * c.out_size[1]
        source = c.data_floats if c.shared else c.in_blocks * c.block * c.in_size[0] * c.in_size[1]
        self.source = k.operand("source", source)
        self.weight = k.operand("weight", c.points * c.in_blocks * c.block * c.out_blocks * c.block)
        self.bias = k.operand("bias", c.out_blocks * c.block) if c.bias else None
        adds = sum(name == "add" for name, _ in c.epilogue)
        self.extras = [k.operand(f"extra{i}", c.out_blocks * plane * c.block) for i in range(adds)]
        self.result = k.operand("result", c.out_blocks * plane * c.block)
        self.product = k.scratch(c.points * c.product_step)
        self.border = k.scratch(c.border_floats)
        self.data = self.source if c.shared else k.scratch(c.data_floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as unit:
            chunk, first = k.let(unit // c.tile_units), k.let(unit % c.tile_units * c.tiles)
            if not c.shared:
                with k.loop(c.in_blocks) as plane, k.loop(c.tiles) as i:
                    self.transform_tile(self.source, self.data, self.border, plane, k.let(first + i), i)
            per_chunk = c.out_blocks // c.chunks
            for start, size, count in c.chunk_runs:
                with k.loop(count) as group:
                    block = k.let(chunk * per_chunk + start + group * size)
                    self.products(block, size, first)
                    self.outputs(block, size, first)
        return k.finish(symbol)

    def products(self, block: Expr, size: int, first: Expr) -> None:
        """[point][tile][block][lane] of `size` output blocks: a matrix product for every point."""
        k, c = self.k, self.c
        place = first if c.shared else 0
        with k.loop(c.points) as point:
            weights = k.let((block * c.points + point * size) * (c.in_blocks * c.block * c.block))
            source = k.let(point * c.data_step + place * c.block)
            result = k.let(point * c.product_step)
            for start, tiles, count in even_tiles(c.tiles, c.tile.columns):
                with k.loop(count) as i:
                    at = k.let(start + i * tiles)
                    self.product_tile(weights, size, source + at * c.block, result + at * (size * c.block), tiles)

    def product_tile(self, weights: Expr, size: int, source: Expr, result: Expr, tiles: int) -> None:
        k, c = self.k, self.c
        source, result = k.let(source), k.let(result)
        vectors = size * c.block // c.lanes
        acc = k.registers(tiles * size * c.block)
        for i in range(tiles * vectors):
            acc.store(i * c.lanes, splat(0.0, c.lanes), c.lanes)
        with k.loop(c.in_blocks) as plane:
            at = k.let(source + plane * (c.data_tiles * c.block))
            weight = k.let(weights + plane * (c.block * size * c.block))
            with k.loop(c.block // UNROLLED_CHANNELS) as i:
                here, there = (
                    k.let(at + i * UNROLLED_CHANNELS),
                    k.let(weight + i * (UNROLLED_CHANNELS * size * c.block)),
                )
                for q in range(UNROLLED_CHANNELS):
                    loaded = [
                        k.let(self.weight.load(there + q * size * c.block + v * c.lanes, c.lanes))
                        for v in range(vectors)
                    ]
                    for t in range(tiles):
                        value = k.let(splat(self.data.load(here + (t * c.block + q)), c.lanes))
                        for v, vector in enumerate(loaded):
                            slot = (t * vectors + v) * c.lanes
                            acc.store(slot, acc.load(slot, c.lanes) + value * vector, c.lanes)
        for i in range(tiles * vectors):
            self.product.store(result + i * c.lanes, acc.load(i * c.lanes, c.lanes), c.lanes)

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
        direct = height % c.m == 0 and width % c.m == 0 and all(name in SHORT_STEPS for name, _ in c.epilogue)
        for v in range(0, c.block, c.lanes):
            bias = splat(0.0, c.lanes) if self.bias is None else k.let(self.bias.load(block * c.block + v, c.lanes))
            for r, line in enumerate(self.inverse(at + v)):
                for s, value in enumerate(line):
                    if direct:
                        self.finish(to + (r * width + s) * c.block + v, value + bias)
                    else:
                        self.border.store((r * c.m + s) * c.lanes, value + bias, c.lanes)
            if not direct:
                with k.loop(k.let(vmin(c.m, height - y))) as r, k.loop(k.let(vmin(c.m, width - x))) as s:
                    self.finish(
                        k.let(to + (r * width + s) * c.block + v), self.border.load((r * c.m + s) * c.lanes, c.lanes)
                    )

    def inverse(self, at: Expr) -> list[list[Expr]]:
        """A' m A of the products of one tile and vector of channels: rows of pixels."""
        k, c = self.k, self.c
        matrix = matrices(c.m).output
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
