"""The copy kernel: whole blocks where layouts agree, channel by channel where they do not."""

from __future__ import annotations

from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Expr, KernelBuilder, splat
from cnncc.kernels.copy import CopyConfig
from cnncc.kernels.cpu.conv_direct import copy_floats


def lower(c: CopyConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a channel, or a block of them."""
    k = KernelBuilder()
    source = k.operand("source", c.from_channels * c.pixels)
    result = k.operand("result", c.to_channels * c.pixels)

    def block(u: Expr) -> None:
        size = c.from_block * c.pixels
        at, to = k.let((u + c.from_channel // c.from_block) * size), k.let((u + c.to_channel // c.to_block) * size)
        copy_floats(k, source, at, result, to, size)

    def address(channel: Expr, width: int) -> Expr:
        return k.let((channel // width * c.pixels) * width + channel % width)

    def channel(u: Expr) -> None:
        to = address(k.let(u + c.to_channel), c.to_block)

        def move() -> None:
            at = address(k.let(u + c.from_channel), c.from_block)
            if c.from_block == c.to_block == 1:
                copy_floats(k, source, at, result, to, c.pixels)
            else:
                k.loop(c.pixels, lambda p: result.store(to + p * c.to_block, source.load(at + p * c.from_block)))

        def clear() -> None:
            k.loop(c.pixels, lambda p: result.store(to + p * c.to_block, splat(0.0, 1)))

        if c.zeros:
            k.when(u < c.channels, move, clear)
        else:
            move()

    k.units(block if c.whole_blocks else channel)
    return k.finish(symbol)

