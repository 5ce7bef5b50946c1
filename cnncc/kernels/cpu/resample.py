"""The resampling kernel: crop, pad, nearest and bilinear upsampling."""

from __future__ import annotations

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Expr, KernelBuilder, splat
from cnncc.kernels.cpu.vectors import vmax, vmin
from cnncc.kernels.resample import ResampleConfig


def lower(config: ResampleConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one output row of one channel block."""
    return _Resample(config).build(symbol)


class _Resample:
    def __init__(self, config: ResampleConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.source = k.operand("source", c.channel_blocks * c.block * c.in_size[0] * c.in_size[1])
        self.result = k.operand("result", c.channel_blocks * c.block * c.out_size[0] * c.out_size[1])

    def build(self, symbol: str) -> PrimFunc:
        self.k.units(self.unit)
        return self.k.finish(symbol)

    def unit(self, unit: Expr) -> None:
        k, c = self.k, self.c
        height, width = c.out_size
        plane, y = k.let(unit // height), k.let(unit % height)
        row = self.bilinear_row(plane, y) if c.mode == "bilinear" else None

        def pixel(x: Expr) -> None:
            at = k.let((unit * width + x) * c.block)
            for v in range(c.block // c.lanes):
                value = self.pixel(plane, y, x, v) if row is None else row(x, v)
                self.result.store(at + v * c.lanes, value, c.lanes)

        k.loop(width, pixel)

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
        local = k.registers(c.lanes)
        local.store(0, splat(c.value, c.lanes), c.lanes)
        k.when(inside, lambda: local.store(0, self.load(plane, iy, ix, v), c.lanes))
        return local.load(0, c.lanes)

    def origin(self, axis: int, at: Expr) -> Expr:
        """The input index an output index comes from."""
        k, c = self.k, self.c
        last = c.in_size[axis] - 1
        if c.mode == "nearest":
            return k.let(at // c.scale[axis])
        if c.mode == "crop":
            return k.let(at + c.offset[axis])
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

    def bilinear_row(self, plane: Expr, y: Expr) -> Expr:
        k, c = self.k, self.c
        top, bottom, down = self.position(0, y)

        def value(x: Expr, v: int) -> Expr:
            left, right, across = self.position(1, x)
            share = splat(across, c.lanes)
            rows = []
            for iy in (top, bottom):
                a, b = k.let(self.load(plane, iy, left, v)), self.load(plane, iy, right, v)
                rows.append(k.let(a + (b - a) * share))
            return rows[0] + (rows[1] - rows[0]) * splat(down, c.lanes)

        return value
