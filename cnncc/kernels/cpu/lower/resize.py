"""The resizing kernel: a weighted sum of taps, columns within rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.moves import copy_numbers
from cnncc.kernels.cpu.resize import ResizeConfig
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat


def lower(c: ResizeConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one output row of one channel block."""
    k, kind = KernelBuilder(), ELEMENTS[c.element]
    source = k.operand("source", c.channel_blocks * math.prod(c.in_size) * c.block, kind)
    tables = [
        k.operand(f"{axis}_{kind}", c.out_size[i] * c.taps[i])
        for i, axis in enumerate(("rows", "columns"))
        for kind in ("from", "share")
    ]
    result = k.operand("result", c.channel_blocks * math.prod(c.out_size) * c.block, kind)
    if kind.whole:
        _move(k, c, source, tables, result)
        return k.finish(symbol)
    height, width = c.out_size
    with k.units() as u:
        plane, y = k.let((u // height) * c.in_size[0]), k.let(u % height)
        acc = k.registers(c.block)
        with k.loop(width) as x:
            for v in range(0, c.block, c.lanes):
                acc.store(v, splat(0.0, c.lanes), c.lanes)
            with k.loop(c.taps[0]) as i:
                row, down = _tap(k, tables[:2], k.let(y * c.taps[0] + i))
                with k.loop(c.taps[1]) as j:
                    column, across = _tap(k, tables[2:], k.let(x * c.taps[1] + j))
                    at = k.let(((plane + row) * c.in_size[1] + column) * c.block)
                    share = splat(k.let(down * across), c.lanes)
                    for v in range(0, c.block, c.lanes):
                        value = acc.load(v, c.lanes) + source.load(at + v, c.lanes) * share
                        acc.store(v, value, c.lanes)
            for v in range(0, c.block, c.lanes):
                result.store((u * width + x) * c.block + v, acc.load(v, c.lanes), c.lanes)
    return k.finish(symbol)


def _move(k: KernelBuilder, c: ResizeConfig, source: Buffer, tables: list[Buffer], result: Buffer) -> None:
    """Each pixel as the one pixel of the image that it is."""
    height, width = c.out_size
    with k.units() as u:
        plane, y = k.let((u // height) * c.in_size[0]), k.let(u % height)
        row, _ = _tap(k, tables[:2], y)
        with k.loop(width) as x:
            column, _ = _tap(k, tables[2:], x)
            at = k.let(((plane + row) * c.in_size[1] + column) * c.block)
            copy_numbers(k, source, at, result, k.let((u * width + x) * c.block), c.block)


def _tap(k: KernelBuilder, table: list[Buffer], at: Expr) -> tuple[Expr, Expr]:
    """Index and share of a tap."""
    index, share = table
    return k.let(tirx.Cast("int32", index.load(at))), k.let(share.load(at))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"resize": lower}
"""Family of a kernel -> its lowering."""
