"""LRN, softmax and global pooling kernels."""

from __future__ import annotations

from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.channels import GlobalPoolConfig, LrnConfig, SoftmaxConfig
from cnncc.kernels.cpu.conv_direct import copy_floats
from cnncc.kernels.cpu.vectors import exp, horizontal, power, vmax
from cnncc.kernels.cpu.window import LOWEST
from cnncc.kernels.spec import blocks

ACCUMULATORS = 4
"""Independent sums of global pooling, to hide the latency of an add."""


def lower_lrn(c: LrnConfig, symbol: str) -> PrimFunc:
    """x / (k + alpha / n * sum of squares of n neighbouring channels)^beta."""
    k = KernelBuilder()
    planes, pixels = blocks(c.channels, c.block), c.size[0] * c.size[1]
    source = k.operand("source", planes * pixels * c.block)
    result = k.operand("result", planes * pixels * c.block)
    line = k.scratch(c.line)
    margin = (c.line - planes * c.block) // 2
    below = (c.window - 1) // 2

    def normalise(plane: Expr, at: Expr, v: int) -> None:
        total = splat(0.0, c.lanes)
        for d in range(c.window):
            total = total + line.load(plane * c.block + (margin - below + d + v * c.lanes), c.lanes)
        base = k.let(splat(c.k, c.lanes) + total * splat(c.alpha / c.window, c.lanes))
        value = source.load(at + v * c.lanes, c.lanes) * power(k, base, -c.beta, c.lanes)
        result.store(at + v * c.lanes, value, c.lanes)

    def pixel(at: Expr) -> None:
        copy_floats(k, None, 0, line, 0, margin)

        def square(plane: Expr) -> None:
            for v in range(c.block // c.lanes):
                x = k.let(source.load((plane * pixels + at) * c.block + v * c.lanes, c.lanes))
                line.store(plane * c.block + (margin + v * c.lanes), x * x, c.lanes)

        k.loop(planes, square)
        # Lanes beyond the channels hold anything; neighbours must see zeros there.
        copy_floats(k, None, 0, line, margin + c.channels, c.line - margin - c.channels)

        def block(plane: Expr) -> None:
            here = k.let((plane * pixels + at) * c.block)
            for v in range(c.block // c.lanes):
                normalise(plane, here, v)

        k.loop(planes, block)

    k.units(lambda y: k.loop(c.size[1], lambda x: pixel(k.let(y * c.size[1] + x))))
    return k.finish(symbol)


def lower_softmax(c: SoftmaxConfig, symbol: str) -> PrimFunc:
    """e^(x - max) / sum, a pixel at a time, through a line of scratch whose tail is the lowest number."""
    k = KernelBuilder()
    stored = c.channels if c.block == 1 else blocks(c.channels, c.block) * c.block
    planes = stored // c.block if c.block > 1 else 1
    width = c.block if c.block > 1 else c.channels
    source, result = k.operand("source", stored * c.pixels), k.operand("result", stored * c.pixels)
    line, steps = k.scratch(c.line), c.line // c.lanes

    def reduce(start: float, combine: Expr) -> Expr:
        acc = k.registers(c.lanes)
        acc.store(0, splat(start, c.lanes), c.lanes)
        k.loop(steps, lambda i: acc.store(0, combine(i, acc.load(0, c.lanes)), c.lanes))
        return acc.load(0, c.lanes)

    def move(read: Buffer, write: Buffer, pixel: Expr, into_line: bool) -> None:
        """One pixel's channels between the image and the line; a vector's are contiguous either way."""

        def plane(p: Expr) -> None:
            at, spot = k.let((p * c.pixels + pixel) * width), k.let(p * width)
            copy_floats(k, read, at if into_line else spot, write, spot if into_line else at, width)

        k.loop(planes, plane)

    def pixel(at: Expr) -> None:
        move(source, line, at, True)
        copy_floats(k, None, 0, line, c.channels, c.line - c.channels, LOWEST)
        largest = horizontal(k, reduce(LOWEST, lambda i, a: vmax(a, line.load(i * c.lanes, c.lanes))), c.lanes, vmax)
        top = k.let(splat(largest, c.lanes))

        def power_of(i: Expr, total: Expr) -> Expr:
            value = exp(k, line.load(i * c.lanes, c.lanes) - top, c.lanes)
            line.store(i * c.lanes, value, c.lanes)
            return total + value

        # A lane of the tail adds e^-87 at most, nothing beside the largest value's 1.
        acc = k.registers(c.lanes)
        acc.store(0, splat(0.0, c.lanes), c.lanes)
        k.loop(steps, lambda i: acc.store(0, power_of(i, acc.load(0, c.lanes)), c.lanes))
        total = horizontal(k, acc.load(0, c.lanes), c.lanes, lambda a, b: a + b)
        scale = k.let(splat(1.0, c.lanes) / splat(total, c.lanes))
        k.loop(steps, lambda i: line.store(i * c.lanes, line.load(i * c.lanes, c.lanes) * scale, c.lanes))
        move(line, result, at, False)

    def unit(u: Expr) -> None:
        def one(i: Expr) -> None:
            at = k.let(u * c.per_unit + i)
            if c.pixels % c.per_unit:
                k.when(at < c.pixels, lambda: pixel(at))
            else:
                pixel(at)

        k.loop(c.per_unit, one)

    k.units(unit)
    return k.finish(symbol)


def lower_global_pool(c: GlobalPoolConfig, symbol: str) -> PrimFunc:
    """The mean or the largest value of each channel's plane."""
    k = KernelBuilder()
    source = k.operand("source", c.channel_blocks * c.pixels * c.block)
    result = k.operand("result", c.channel_blocks * c.block)
    start = LOWEST if c.mode == "max" else 0.0

    def combine(a: Expr, b: Expr) -> Expr:
        return vmax(a, b) if c.mode == "max" else a + b

    def plane(p: Expr) -> None:
        at = k.let(p * (c.pixels * c.block))
        for v in range(c.block // c.lanes):
            acc = k.registers(ACCUMULATORS * c.lanes)
            for a in range(ACCUMULATORS):
                acc.store(a * c.lanes, splat(start, c.lanes), c.lanes)

            def add(a: int, index: Expr, acc: Buffer = acc) -> None:
                acc.store(a * c.lanes, combine(acc.load(a * c.lanes, c.lanes), source.load(index, c.lanes)), c.lanes)

            def several(i: Expr, v: int = v, add: Expr = add) -> None:
                for a in range(ACCUMULATORS):
                    add(a, at + (i * ACCUMULATORS + a) * c.block + v * c.lanes)

            whole = c.pixels // ACCUMULATORS
            k.loop(whole, several)
            for a in range(c.pixels - whole * ACCUMULATORS):
                add(a, at + (whole * ACCUMULATORS + a) * c.block + v * c.lanes)
            parts = [acc.load(a * c.lanes, c.lanes) for a in range(ACCUMULATORS)]
            value = k.let(combine(combine(parts[0], parts[1]), combine(parts[2], parts[3])))
            if c.mode == "avg":
                value = k.let(value * splat(1.0 / c.pixels, c.lanes))
            result.store(p * c.block + v * c.lanes, value, c.lanes)

    k.units(plane)
    return k.finish(symbol)
