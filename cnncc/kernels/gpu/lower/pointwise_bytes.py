"""Sums, products, tables and averages of bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import BYTES
from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_, image_of, load_bytes, rounds, store_bytes
from cnncc.kernels.gpu.lower.exact import nearest_int, plus, times
from cnncc.kernels.gpu.pointwise_bytes import GpuByteMeanConfig, GpuBytesConfig
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Expr, i32, splat
from cnncc.kernels.shared.byte_steps import HIGH, LOW, SCALE_RESIDUAL, STEPS, ZERO, ZERO_IN, ZERO_RESIDUAL


def lower(config: GpuBytesConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    kinds: dict[str, type[_Pointwise]] = {"add": _Sum, "multiply": _Product, "table": _Table}
    return kinds[config.mode](config).build(symbol)


class _Pointwise(ABC):
    """A vector of bytes per thread."""

    def __init__(self, config: GpuBytesConfig) -> None:
        self.c = c = config
        self.total, self.lanes = c.batch * c.per_image, c.result.block
        self.k = k = CudaBuilder(grid_of(self.total, c.threads), c.threads)
        self.operands = [k.images(f"operand{i}", view, c.batch) for i, view in enumerate(c.operands)]
        self.declare()
        self.result = k.images("result", c.result, c.batch)

    @abstractmethod
    def declare(self) -> None:
        """What is read besides values."""

    def build(self, symbol: str) -> PrimFunc:
        k, c, lanes = self.k, self.c, self.lanes
        with k.each(self.total) as index:
            image, element = image_of(k, index, c.batch, c.per_image)
            values = load_bytes(k, self.operands[0], image * (c.operands[0].stride // lanes) + element, lanes)
            store_bytes(k, self.result, image * (c.result.stride // lanes) + element, self.made(values, image, element))
        return k.finish(symbol)

    @abstractmethod
    def made(self, values: list[Expr], image: Expr, element: Expr) -> list[Expr]:
        """The bytes of the result, of those of the first operand."""


class _Sum(_Pointwise):
    def declare(self) -> None:
        self.scale, self.steps = self.k.operand("scale", 1), self.k.typed("steps", STEPS, "int32")

    def made(self, values: list[Expr], image: Expr, element: Expr) -> list[Expr]:
        k, lanes, steps = self.k, self.lanes, self.steps
        others = load_bytes(k, self.operands[1], image * (self.c.operands[1].stride // lanes) + element, lanes)
        scale = tirx.reinterpret("float32", steps.load(SCALE_RESIDUAL))
        made = []
        for value, other in zip(values, others, strict=True):
            first = k.let(times(tirx.Cast("float32", value - steps.load(ZERO_IN)), self.scale.load(0)))
            second = k.let(times(tirx.Cast("float32", other - steps.load(ZERO_RESIDUAL)), scale))
            whole = k.let(nearest_int(plus(first, second)) + steps.load(ZERO))
            made.append(k.let(tirx.min(tirx.max(whole, steps.load(LOW)), steps.load(HIGH))))
        return made


class _Product(_Pointwise):
    def declare(self) -> None:
        self.steps = self.k.operand("steps", 5)

    def made(self, values: list[Expr], image: Expr, element: Expr) -> list[Expr]:
        k, lanes, factors = self.k, self.lanes, self.c.operands[1]
        ratio, zero_in, zero, low, high = (self.steps.load(i) for i in range(5))
        block, _ = divmod_(k, element, self.c.result.pixels)
        made = []
        for lane, value in enumerate(values):
            channel = vmin(block * lanes + lane, i32(factors.channels - 1))  # others only fill a vector up
            factor = k.let(times(self.operands[1].load(image * factors.stride + channel), ratio))
            number = k.let(times(tirx.Cast("float32", value) - zero_in, factor))
            inside = vmin(vmax(tirx.Select(number == number, number, splat(0.0, 1)), low), high)
            made.append(k.let(nearest_int(k.let(inside)) + tirx.Cast("int32", zero)))
        return made


class _Table(_Pointwise):
    def declare(self) -> None:
        self.table = self.k.typed("table", 256, "int8")

    def made(self, values: list[Expr], image: Expr, element: Expr) -> list[Expr]:
        return [tirx.Cast("int32", self.table.load(tirx.bitwise_and(value, i32(255)))) for value in values]


def lower_mean(c: GpuByteMeanConfig, symbol: str) -> PrimFunc:
    """Sums in registers over every so many pixels, which the block's threads then add up; they are integers, so in any
    order."""
    k, lanes = CudaBuilder(c.grid, c.threads), c.source.block
    source = k.images("image", c.source, c.batch)
    scale, steps = k.operand("scale", 1), k.typed("steps", STEPS, "int32")
    result = k.images("result", c.result, c.batch)
    shared, sums = k.shared(lanes * c.threads, "int32"), k.local(lanes, "int32")
    image, block = image_of(k, k.block(0), c.batch, c.source.blocks)
    with k.unrolled(lanes) as lane:
        sums.store(lane, i32(0))
    first = k.let(image * (c.source.stride // lanes) + block * c.source.pixels)
    with rounds(k, c.source.pixels, k.thread, c.threads) as pixel:
        for lane, value in enumerate(load_bytes(k, source, k.let(first + pixel), lanes)):
            sums.store(lane, sums.load(lane) + value)
    for lane in range(lanes):
        shared.store(lane * c.threads + k.thread, sums.load(lane))
    k.fold(shared, lanes, lambda a, b: a + b)
    stored = c.result.blocks * c.result.block
    channel = k.let(block * lanes + k.thread)
    with k.unless_certain(k.thread < lanes, channel < stored if c.source.blocks * lanes > stored else None):
        total = k.let(shared.load(k.thread * c.threads) - steps.load(ZERO_IN) * c.source.pixels)
        value = k.let(times(tirx.Cast("float32", total), scale.load(0)))
        to = image * c.result.stride + channel
        if c.result.element in BYTES:
            whole = k.let(nearest_int(value) + steps.load(ZERO))
            bounded = tirx.min(tirx.max(whole, steps.load(LOW)), steps.load(HIGH))
            result.put(to, tirx.Cast(c.result.element.tir, bounded))
        else:
            result.put(to, value)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"bytes": lower, "byte_mean": lower_mean}
"""Family of a kernel -> its lowering."""
