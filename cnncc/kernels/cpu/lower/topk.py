"""The kernel for the largest values: each channel is put in its place among the best so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.topk import TopkConfig
from cnncc.kernels.shared.arithmetic import vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.epilogue import each

IN_REGISTERS = 8
"""Places that are written out, so that they lie in registers; more are a loop through memory."""
NOTHING, NO_CHANNEL = 0.0, -1.0
"""Value and channel of a place that holds nothing yet."""
Best = tuple[Buffer, ...]
"""The values of the best so far, in order, and their channels."""


def lower(c: TopkConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a vector of positions."""
    return _Topk(c).build(symbol)


class _Topk:
    def __init__(self, config: TopkConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.source = k.operand("source", c.channels * c.pixels)
        self.result = k.operand("result", c.k * c.pixels)
        self.looped = c.k > IN_REGISTERS

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as u:
            pixel = k.let(vmin(u * c.lanes, c.pixels - c.lanes)) if c.pixels % c.lanes else k.let(u * c.lanes)
            best = tuple(k.registers(c.k * c.lanes) for _ in (NOTHING, NO_CHANNEL))
            each(k, (c.k,), self.looped, lambda j: self.clear(best, j))
            with k.loop(c.channels) as i:
                channel = k.let(c.channels - 1 - i if c.last else i)
                value = k.let(self.source.load(channel * c.pixels + pixel, c.lanes))
                number = k.let(splat(tirx.Cast("float32", channel), c.lanes))
                if c.lanes > 1:
                    self.insert(best, value, number)
                else:  # most channels are not among the best
                    with k.when(self.before(best, value, c.k - 1)):
                        self.insert(best, value, number)
            kept = best[1] if c.indices else best[0]
            each(k, (c.k,), self.looped, lambda j: self.store(kept, j, pixel))
        return k.finish(symbol)

    def clear(self, best: Best, j: Expr) -> None:
        """Place j holds nothing."""
        for buffer, value in zip(best, (NOTHING, NO_CHANNEL), strict=True):
            buffer.store(j * self.c.lanes, splat(value, self.c.lanes), self.c.lanes)

    def store(self, kept: Buffer, j: Expr, pixel: Expr) -> None:
        self.result.store(j * self.c.pixels + pixel, kept.load(j * self.c.lanes, self.c.lanes), self.c.lanes)

    def before(self, best: Best, value: Expr, j: Expr) -> Expr:
        """Whether a value comes before that of place j. NaN comes after every number, whichever end is asked for."""
        c = self.c
        other, channel = (buffer.load(j * c.lanes, c.lanes) for buffer in best)
        better = value > other if c.largest else value < other
        number = tirx.all(tirx.isnan(other), tirx.Not(tirx.isnan(value)))
        return tirx.any(better, number, channel < splat(0.0, c.lanes))

    def insert(self, best: Best, value: Expr, number: Expr) -> None:
        """Puts a channel before the first place that it comes before; what was there moves on by one. Equal ones keep
        the order in which they came."""
        k, lanes = self.k, self.c.lanes
        moving = tuple(k.registers(lanes) for _ in best)
        for buffer, start in zip(moving, (value, number), strict=True):
            buffer.store(0, start, lanes)

        def place(j: Expr) -> None:
            here = k.let(tirx.Select(self.before(best, value, j), splat(1.0, lanes), splat(0.0, lanes)))
            for buffer, carried in zip(best, moving, strict=True):
                old, new = k.let(buffer.load(j * lanes, lanes)), k.let(carried.load(0, lanes))
                taken = here > splat(0.0, lanes)
                buffer.store(j * lanes, tirx.Select(taken, new, old), lanes)
                carried.store(0, tirx.Select(taken, old, new), lanes)

        each(k, (self.c.k,), self.looped, place)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"topk": lower}
"""Family of a kernel -> its lowering."""
