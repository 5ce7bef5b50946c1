"""The resampling kernel: crop, pad, nearest and bilinear upsampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.resample import ResampleConfig
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, filled, splat


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
            between = self.position(0, y) if c.mode == "bilinear" else None
            with k.loop(width) as x:
                at = k.let((u * width + x) * c.block)
                for v in range(c.block // c.lanes):
                    value = self.pixel(plane, y, x, v) if between is None else self.blend(plane, between, x, v)
                    self.result.store(at + v * c.lanes, value, c.lanes)
        return k.finish(symbol)

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
            return k.let((at + -c.offset[axis] % (last + 1)) % (last + 1))
        inner = k.let(at - c.offset[axis])
        if c.mode == "edge":
            return k.let(vmin(vmax(inner, 0), last))
        folded = k.let(tirx.max(inner, 0 - inner))
        return k.let(vmin(folded, 2 * last - folded))

    def position(self, axis: int, at: Expr) -> tuple[Expr, Expr, Expr]:
        """Bilinear: the two input indices and the share of the second (half-pixel centres, or corners aligned)."""
        k, c = self.k, self.c
        size, out = c.in_size[axis], c.out_size[axis]
        f = tirx.Cast("float32", at)
        if c.align_corners:
            where = f * tirx.FloatImm("float32", (size - 1) / (out - 1) if out > 1 else 0.0)
        else:
            half = tirx.FloatImm("float32", 0.5)
            scale = tirx.FloatImm("float32", 1.0 / c.scale[axis])
            where = tirx.max((f + half) * scale - half, tirx.FloatImm("float32", 0.0))
        where = k.let(where)
        low = k.let(vmin(tirx.Cast("int32", where), size - 1))
        return low, k.let(vmin(low + 1, size - 1)), k.let(where - tirx.Cast("float32", low))

    def blend(self, plane: Expr, between: tuple[Expr, Expr, Expr], x: Expr, v: int) -> Expr:
        """The value of an output pixel whose row lies between two input rows; `between` is its `position`."""
        k, c = self.k, self.c
        top, bottom, down = between
        left, right, across = self.position(1, x)
        share = splat(across, c.lanes)
        rows = []
        for iy in (top, bottom):
            a, b = k.let(self.load(plane, iy, left, v)), self.load(plane, iy, right, v)
            rows.append(k.let(a + (b - a) * share))
        return rows[0] + (rows[1] - rows[0]) * splat(down, c.lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"resample": lower}
"""Family of a kernel -> its lowering."""
