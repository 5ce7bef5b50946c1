"""The copy kernel: whole blocks where layouts agree, channel by channel where they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.copy import CopyConfig
from cnncc.kernels.cpu.lower.moves import copy_numbers
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled


def lower(c: CopyConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a channel, or a block of them."""
    k = KernelBuilder()
    kind = ELEMENTS[c.element]
    source = k.operand("source", c.from_channels * c.pixels, kind)
    result = k.operand("result", c.to_channels * c.pixels, kind)
    with k.units() as u:
        if c.whole_blocks:
            size = c.from_block * c.pixels
            at, to = k.let((u + c.from_channel // c.from_block) * size), k.let((u + c.to_channel // c.to_block) * size)
            copy_numbers(k, source, at, result, to, size)
        else:
            to = _address(k, c, k.let(u + c.to_channel), c.to_block)
            if c.zeros:
                with k.when(u < c.channels):
                    _move(k, c, source, result, u, to)
                with k.otherwise(), k.loop(c.pixels) as p:
                    result.store(to + p * c.to_block, filled(0, 1, kind))
            else:
                _move(k, c, source, result, u, to)
    return k.finish(symbol)


def _address(k: KernelBuilder, c: CopyConfig, channel: Expr, block: int) -> Expr:
    """Index of a channel's first pixel in an image of such blocks."""
    return k.let((channel // block * c.pixels) * block + channel % block)


def _move(k: KernelBuilder, c: CopyConfig, source: Buffer, result: Buffer, unit: Expr, to: Expr) -> None:
    """Copies one channel."""
    at = _address(k, c, k.let(unit + c.from_channel), c.from_block)
    if c.from_block == c.to_block == 1:
        copy_numbers(k, source, at, result, to, c.pixels)
    else:
        with k.loop(c.pixels) as p:
            result.store(to + p * c.to_block, source.load(at + p * c.from_block))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"copy": lower}
"""Family of a kernel -> its lowering."""
