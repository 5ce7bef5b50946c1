"""The kernel for products of two computed matrices: a row of the result in registers, some vectors at a time."""

from __future__ import annotations

from tvm.tirx import PrimFunc

from cnncc.kernels.builder import KernelBuilder, splat
from cnncc.kernels.cpu.moves import vector_runs
from cnncc.kernels.matmul import MatmulConfig

VECTORS = 4
"""Vectors of a row that are summed at once, to hide the latency of a multiply-add."""


def lower(c: MatmulConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a row of one plane of the result."""
    k = KernelBuilder()
    left = k.operand("left", c.planes * c.rows * c.depth)
    right = k.operand("right", c.planes * c.depth * c.columns)
    result = k.operand("result", c.planes * c.rows * c.columns)
    with k.units() as u:
        row, plane = k.let(u * c.depth), k.let((u // c.rows) * (c.depth * c.columns))
        for width, first, runs in vector_runs(c.columns, (VECTORS * c.lanes, c.lanes, 1)):
            lanes = min(width, c.lanes)
            with k.loop(runs) as run:
                column = k.let(run * width + first)
                acc = k.registers(width)
                for v in range(0, width, lanes):
                    acc.store(v, splat(0.0, lanes), lanes)
                with k.loop(c.depth) as d:
                    x = splat(k.let(left.load(row + d)), lanes)
                    at = k.let(plane + d * c.columns + column)
                    for v in range(0, width, lanes):
                        acc.store(v, acc.load(v, lanes) + x * right.load(at + v, lanes), lanes)
                for v in range(0, width, lanes):
                    result.store(u * c.columns + column + v, acc.load(v, lanes), lanes)
    return k.finish(symbol)
