"""Kernels that measure the machine: multiply-adds in registers, and reading memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS, INT32
from cnncc.kernels.cpu.limits import DotLimitConfig, FmaConfig, ReadConfig
from cnncc.kernels.cpu.lower.bfloats import PairSums
from cnncc.kernels.cpu.lower.dots import DotSums
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.shared.builder import KernelBuilder, splat
from cnncc.machines.units import PairUnit

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


def lower_dot(c: DotLimitConfig, symbol: str) -> PrimFunc:
    """The steps of a micro-kernel, one after the other; a unit is so many of them."""
    k, unit, lanes = KernelBuilder(), c.micro.unit, c.micro.lanes
    words = k.operand("words", c.words, INT32)
    weights = k.operand("weights", c.weight_numbers, ELEMENTS[unit.element])
    result = k.operand("result", c.units * lanes, ELEMENTS[unit.sums])
    with k.units() as index:
        sums = _sums(k, c)
        sums.start()
        with k.loop(c.steps // c.period), k.loop(c.period) as step:
            first = k.let(step * c.values)
            # Words that stayed the same would be kept in registers, which sums need.
            at = k.let(step * (c.weight_numbers // c.period))
            sums.multiply((weights, at), words, [first + i for i in range(c.values)])
        total = sums.acc.load(0, lanes)
        for at in range(lanes, sums.floats, lanes):
            total = total + sums.acc.load(at, lanes)
        result.store(index * lanes, total, lanes)
    return k.finish(symbol)


def _sums(k: KernelBuilder, c: DotLimitConfig) -> Sums:
    if isinstance(c.micro.unit, PairUnit):
        return PairSums(k, c.values, c.vectors, c.micro.lanes, c.micro.unit)
    return DotSums(k, c.values, c.vectors, c.micro)


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


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "limit_fma": lower_fma,
    "limit_dot": lower_dot,
    "limit_read": lower_read,
}
"""Family of a kernel -> its lowering."""
