"""Kernels for rows at computed places."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.gather import GatherConfig, ScatterConfig
from cnncc.kernels.cpu.lower.moves import copy_numbers, fill_numbers, vector_runs
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder
from cnncc.kernels.shared.places import COMBINE, named_row


def lower_gather(c: GatherConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a row of the result."""
    k = KernelBuilder()
    height = math.prod(c.sizes)
    source = k.operand("source", c.channels * height * c.width)
    places = k.operand("places", c.channels * c.places * len(c.sizes))
    result = k.operand("result", c.channels * c.places * c.width)
    with k.units() as u:
        row, exists = named_row(k, c.sizes, c.wrap, places, u * len(c.sizes))
        channel, to = k.let(u // c.places), k.let(u * c.width)
        with k.when(exists):
            copy_numbers(k, source, k.let((channel * height + row) * c.width), result, to, c.width)
        with k.otherwise():
            fill_numbers(k, result, to, c.width, float("nan"))
    return k.finish(symbol)


def lower_scatter(c: ScatterConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a channel."""
    k, rows = KernelBuilder(), c.rows
    size, width = math.prod(rows.sizes) * rows.width, rows.width
    source = None if c.zeros else k.operand("source", rows.channels * size)
    places = k.operand("places", rows.channels * rows.places * len(rows.sizes))
    updates = k.operand("updates", rows.channels * rows.places * width)
    result = k.operand("result", rows.channels * size)
    with k.units() as channel:
        start = k.let(channel * size)
        if source is None:
            fill_numbers(k, result, start, size)
        else:
            copy_numbers(k, source, start, result, start, size)
        with k.loop(rows.places) as i:
            at = k.let(channel * rows.places + i)
            row, exists = named_row(k, rows.sizes, rows.wrap, places, at * len(rows.sizes))
            with k.when(exists):
                _write(k, c, updates, k.let(at * width), result, k.let(start + row * width))
    return k.finish(symbol)


def _write(k: KernelBuilder, c: ScatterConfig, source: Buffer, at: Expr, result: Buffer, to: Expr) -> None:
    """Combines one row with what is there."""
    for lanes, first, runs in vector_runs(c.rows.width, (8, 1)):
        with k.loop(runs) as i:
            old = k.let(result.load(to + i * lanes + first, lanes))
            new = k.let(source.load(at + i * lanes + first, lanes))
            result.store(to + i * lanes + first, COMBINE[c.reduction](old, new), lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"gather": lower_gather, "scatter": lower_scatter}
"""Family of a kernel -> its lowering."""
