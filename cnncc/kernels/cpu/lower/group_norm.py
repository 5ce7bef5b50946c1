"""The group norm kernel."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.group_norm import GroupNormConfig
from cnncc.kernels.cpu.lower.moves import vector_runs
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.vectors import horizontal


def lower(c: GroupNormConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a group."""
    k = KernelBuilder()
    size, channels = c.channels * c.pixels, c.groups * c.channels
    source = k.operand("source", c.groups * size)
    weights = [k.operand(name, channels) for name in ("weight", "bias")] if c.affine else []
    result = k.operand("result", c.groups * size)
    with k.units() as g:
        start = k.let(g * size)
        mean = _mean(k, c, source, start, lambda x, lanes: x)
        variance = _mean(k, c, source, start, lambda x, lanes: _square(k, x - splat(mean, lanes)))
        share = k.let(splat(1.0, 1) / tirx.sqrt(variance + splat(c.eps, 1)))
        with k.loop(c.channels) as i:
            channel = k.let(g * c.channels + i)
            scale = k.let(share * weights[0].load(channel)) if weights else share
            shift = k.let(weights[1].load(channel)) if weights else splat(0.0, 1)
            for lanes, first, runs in vector_runs(c.pixels, (c.lanes, 1)):
                with k.loop(runs) as p:
                    at = k.let(channel * c.pixels + (p * lanes + first))
                    centred = source.load(at, lanes) - splat(mean, lanes)
                    result.store(at, centred * splat(scale, lanes) + splat(shift, lanes), lanes)
    return k.finish(symbol)


def _square(k: KernelBuilder, x: Expr) -> Expr:
    x = k.let(x)
    return x * x


def _mean(k: KernelBuilder, c: GroupNormConfig, source: Buffer, start: Expr, term: Callable[[Expr, int], Expr]) -> Expr:
    """The mean of `term` over a group, plane by plane: a sum of sums keeps its digits."""
    total = k.registers(1)
    total.store(0, splat(0.0, 1))
    acc = k.registers(c.lanes)
    with k.loop(c.channels) as i:
        at = k.let(start + i * c.pixels)
        acc.store(0, splat(0.0, c.lanes), c.lanes)
        (_, _, runs), (_, first, rest) = vector_runs(c.pixels, (c.lanes, 1))
        with k.loop(runs) as p:
            acc.store(0, acc.load(0, c.lanes) + term(source.load(at + p * c.lanes, c.lanes), c.lanes), c.lanes)
        plane = horizontal(k, acc.load(0, c.lanes), c.lanes, operator.add)
        total.store(0, total.load(0) + plane)
        with k.loop(rest) as p:
            total.store(0, total.load(0) + term(source.load(at + (p + first)), 1))
    return k.let(total.load(0) * splat(1.0 / (c.channels * c.pixels), 1))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"group_norm": lower}
"""Family of a kernel -> its lowering."""
