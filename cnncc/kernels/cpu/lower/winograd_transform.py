"""Winograd transforms: tiles of the image to the points where products are taken, for a unit or a whole image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim
from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.winograd_fetch import first
from cnncc.kernels.cpu.winograd import WinogradConfig
from cnncc.kernels.shared.arithmetic import quotient, remainder, vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.winograd import Matrix, matrices

Load = Callable[[int, int, int], Expr]
"""A vector of a tile: row, column, first lane of the channel block."""


def lower_input(config: WinogradConfig, symbol: str) -> PrimFunc:
    """The transform of a whole image to an operand; a unit is the tiles of one row of one channel block."""
    return _Input(config).build(symbol)


class Transform:
    """What the kernels share: small matrices times vectors of channels, and tiles of the image transformed."""

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

    def tiles(self, first: Expr) -> Expr:
        """The tiles of a unit from the first on: of an image of any size, those that there are."""
        c = self.c
        return self.k.let(vmin(c.tiles, c.total - first)) if isinstance(c.total, Dim) else c.tiles

    def place(self, plane: Expr, tile: Expr) -> Expr:
        """Where a tile of a channel block lies in the transformed input, of each point."""
        return (plane * self.c.data_tiles + tile) * self.c.block

    def transform_tile(self, image: Buffer, data: Buffer, plane: Expr, tile: Expr, to: Expr) -> None:
        """Tile number `tile` of a channel block to index `to` of each point; zeros beyond the last tile."""
        k, c = self.k, self.c
        (height, width), (rows, columns) = c.in_size, c.dilation
        y = k.let(first(c, quotient(tile, c.grid[1]), 0) - c.pad[0])
        x = k.let(first(c, remainder(tile, c.grid[1]), 1) - c.pad[1])
        to = k.let(to)
        below, right = y + ((c.edge - 1) * rows + 1), x + ((c.edge - 1) * columns + 1)
        inside = tirx.all(tile < c.total, y >= 0, x >= 0, below <= height, right <= width)
        with k.when(inside):
            corner = k.let(((plane * height + y) * width + x) * c.block)

            def pixel(i: int, j: int, v: int) -> Expr:
                return image.load(corner + (i * rows * width + j * columns) * c.block + v, c.lanes)

            self.transform_from(pixel, data, to)
        with k.otherwise():
            self.transform_from(self.masked(image, plane, tile, y, x), data, to)

    def masked(self, image: Buffer, plane: Expr, tile: Expr, y: Expr, x: Expr) -> Load:
        """Loads of a tile that reaches over the border: the nearest pixel, its bits cleared outside the image.

        Without branches, and without a copy in memory, which the transform's loads would wait for."""
        k, c = self.k, self.c
        (height, width), lanes = c.in_size, c.lanes
        rows, columns, kept_rows, kept_columns = [], [], [], []
        for i in range(c.edge):
            row, column = k.let(y + i * c.dilation[0]), k.let(x + i * c.dilation[1])
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


class _Input(Transform):
    def __init__(self, config: WinogradConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.image = k.operand("image", c.in_planes * c.block * c.in_size[0] * c.in_size[1], ELEMENTS[c.element])
        self.data = k.operand("data", c.data_floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as unit:
            plane, first = k.let(unit // c.tile_units), k.let(unit % c.tile_units * c.tiles)
            with k.loop(self.tiles(first)) as i:
                tile = k.let(first + i)
                self.transform_tile(self.image, self.data, plane, tile, self.place(plane, tile))
        return k.finish(symbol)


def _mirrored(a: tuple[Fraction, ...], b: tuple[Fraction, ...]) -> bool:
    """Whether b is a with the signs of its odd entries turned (and a has odd entries at all)."""
    return any(a[1::2]) and all(x == (-y if i % 2 else y) for i, (x, y) in enumerate(zip(a, b, strict=True)))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"winograd_input": lower_input}
"""Family of a kernel -> its lowering."""
