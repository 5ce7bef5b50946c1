"""Kernels on bytes without weights: sums over blocks of channels, factors of channels, and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS, INT32
from cnncc.kernels.cpu.lower.byte_results import Results
from cnncc.kernels.cpu.lower.convert import as_type, saturated
from cnncc.kernels.cpu.pointwise_bytes import FACTOR_STEPS, BlockConfig, FactorConfig, TableConfig
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled, splat, vector_type
from cnncc.kernels.shared.byte_steps import ZERO_IN


def lower_blocks(c: BlockConfig, symbol: str) -> PrimFunc:
    """A unit is some of the sums, each of a block of channels."""
    k = KernelBuilder()
    source = k.operand("source", c.count * c.each * c.block, ELEMENTS[c.types.source])
    results = Results(k, c, 2 * c.block if c.averages else c.block, c.count * c.block)
    with k.units() as u:
        first = k.let(u * c.part)
        with k.loop(tirx.min(c.part, c.count - first) if c.count % c.part else c.part) as i:
            at = k.let(first + i)
            sums = _sums(k, c, source, results, at)
            scales = _means(k, c, results) if c.averages else results.scales(0)
            index = k.let(at * c.block)
            results.write(index, [results.value(sums.load(v, c.lanes), index + v, s) for v, s in scales.items()])
    return k.finish(symbol)


def _means(k: KernelBuilder, c: BlockConfig, results: Results) -> dict[int, Expr]:
    """`mean_factor` by the first channel of each vector, of as many pixels as there are."""
    count = splat(k.let(tirx.Cast("float32", c.each)), c.lanes)
    steps, own = results.scales(0), results.scales(c.block)
    return {v: k.let(steps[v] / k.let(count * own[v])) for v in steps}


def _sums(k: KernelBuilder, c: BlockConfig, source: Buffer, results: Results, at: Expr) -> Buffer:
    """The sum of q - zero over the pixels of one block."""
    sums = k.registers(c.block, INT32)
    zeros = k.let(results.numbers.load(ZERO_IN) * c.each)
    for v in range(0, c.block, c.lanes):
        sums.store(v, filled(0, c.lanes, INT32) - splat(zeros, c.lanes), c.lanes)
    with k.loop(c.each) as pixel:
        place = k.let((at * c.each + pixel) * c.block)
        for v in range(0, c.block, c.lanes):
            numbers = tirx.Cast(vector_type("int32", c.lanes), source.load(place + v, c.lanes))
            sums.store(v, sums.load(v, c.lanes) + numbers, c.lanes)
    return sums


def lower_factors(c: FactorConfig, symbol: str) -> PrimFunc:
    """A unit is some pixels of one block of channels."""
    k = KernelBuilder()
    kind, lanes = ELEMENTS[c.types.result], c.lanes
    source = k.operand("source", c.channel_blocks * c.pixels * c.block, ELEMENTS[c.types.source])
    factor = k.operand("factor", c.channel_blocks * c.block)
    steps = k.operand("steps", len(FACTOR_STEPS))
    result = k.operand("result", c.channel_blocks * c.pixels * c.block, kind)
    with k.units() as u:
        block, first = k.let(u // c.parts), k.let(u % c.parts * c.part)
        ratio, zero, *rest = (splat(k.let(steps.load(i)), lanes) for i in range(len(FACTOR_STEPS)))
        scales = [k.let(factor.load(block * c.block + v, lanes) * ratio) for v in range(0, c.block, lanes)]
        with k.loop(tirx.min(c.part, c.pixels - first) if c.pixels % c.part else c.part) as i:
            at = k.let((block * c.pixels + first + i) * c.block)
            for v, scale in zip(range(0, c.block, lanes), scales, strict=True):
                number = k.let(as_type("float32", source.load(at + v, lanes), lanes) - zero)
                result.store(at + v, saturated(k, k.let(number * scale), list(rest), kind, lanes), lanes)
    return k.finish(symbol)


def lower_table(c: TableConfig, symbol: str) -> PrimFunc:
    """A unit is some bytes that follow each other."""
    k = KernelBuilder()
    source = k.operand("source", c.count, ELEMENTS["uint8"])  # the bits of a byte are its place in the table
    table = k.operand("table", 256, ELEMENTS[c.types.result])
    result = k.operand("result", c.count, ELEMENTS[c.types.result])
    with k.units() as u:
        first = k.let(u * c.part)
        with k.loop(tirx.min(c.part, c.count - first) if c.count % c.part else c.part) as i:
            place = k.let(tirx.Cast("int32", source.load(first + i)))
            result.store(first + i, table.load(place))
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "block_bytes": lower_blocks,
    "factor_bytes": lower_factors,
    "table_bytes": lower_table,
}
"""Family of a kernel -> its lowering."""
