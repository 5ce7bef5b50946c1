"""The kernels for products of two computed matrices."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.matmul import DotConfig, MatmulConfig
from cnncc.kernels.shared.arithmetic import vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.epilogue import costly, each, readable
from cnncc.kernels.shared.vectors import apply_epilogue, horizontal


def lower(c: MatmulConfig, symbol: str) -> PrimFunc:
    """Some tiles of one plane: those of the same columns follow each other, so that these stay in the first cache."""
    k = KernelBuilder()
    left = k.operand("left", c.planes * c.rows * c.depth)
    right = k.operand("right", c.planes * c.depth * c.columns)
    extras = [k.operand(f"extra{i}", c.planes * c.rows * c.columns) for i in range(added_inputs(c.epilogue))]
    result = k.operand("result", c.planes * c.rows * c.columns)
    buffers = left, right, extras, result
    with k.units() as u:
        if c.narrow is None:
            _tiles(k, c, buffers, u)
        else:
            lanes, tile, vectors = c.narrow
            least = k.number(c.rows), k.number(c.columns)
            with k.when(tirx.all(least[0] >= c.tile, least[1] >= c.vectors * c.lanes)):
                _tiles(k, c, buffers, u)
            with k.otherwise():
                _tiles(k, replace(c, lanes=lanes, tile=tile, vectors=vectors), buffers, u)
    return k.finish(symbol)


def _tiles(k: KernelBuilder, c: MatmulConfig, buffers: tuple[Buffer, Buffer, list[Buffer], Buffer], u: Expr) -> None:
    """Those of one unit."""
    left, right, extras, result = buffers
    down, across = c.bands
    plane = k.let(u // (down * across))
    rows, matrix = k.let(plane * c.rows), k.let(plane * (c.depth * c.columns))
    with _band(k, k.let(u % across), across, c.tiles[1]) as j:
        column = _start(k, j, c.vectors * c.lanes, c.columns)
        with _band(k, k.let(u // across % down), down, c.tiles[0]) as i:
            row = k.let(rows + _start(k, i, c.tile, c.rows))
            sums = _products(k, c, (left, right), row, (matrix, column))
            _store(k, c, sums, (result, extras), k.let(row * c.columns + column))


def _band(k: KernelBuilder, band: Expr, bands: int, tiles: int) -> Any:
    """A loop over the tiles of a band; they differ by at most one in length."""
    first = k.let(band * tiles // bands)
    return k.loop(k.let((band + 1) * tiles // bands - first), start=first) if bands > 1 else k.loop(tiles)


def _start(k: KernelBuilder, tile: Expr, size: int, total: int) -> Expr:
    """Where a tile begins; the last one overlaps the one before."""
    if isinstance(tile, int):
        return min(tile * size, total - size)
    return k.let(tile * size if total % size == 0 else vmin(tile * size, total - size))


def _products(
    k: KernelBuilder, c: MatmulConfig, operands: tuple[Buffer, Buffer], row: Expr, at: tuple[Expr, Expr]
) -> Sums:
    """One tile from a row and column on."""
    (left, right), (matrix, column) = operands, at
    sums = Sums(k, c.tile, c.vectors, c.lanes)
    sums.start()
    begin, corner = k.let(row * c.depth), k.let(matrix + column)
    with k.loop(c.depth) as d:
        across = (right, k.let(corner + d * c.columns))
        sums.multiply(across, left, (begin + (r * c.depth + d) for r in range(c.tile)))
    return sums


def _store(k: KernelBuilder, c: MatmulConfig, sums: Sums, to: tuple[Buffer, list[Buffer]], corner: Expr) -> None:
    """A tile after its post-ops."""
    result, extras = to
    looped = costly(c.epilogue)
    done = readable(k, sums.acc, sums.floats, c.lanes, looped)

    def vector(r: Expr, v: Expr) -> None:
        at = corner + (r * c.columns + v * c.lanes)
        value = done.load((r * c.vectors + v) * c.lanes, c.lanes)
        loads = [e.load(at, c.lanes) for e in extras]
        result.store(at, apply_epilogue(k, value, c.epilogue, loads, c.lanes), c.lanes)

    each(k, (c.tile, c.vectors), looped, vector)


def lower_dot(c: DotConfig, symbol: str) -> PrimFunc:
    """Some rows times one column: vectors along the rows, added up at the end."""
    k = KernelBuilder()
    left = k.operand("left", c.planes * c.rows * c.depth)
    right = k.operand("right", c.planes * c.depth)
    extras = [k.operand(f"extra{i}", c.planes * c.rows) for i in range(added_inputs(c.epilogue))]
    result = k.operand("result", c.planes * c.rows)
    whole, lanes = c.depth // c.lanes, c.lanes
    with k.units() as u:
        plane = k.let(u // c.tiles)
        row = k.let(plane * c.rows + _start(k, k.let(u % c.tiles), c.tile, c.rows))
        begin, column = k.let(row * c.depth), k.let(plane * c.depth)
        sums, rest = k.registers(c.tile * lanes), k.registers(c.tile)
        for r in range(c.tile):
            sums.store(r * lanes, splat(0.0, lanes), lanes)
            rest.store(r, splat(0.0, 1))
        with k.loop(whole) as i:
            _add_products(k, c, (left, right, sums), (begin + i * lanes, column + i * lanes), lanes)
        with k.loop(c.depth - whole * lanes) as i:
            start = whole * lanes
            _add_products(k, c, (left, right, rest), (begin + (i + start), column + (i + start)), 1)
        for r in range(c.tile):
            total = horizontal(k, sums.load(r * lanes, lanes), lanes, operator.add)
            rest.store(r, total + rest.load(r))
        looped = costly(c.epilogue)
        done = readable(k, rest, c.tile, 1, looped)

        def value(r: Expr) -> None:
            loads = [e.load(row + r) for e in extras]
            result.store(row + r, apply_epilogue(k, done.load(r), c.epilogue, loads, 1))

        each(k, (c.tile,), looped, value)
    return k.finish(symbol)


def _add_products(
    k: KernelBuilder, c: DotConfig, buffers: tuple[Buffer, Buffer, Buffer], at: tuple[Expr, Expr], lanes: int
) -> None:
    """Adds to the sums of each row its products with a vector of the column."""
    left, right, sums = buffers
    factor = k.let(right.load(at[1], lanes))
    for r in range(c.tile):
        to = r * lanes
        sums.store(to, sums.load(to, lanes) + left.load(at[0] + r * c.depth, lanes) * factor, lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"matmul": lower, "matmul_dot": lower_dot}
"""Family of a kernel -> its lowering."""
