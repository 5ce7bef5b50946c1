"""Kernels that measure the machine: multiply-adds in registers, and reading memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.limits import FmaConfig, ReadConfig
from cnncc.kernels.shared.builder import KernelBuilder, splat

READ_SUMS = 8
"""Vectors of sums that are read into, one after the other, so that none waits for the one before."""


def lower_fma(c: FmaConfig, symbol: str) -> PrimFunc:
    """sum = sum * a + b, in many sums at once; a unit is so many steps of all."""
    k = KernelBuilder()
    factors, result = k.operand("factors", 2 * c.lanes), k.operand("result", c.units * c.lanes)
    with k.units() as unit:
        a, b = (k.let(factors.load(i * c.lanes, c.lanes)) for i in range(2))
        sums = k.registers(c.chains * c.lanes)
        places = range(0, c.chains * c.lanes, c.lanes)
        for i, at in enumerate(places):
            sums.store(at, splat(float(i), c.lanes), c.lanes)
        with k.loop(c.steps):
            for at in places:
                sums.store(at, sums.load(at, c.lanes) * a + b, c.lanes)
        total = sums.load(0, c.lanes)
        for at in places[1:]:
            total = total + sums.load(at, c.lanes)
        result.store(unit * c.lanes, total, c.lanes)
    return k.finish(symbol)


def lower_read(c: ReadConfig, symbol: str) -> PrimFunc:
    """Adds up memory; a unit is `c.floats` of it."""
    step = READ_SUMS * c.lanes
    k = KernelBuilder()
    # The sizes stand for any: kernels do not check them.
    source, result = k.operand("source", c.floats), k.operand("result", c.lanes)
    with k.units() as unit:
        sums = k.registers(step)
        places = range(0, step, c.lanes)
        for at in places:
            sums.store(at, splat(0.0, c.lanes), c.lanes)
        with k.loop(c.floats // step) as i:
            begin = k.let(unit * c.floats + i * step)
            for at in places:
                sums.store(at, sums.load(at, c.lanes) + source.load(begin + at, c.lanes), c.lanes)
        total = sums.load(0, c.lanes)
        for at in places[1:]:
            total = total + sums.load(at, c.lanes)
        result.store(unit * c.lanes, total, c.lanes)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"limit_fma": lower_fma, "limit_read": lower_read}
"""Family of a kernel -> its lowering."""
