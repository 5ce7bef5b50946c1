"""The kernel for the largest values: each pass finds the best of those that come after the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.topk import TopkConfig
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat

VALUE, CHANNEL, LAST_VALUE, LAST_CHANNEL = range(4)
"""Registers: the best so far of this pass, and what the pass before found. A channel of -1 is none."""


def lower(c: TopkConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a position."""
    k = KernelBuilder()
    source = k.operand("source", c.channels * c.pixels)
    result = k.operand("result", c.k * c.pixels)
    with k.units() as pixel:
        found = k.registers(4)
        for register, value in ((VALUE, 0.0), (LAST_VALUE, 0.0), (LAST_CHANNEL, -1.0)):
            found.store(register, splat(value, 1))
        with k.loop(c.k) as j:
            found.store(CHANNEL, splat(-1.0, 1))
            with k.loop(c.channels) as i:
                channel = k.let(tirx.Cast("float32", c.channels - 1 - i if c.last else i))
                value = k.let(source.load((c.channels - 1 - i if c.last else i) * c.pixels + pixel))
                last, at = k.let(found.load(LAST_VALUE)), k.let(found.load(LAST_CHANNEL))
                later = channel < at if c.last else channel > at
                left = tirx.any(at < splat(0.0, 1), _before(c, last, value), tirx.all(_equal(value, last), later))
                best, none = found.load(VALUE), found.load(CHANNEL) < splat(0.0, 1)
                with k.when(tirx.all(left, tirx.any(none, _before(c, value, best)))):
                    found.store(VALUE, value)
                    found.store(CHANNEL, channel)
            found.store(LAST_VALUE, found.load(VALUE))
            found.store(LAST_CHANNEL, found.load(CHANNEL))
            result.store(j * c.pixels + pixel, found.load(CHANNEL if c.indices else VALUE))
    return k.finish(symbol)


def _before(c: TopkConfig, a: Expr, b: Expr) -> Expr:
    """Whether value a comes before b. NaN comes after every number, whichever end is asked for."""
    return tirx.any(a > b if c.largest else a < b, tirx.all(tirx.isnan(b), tirx.Not(tirx.isnan(a))))


def _equal(a: Expr, b: Expr) -> Expr:
    """Whether neither comes before the other."""
    return tirx.any(a == b, tirx.all(tirx.isnan(a), tirx.isnan(b)))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"topk": lower}
"""Family of a kernel -> its lowering."""
