"""Depthwise convolution and pools: a thread slides down one column of pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import BYTES, INT8, INT32
from cnncc.kernels.gpu.lower.builder import (
    CudaBuilder,
    divmod_,
    exact_images,
    exact_vector,
    load_vector,
    store_exact,
    store_vector,
)
from cnncc.kernels.gpu.lower.byte_results import ByteResults
from cnncc.kernels.gpu.lower.epilogue import finished
from cnncc.kernels.gpu.spec import VECTOR, grid_of
from cnncc.kernels.gpu.window import GpuWindowConfig
from cnncc.kernels.shared.arithmetic import LOWEST, nan_max, vmin
from cnncc.kernels.shared.builder import Expr, i32, splat
from cnncc.kernels.shared.byte_steps import ZERO_IN


def lower(config: GpuWindowConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return _Window(config).build(symbol)


class _Window:
    def __init__(self, config: GpuWindowConfig) -> None:
        self.c = c = config
        self.k = k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
        self.source = exact_images(k, "image", c.source, c.batch)
        self.whole = c.source.element == INT32  # only the largest of them is asked for
        self.lanes = lanes = c.result.block
        taps, deep = c.kernel[0] * c.kernel[1], c.mode == "depthwise"
        on_bytes = deep and c.source.element in BYTES
        stored = INT8 if on_bytes else c.source.element
        self.weights = k.operand("weights", c.result.blocks * taps * lanes, stored) if deep else None
        self.bytes = ByteResults(k, c.result, c.result.blocks * lanes) if on_bytes else None
        self.bias = k.operand("bias", c.result.blocks * lanes) if c.bias and not on_bytes else None
        added = replace(c.result, element=c.added or c.result.element)
        self.extras = [k.images(f"extra{i}", added, c.batch) for i in range(len(c.extras))]
        self.result = exact_images(k, "result", c.result, c.batch)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.each(c.total) as index:
            rest, self.x = divmod_(k, index, c.result.width)
            rest, strip = divmod_(k, rest, c.strips)
            self.image: Expr
            self.block: Expr
            self.image, self.block = (0, rest) if c.batch == 1 else divmod_(k, rest, c.result.blocks)
            self.first = k.let(strip * c.strip)
            self.base = k.let(self.image * (c.source.stride // self.lanes) + self.block * c.source.pixels)
            self.left = k.let(self.x * c.stride[1] - c.pad[1])
            self.sums = k.local(c.strip * self.lanes, "int32" if self.whole else "float32")
            least: Any = i32(int(INT32.least)) if self.whole else splat(LOWEST if c.mode == "max" else 0.0, 1)
            with k.unrolled(c.strip * self.lanes) as i:
                self.sums.store(i, least)
            self.slide()
            for i in range(c.strip):
                y = k.let(self.first + i)
                with k.unless_certain(y < c.result.height if c.result.height % c.strip else None):
                    self.write(i, y)
        return k.finish(symbol)

    def slide(self) -> None:
        """Every input row that any output row of the strip needs, once."""
        k, c = self.k, self.c
        top = k.let(self.first * c.stride[0] - c.pad[0])
        needed: dict[int, list[tuple[int, int]]] = {}
        for i in range(c.strip):
            for tap in range(c.kernel[0]):
                needed.setdefault(i * c.stride[0] + tap * c.dilation[0], []).append((i, tap))
        for row, uses in sorted(needed.items()):
            y = k.let(top + row)
            last = (c.strips * c.strip - 1) * c.stride[0] + (c.kernel[0] - 1) * c.dilation[0] - c.pad[0]
            low = y >= 0 if c.pad[0] > row else None
            with k.unless_certain(low, y < c.source.height if last >= c.source.height else None):
                self.along(y, uses)

    def along(self, y: Expr, uses: list[tuple[int, int]]) -> None:
        """The taps of one input row."""
        k, c = self.k, self.c
        last = (c.result.width - 1) * c.stride[1] + (c.kernel[1] - 1) * c.dilation[1] - c.pad[1]
        with k.unrolled(c.kernel[1]) as tap:
            x = k.let(self.left + tap * c.dilation[1])
            with k.unless_certain(x >= 0 if c.pad[1] else None, x < c.source.width if last >= c.source.width else None):
                at = self.base + y * c.source.width + x
                values = self.loaded(at)
                for i, row in uses:
                    self.take(values, i, row * c.kernel[1] + tap)

    def loaded(self, at: Expr) -> list[Expr]:
        """The numbers of a pixel: float32, or int32 as such."""
        if self.whole:
            return exact_vector(self.k, self.source, at, self.lanes)
        values = load_vector(self.k, self.source, at, self.lanes)
        if not self.bytes:
            return [values.load(lane) for lane in range(self.lanes)]
        zero = tirx.Cast("float32", self.bytes.step(ZERO_IN))
        return [self.k.let(values.load(lane) - zero) for lane in range(self.lanes)]

    def take(self, values: list[Expr], row: int, tap: Expr) -> None:
        """One input vector into the sums (or maxima) of one output row."""
        k, c = self.k, self.c
        weights = None
        if self.weights is not None:
            at = self.block * (c.kernel[0] * c.kernel[1]) + tap
            weights = load_vector(k, self.weights, at, self.lanes)
        for lane in range(self.lanes):
            at = row * self.lanes + lane
            before, value = self.sums.load(at), values[lane]
            if weights is not None:
                self.sums.store(at, before + value * weights.load(lane))
            else:
                self.sums.store(at, self.larger(value, before) if c.mode == "max" else before + value)

    def larger(self, value: Expr, before: Expr) -> Expr:
        return tirx.max(value, before) if self.whole else nan_max(value, before)

    def write(self, row: int, y: Expr) -> None:
        k, c = self.k, self.c
        values = [self.sums.load(row * self.lanes + lane) for lane in range(self.lanes)]
        if c.mode == "avg":
            share = k.let(splat(1.0, 1) / tirx.Cast("float32", self.count(y)))
            values = [k.let(v * share) for v in values]
        if self.bytes:
            extras = list(zip(self.extras, c.extras, strict=True))
            for part in range(self.lanes // VECTOR):
                sums = [tirx.Cast("int32", value) for value in values[part * VECTOR : (part + 1) * VECTOR]]
                four = k.let(self.block * (self.lanes // VECTOR) + part)
                self.bytes.store(self.result, extras, sums, four, (self.image, y * c.result.width + self.x))
            return
        at = k.let(self.block * c.result.pixels + y * c.result.width + self.x)
        places = [self.image * (stride // self.lanes) + at for stride in c.extras]
        extras = list(zip(self.extras, places, strict=True))
        finals = finished(k, values, self.bias, self.block, extras, c.epilogue)
        store = store_exact if self.whole else store_vector
        store(k, self.result, self.image * (c.result.stride // self.lanes) + at, finals)

    def count(self, y: Expr) -> Expr:
        """Positions that an average counts: see the reference, `cnncc.ops.pool.divisors`."""
        c = self.c
        sizes, positions = (c.source.height, c.source.width), (y, self.x)
        counted: Expr = 1
        for axis in (0, 1):
            before, after = c.pad[axis], c.pad[axis + 2]
            padded = sizes[axis] + before + after
            low, high = (0, padded) if c.count_include_pad else (before, before + sizes[axis])
            begin = positions[axis] * c.stride[axis]
            end = vmin(begin + c.kernel[axis], i32(high))
            counted = counted * (end - tirx.max(begin, i32(low)))
        return self.k.let(counted)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"window": lower}
"""Family of a kernel -> its lowering."""
