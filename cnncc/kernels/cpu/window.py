"""The sliding-window kernel: depthwise convolution, max and average pooling, one channel per lane."""

from __future__ import annotations

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.cpu.conv_direct import gather_rows
from cnncc.kernels.cpu.vectors import apply_epilogue, vmax, vmin
from cnncc.kernels.tiles import even_tiles
from cnncc.kernels.window import WindowConfig

LOWEST = -3.4028234663852886e38
"""The most negative float32: padding never wins a maximum."""


def lower(config: WindowConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is some rows of one channel block."""
    return _Window(config).build(symbol)


class _Window:
    def __init__(self, config: WindowConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        channels = c.channel_blocks * c.block
        outputs = channels * c.out_size[0] * c.out_size[1]
        self.image = k.operand("image", channels * c.in_size[0] * c.in_size[1])
        self.weight = k.operand("weight", channels * c.kernel[0] * c.kernel[1]) if c.mode == "depthwise" else None
        self.bias = k.operand("bias", channels) if c.bias else None
        adds = sum(name == "add" for name, _ in c.epilogue)
        self.extras = [k.operand(f"extra{i}", outputs) for i in range(adds)]
        self.result = k.operand("result", outputs)
        self.window = k.scratch(c.scratch_floats) if c.gathers else None

    def build(self, symbol: str) -> PrimFunc:
        self.k.units(self.unit)
        return self.k.finish(symbol)

    def unit(self, unit: Expr) -> None:
        k, c = self.k, self.c
        plane, top = k.let(unit // c.row_units), k.let((unit % c.row_units) * c.rows)
        if self.window is not None:
            outside = LOWEST if c.mode == "max" else 0.0
            first = k.let(top * c.stride[0] - c.pad[0])
            gather_rows(k, self.image, self.window, plane, 1, c.block, c.in_size, c.window, first, -c.pad[1], outside)

        def row(y: Expr) -> None:
            for start, columns, count in even_tiles(c.out_size[1], c.columns):
                k.loop(count, lambda i, s=start, n=columns: self.pixels(plane, top, y, k.let(i * n + s), n))

        k.loop(k.let(vmin(c.rows, c.out_size[0] - top)), row)

    def pixels(self, plane: Expr, top: Expr, y: Expr, x: Expr, count: int) -> None:
        """`count` pixels of row top + y from column x."""
        k, c = self.k, self.c
        vectors = c.block // c.lanes
        acc = k.registers(count * c.block)
        for v in range(vectors):
            if self.bias is not None:
                start = k.let(self.bias.load(plane * c.block + v * c.lanes, c.lanes))
            else:
                start = splat(LOWEST if c.mode == "max" else 0.0, c.lanes)
            for p in range(count):
                acc.store(p * c.block + v * c.lanes, start, c.lanes)
        self.taps(acc, plane, top, y, x, count)
        at = k.let(((plane * c.out_size[0] + top + y) * c.out_size[1] + x) * c.block)
        for p in range(count):
            scale = self.scale(top + y, x + p)
            for v in range(vectors):
                value, index = acc.load(p * c.block + v * c.lanes, c.lanes), at + p * c.block + v * c.lanes
                if scale is not None:
                    value = k.let(value * splat(scale, c.lanes))
                extras = [lambda e=e, i=index: e.load(i, c.lanes) for e in self.extras]
                self.result.store(index, apply_epilogue(k, value, c.epilogue, extras, c.lanes), c.lanes)

    def taps(self, acc: Buffer, plane: Expr, top: Expr, y: Expr, x: Expr, count: int) -> None:
        """Every tap of the window on `count` pixels."""
        k, c = self.k, self.c
        source: Buffer
        if self.window is not None:
            source, width = self.window, c.window[1]
            base = k.let((y * c.stride[0] * width + x * c.stride[1]) * c.block)
        else:
            source, width = self.image, c.in_size[1]
            base = k.let(((plane * c.in_size[0] + (top + y) * c.stride[0]) * width + x * c.stride[1]) * c.block)

        def tap(i: Expr, j: Expr) -> None:
            at = k.let(base + (i * c.dilation[0] * width + j * c.dilation[1]) * c.block)
            for v in range(c.block // c.lanes):
                factor = None
                if self.weight is not None:
                    index = (plane * (c.kernel[0] * c.kernel[1]) + i * c.kernel[1] + j) * c.block + v * c.lanes
                    factor = k.let(self.weight.load(index, c.lanes))
                for p in range(count):
                    value = source.load(at + p * c.stride[1] * c.block + v * c.lanes, c.lanes)
                    slot = p * c.block + v * c.lanes
                    before = acc.load(slot, c.lanes)
                    acc.store(slot, self.combine(before, value, factor), c.lanes)

        if c.kernel[0] * c.kernel[1] <= 9:
            for i in range(c.kernel[0]):
                for j in range(c.kernel[1]):
                    tap(i, j)
        else:
            k.loop(c.kernel[0], lambda i: k.loop(c.kernel[1], lambda j: tap(i, j)))

    def combine(self, before: Expr, value: Expr, factor: Expr | None) -> Expr:
        if factor is not None:
            return before + value * factor
        return vmax(before, value) if self.c.mode == "max" else before + value

    def scale(self, y: Expr, x: Expr) -> Expr | None:
        """One over the number of values averaged; pixels of the padding are not counted unless asked for."""
        k, c = self.k, self.c
        if c.mode != "avg":
            return None
        whole = c.kernel[0] * c.kernel[1]
        sides = [self._inside(0, y), self._inside(1, x)]
        if all(isinstance(s, int) for s in sides):
            return 1.0 / whole
        return k.let(tirx.FloatImm("float32", 1.0) / tirx.Cast("float32", sides[0] * sides[1]))

    def _inside(self, axis: int, at: Expr) -> Expr:
        """Taps of the window along one axis that are counted."""
        c = self.c
        size, kernel, pad = c.in_size[axis], c.kernel[axis], c.pad[axis]
        reach = (c.out_size[axis] - 1) * c.stride[axis] + kernel
        if c.count_include_pad:
            # Ceil rounding may reach beyond even the padding; that is never counted.
            limit, low = size + pad + c.pad[axis + 2], 0
            if reach <= limit:
                return kernel
            start = at * c.stride[axis]
            return self.k.let(vmin(start + kernel, limit) - start + low)
        if pad == 0 and reach <= size:
            return kernel
        start = at * c.stride[axis] - pad
        return self.k.let(vmin(start + kernel, size) - vmax(start, 0))
