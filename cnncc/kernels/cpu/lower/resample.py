"""The resampling kernel: crop, pad and upsampling by nearest pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim
from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.resample import ResampleConfig
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, filled


def lower(config: ResampleConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one output row of one channel block."""
    return _Resample(config).build(symbol)


class _Resample:
    def __init__(self, config: ResampleConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.kind = kind = ELEMENTS[c.element]
        self.source = k.operand("source", c.channel_blocks * c.block * c.in_size[0] * c.in_size[1], kind)
        self.result = k.operand("result", c.channel_blocks * c.block * c.out_size[0] * c.out_size[1], kind)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        height, width = c.out_size
        with k.units() as u:
            plane, y = k.let(u // height), k.let(u % height)
            if c.mode == "nearest" and isinstance(width, Dim):
                self.repeated(plane, y, u)
            else:
                self.row(plane, y, u)
        return k.finish(symbol)

    def row(self, plane: Expr, y: Expr, unit: Expr) -> None:
        """Each pixel of a row by itself."""
        k, c = self.k, self.c
        with k.loop(c.out_size[1]) as x:
            at = k.let((unit * c.out_size[1] + x) * c.block)
            for v in range(c.block // c.lanes):
                self.result.store(at + v * c.lanes, self.pixel(plane, y, x, v), c.lanes)

    def repeated(self, plane: Expr, y: Expr, unit: Expr) -> None:
        """A row of pixels that come several times each. LLVM sees that they are the same only where the width is a
        number."""
        k, c = self.k, self.c
        row, times = self.origin(0, y), c.scale[1]
        with k.loop(c.in_size[1]) as x:
            at = k.let((unit * c.out_size[1] + x * times) * c.block)
            for v in range(c.block // c.lanes):
                value = k.let(self.load(plane, row, x, v))
                for i in range(times):
                    self.result.store(at + (i * c.block + v * c.lanes), value, c.lanes)

    def load(self, plane: Expr, y: Expr, x: Expr, v: int) -> Expr:
        c = self.c
        index = ((plane * c.in_size[0] + y) * c.in_size[1] + x) * c.block + v * c.lanes
        return self.source.load(index, c.lanes)

    def pixel(self, plane: Expr, y: Expr, x: Expr, v: int) -> Expr:
        """The value of an output pixel that comes from one input pixel, or from none."""
        k, c = self.k, self.c
        if c.mode != "constant":
            return self.load(plane, self.origin(0, y), self.origin(1, x), v)
        iy, ix = k.let(y - c.offset[0]), k.let(x - c.offset[1])
        inside = tirx.all(iy >= 0, iy < c.in_size[0], ix >= 0, ix < c.in_size[1])
        local = k.registers(c.lanes, self.kind)
        local.store(0, filled(c.value, c.lanes, self.kind), c.lanes)
        with k.when(inside):
            local.store(0, self.load(plane, iy, ix, v), c.lanes)
        return local.load(0, c.lanes)

    def origin(self, axis: int, at: Expr) -> Expr:
        """The input index an output index comes from."""
        k, c = self.k, self.c
        last = c.in_size[axis] - 1
        if c.mode == "nearest":
            return k.let(at // c.scale[axis])
        if c.mode == "crop":
            return k.let(at + c.offset[axis])
        if c.mode == "wrap":
            size = last + 1
            back = -c.offset[axis] % size if isinstance(size, int) else k.number(size) - c.offset[axis] % k.number(size)
            return k.let((at + back) % size)
        inner = k.let(at - c.offset[axis])
        if c.mode == "edge":
            return k.let(vmin(vmax(inner, 0), last))
        folded = k.let(tirx.max(inner, 0 - inner))
        return k.let(vmin(folded, 2 * last - folded))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"resample": lower}
"""Family of a kernel -> its lowering."""
