"""LRN, softmax and global pooling kernels."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import least_of, most_of
from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.channels import GlobalPoolConfig, LrnConfig, SoftmaxConfig
from cnncc.kernels.cpu.lower.moves import copy_numbers, fill_numbers
from cnncc.kernels.shared.arithmetic import LOWEST, exp, nan_max, power, share_of, vmax
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.spec import blocks
from cnncc.kernels.shared.vectors import horizontal

ACCUMULATORS = 4
"""Independent sums of global pooling, to hide the latency of an add."""


def lower_lrn(c: LrnConfig, symbol: str) -> PrimFunc:
    """x / (k + alpha / n * sum of squares of n neighbouring channels)^beta; a unit is a row."""
    k = KernelBuilder()
    planes, pixels = blocks(c.channels, c.block), c.size[0] * c.size[1]
    source = k.operand("source", planes * pixels * c.block)
    result = k.operand("result", planes * pixels * c.block)
    line = k.scratch(c.line)
    margin = (c.line - planes * c.block) // 2
    with k.units() as y, k.loop(c.size[1]) as x:
        pixel = k.let(y * c.size[1] + x)
        fill_numbers(k, line, 0, margin)
        with k.loop(planes) as plane:
            for v in range(c.block // c.lanes):
                value = k.let(source.load((plane * pixels + pixel) * c.block + v * c.lanes, c.lanes))
                line.store(plane * c.block + (margin + v * c.lanes), value * value, c.lanes)
        # Lanes beyond the channels hold anything; neighbours must see zeros there.
        fill_numbers(k, line, margin + c.channels, c.line - margin - c.channels)
        with k.loop(planes) as plane:
            at = k.let((plane * pixels + pixel) * c.block)
            for v in range(c.block // c.lanes):
                factor = _lrn_factor(k, c, line, plane * c.block, margin + v * c.lanes)
                result.store(at + v * c.lanes, source.load(at + v * c.lanes, c.lanes) * factor, c.lanes)
    return k.finish(symbol)


def _lrn_factor(k: KernelBuilder, c: LrnConfig, line: Buffer, channel: Expr, offset: int) -> Expr:
    """What a vector of channels is multiplied by; their squares begin at `channel + offset` of the line."""
    first = offset - (c.window - 1) // 2
    total = splat(0.0, c.lanes)
    for d in range(c.window):
        total = total + line.load(channel + (first + d), c.lanes)
    base = k.let(splat(c.k, c.lanes) + total * splat(c.alpha / c.window, c.lanes))
    return power(k, base, -c.beta, c.lanes)


def lower_softmax(config: SoftmaxConfig, symbol: str) -> PrimFunc:
    """e^(x - max) / sum, a pixel at a time, through a line of scratch whose tail is the lowest number."""
    return _Softmax(config).build(symbol)


class _Softmax:
    def __init__(self, config: SoftmaxConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.planes = blocks(c.channels, c.block) if c.block > 1 else 1
        self.width = c.block if c.block > 1 else c.channels
        """Channels that lie side by side; a vector's all do."""
        self.source = k.operand("source", self.planes * self.width * c.pixels)
        self.result = k.operand("result", self.planes * self.width * c.pixels)
        self.line = k.scratch(c.line)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as u, k.loop(c.per_unit) as i:
            pixel = k.let(u * c.per_unit + i)
            if c.pixels % c.per_unit:
                with k.when(pixel < c.pixels):
                    self.pixel(pixel)
            else:
                self.pixel(pixel)
        return k.finish(symbol)

    def pixel(self, pixel: Expr) -> None:
        k, c, line = self.k, self.c, self.line
        with k.loop(self.planes) as p:
            at, spot = k.let((p * c.pixels + pixel) * self.width), k.let(p * self.width)
            copy_numbers(k, self.source, at, line, spot, self.width)
        fill_numbers(k, line, c.channels, c.line - c.channels, LOWEST)
        scale = self.exponentials()
        with k.loop(c.line // c.lanes) as i:
            line.store(i * c.lanes, line.load(i * c.lanes, c.lanes) * scale, c.lanes)
        with k.loop(self.planes) as p:
            at, spot = k.let((p * c.pixels + pixel) * self.width), k.let(p * self.width)
            copy_numbers(k, line, spot, self.result, at, self.width)

    def exponentials(self) -> Expr:
        """Replaces the line by e^(x - max); returns one over their sum."""
        k, c, line = self.k, self.c, self.line
        steps = c.line // c.lanes
        largest = k.registers(c.lanes)
        largest.store(0, splat(LOWEST, c.lanes), c.lanes)
        with k.loop(steps) as i:
            largest.store(0, vmax(largest.load(0, c.lanes), line.load(i * c.lanes, c.lanes)), c.lanes)
        top = k.let(splat(horizontal(k, largest.load(0, c.lanes), c.lanes, tirx.max), c.lanes))
        # A lane of the tail adds e^-87 at most, nothing beside the largest value's 1.
        total = k.registers(c.lanes)
        total.store(0, splat(0.0, c.lanes), c.lanes)
        with k.loop(steps) as i:
            value = exp(k, line.load(i * c.lanes, c.lanes) - top, c.lanes)
            line.store(i * c.lanes, value, c.lanes)
            total.store(0, total.load(0, c.lanes) + value, c.lanes)
        return k.let(splat(1.0, c.lanes) / splat(horizontal(k, total.load(0, c.lanes), c.lanes, operator.add), c.lanes))


def lower_global_pool(c: GlobalPoolConfig, symbol: str) -> PrimFunc:
    """The mean, the largest value or the sum of each channel's plane; a unit is a channel block."""
    k = KernelBuilder()
    source = k.operand("source", c.channel_blocks * c.pixels * c.block, ELEMENTS[c.element])
    result = k.operand("result", c.channel_blocks * c.block)
    with k.units() as plane:
        start = k.let(plane * (c.pixels * c.block))
        for v in range(c.block // c.lanes):
            value = _pool_plane(k, c, source, start, v * c.lanes)
            if c.mode == "avg":
                value = k.let(value * splat(share_of(k, c.pixels), c.lanes))
            result.store(plane * c.block + v * c.lanes, value, c.lanes)
    return k.finish(symbol)


def _pool_plane(k: KernelBuilder, c: GlobalPoolConfig, source: Buffer, start: Expr, offset: int) -> Expr:
    """The sum or maximum over all pixels of a vector of channels."""
    combine: Callable[[Expr, Expr], Expr] = nan_max if c.mode == "max" else operator.add
    places = [a * c.lanes for a in range(ACCUMULATORS)]
    acc = k.registers(ACCUMULATORS * c.lanes)
    for place in places:
        acc.store(place, splat(LOWEST if c.mode == "max" else 0.0, c.lanes), c.lanes)
    whole = c.pixels // ACCUMULATORS
    with k.loop(whole) as i:
        for a, place in enumerate(places):
            value = source.load(start + (i * ACCUMULATORS + a) * c.block + offset, c.lanes)
            acc.store(place, combine(acc.load(place, c.lanes), value), c.lanes)
    rest = c.pixels - whole * ACCUMULATORS
    for a in range(most_of(rest)):
        with k.when(k.number(rest) > a) if least_of(rest) <= a else nullcontext():
            value = source.load(start + (whole * ACCUMULATORS + a) * c.block + offset, c.lanes)
            acc.store(places[a], combine(acc.load(places[a], c.lanes), value), c.lanes)
    parts = [acc.load(place, c.lanes) for place in places]
    return k.let(combine(combine(parts[0], parts[1]), combine(parts[2], parts[3])))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "lrn": lower_lrn,
    "softmax": lower_softmax,
    "global_pool": lower_global_pool,
}
"""Family of a kernel -> its lowering."""
