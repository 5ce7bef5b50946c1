"""The kernel for products of two computed matrices: a tile of the result in registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.moves import vector_runs
from cnncc.kernels.cpu.matmul import MatmulConfig
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder

VECTORS = 4
"""Vectors that a single row sums at once, to hide the latency of a multiply-add."""
FEW_VECTORS = 2
"""The same of a tile of several rows."""


def lower(c: MatmulConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a tile of rows of one plane of the result."""
    k = KernelBuilder()
    left = k.operand("left", c.planes * c.rows * c.depth)
    right = k.operand("right", c.planes * c.depth * c.columns)
    result = k.operand("result", c.planes * c.rows * c.columns)
    with k.units() as u:
        plane, first = k.let(u // c.tiles), k.let(u % c.tiles * c.tile)
        row, matrix = k.let(plane * c.rows + first), k.let(plane * (c.depth * c.columns))
        if c.rows % c.tile == 0:
            _rows(k, c, (left, right, result), row, matrix, c.tile)
        else:
            with k.when(first + c.tile <= c.rows):
                _rows(k, c, (left, right, result), row, matrix, c.tile)
            with k.otherwise(), k.loop(c.rows % c.tile) as i:
                _rows(k, c, (left, right, result), k.let(row + i), matrix, 1)
    return k.finish(symbol)


def _rows(
    k: KernelBuilder, c: MatmulConfig, operands: tuple[Buffer, Buffer, Buffer], row: Expr, matrix: Expr, rows: int
) -> None:
    """Some rows of the result, a few vectors of each at a time."""
    left, right, result = operands
    wide = (VECTORS if rows == 1 else FEW_VECTORS) * c.lanes
    for width, start, runs in vector_runs(c.columns, (wide, c.lanes, 1)):
        lanes = min(width, c.lanes)
        vectors = width // lanes
        with k.loop(runs) as run:
            column = k.let(run * width + start)
            sums = Sums(k, rows, vectors, lanes)
            sums.start()
            with k.loop(c.depth) as d:
                across = (right, k.let(matrix + d * c.columns + column))
                sums.multiply(across, left, ((row + r) * c.depth + d for r in range(rows)))
            for r in range(rows):
                for v in range(vectors):
                    value = sums.acc.load((r * vectors + v) * lanes, lanes)
                    result.store((row + r) * c.columns + column + v * lanes, value, lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"matmul": lower}
"""Family of a kernel -> its lowering."""
