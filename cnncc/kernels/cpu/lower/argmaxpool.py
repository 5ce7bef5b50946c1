"""The kernel for the places of the largest values of windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.window import ArgmaxConfig
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat


def lower(c: ArgmaxConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one output row of one channel block."""
    k = KernelBuilder()
    height, width = c.in_size
    source = k.operand("source", c.channel_blocks * math.prod(c.in_size) * c.block)
    result = k.operand("result", c.channel_blocks * math.prod(c.out_size) * c.block)
    best, place = k.registers(c.lanes), k.registers(c.lanes)
    with k.units() as u:
        plane, y = k.let(u // c.out_size[0] * height), k.let(u % c.out_size[0])
        with k.loop(c.out_size[1]) as x:
            for v in range(0, c.block, c.lanes):
                best.store(0, splat(0.0, c.lanes), c.lanes)
                place.store(0, splat(-1.0, c.lanes), c.lanes)
                with k.loop(c.kernel[0]) as i, k.loop(c.kernel[1]) as j:
                    row = k.let(y * c.stride[0] + i * c.dilation[0] - c.pad[0])
                    column = k.let(x * c.stride[1] + j * c.dilation[1] - c.pad[1])
                    with k.when(tirx.all(row >= 0, row < height, column >= 0, column < width)):
                        at = k.let(row * width + column)
                        value = k.let(source.load((plane * width + at) * c.block + v, c.lanes))
                        here = k.let(splat(tirx.Cast("float32", at), c.lanes))
                        none, old = place.load(0, c.lanes) < splat(0.0, c.lanes), best.load(0, c.lanes)
                        larger = k.let(tirx.Select(value > old, here, place.load(0, c.lanes)))
                        largest = k.let(tirx.Select(value > old, value, old))
                        now_at, now = k.let(tirx.Select(none, here, larger)), k.let(tirx.Select(none, value, largest))
                        best.store(0, now, c.lanes)
                        place.store(0, now_at, c.lanes)
                to: Expr = (u * c.out_size[1] + x) * c.block + v
                result.store(to, place.load(0, c.lanes), c.lanes)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"argmaxpool": lower}
"""Family of a kernel -> its lowering."""
