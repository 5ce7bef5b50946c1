"""Numbers of one type to those of another, a vector of the result per thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import INT32, Element
from cnncc.kernels.gpu.convert import GpuConvertConfig
from cnncc.kernels.gpu.lower.builder import (
    Array,
    CudaBuilder,
    divmod_,
    exact_images,
    exact_vector,
    image_of,
    store_exact,
)
from cnncc.kernels.gpu.lower.exact import nearest_int, plus, quotient, times, truncated_int
from cnncc.kernels.gpu.lower.places import index_in
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Expr, i32, splat


def lower(config: GpuConvertConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return _Convert(config).build(symbol)


class _Convert:
    def __init__(self, config: GpuConvertConfig) -> None:
        self.c = c = config
        total = c.batch * c.per_image
        self.total, self.lanes = total, c.result.block
        self.k = k = CudaBuilder(grid_of(total, c.threads), c.threads)
        wide = c.result.blocks * c.result.block
        self.source = exact_images(k, "source", c.source, c.batch)
        self.prepared = [k.operand(name, wide) for name in ("scale", "shift") if c.prepares]
        self.steps = k.operand("steps", 4) if c.what != "cast" else None
        self.result = exact_images(k, "result", c.result, c.batch)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.each(self.total) as index:
            image, element = image_of(k, index, c.batch, c.per_image)
            block, pixel = divmod_(k, element, c.result.pixels)
            values = k.local(self.lanes, "int32" if c.source.element.whole else "float32")
            self.read(values, image, block, pixel)
            made = [self.converted(values.load(lane), block, lane) for lane in range(self.lanes)]
            store_exact(k, self.result, image * (c.result.stride // self.lanes) + element, made)
        return k.finish(symbol)

    def read(self, values: Array, image: Expr, block: Expr, pixel: Expr) -> None:
        """The numbers of a vector, and zeros for what only fills it up: in vectors where the source has such."""
        k, c, lanes, own = self.k, self.c, self.lanes, self.c.source.block
        narrow = min(own, lanes)
        vectors = lanes // narrow if narrow > 1 and max(own, lanes) % narrow == 0 else 0
        if c.source.blocks * own < c.result.blocks * lanes:
            with k.unrolled(lanes) as lane:
                values.store(lane, i32(0) if c.source.element.whole else splat(0.0, 1))
        for j in range(vectors):
            part = k.let(block * vectors + j)
            of_block, place = divmod_(k, part, own // narrow)
            fills = c.result.blocks * vectors > c.source.blocks * (own // narrow)
            with k.unless_certain(part < c.source.blocks * (own // narrow) if fills else None):
                at = (
                    image * (c.source.stride // narrow) + (of_block * c.source.pixels + pixel) * (own // narrow) + place
                )
                for lane, number in enumerate(exact_vector(k, self.source, k.let(at), narrow)):
                    values.store(j * narrow + lane, number)
        for lane in range(lanes if not vectors else 0):
            channel = k.let(block * lanes + lane)
            fills = c.result.blocks * lanes > c.source.channels
            with k.unless_certain(channel < c.source.channels if fills else None):
                at = k.let(image * c.source.stride + index_in(k, c.source, channel, pixel))
                (number,) = exact_vector(k, self.source, at, 1)
                values.store(lane, number)

    def converted(self, value: Expr, block: Expr, lane: int) -> Expr:
        """A number of the result: int32 of what is whole, else float32."""
        k, c = self.k, self.c
        given, made = c.source.element, c.result.element
        if c.what == "cast" and not c.prepares and given.whole and made.whole:
            return k.let(_within(value, made, given))
        if c.what == "dequantize":
            assert self.steps is not None
            zero = k.let(tirx.Cast("int32", self.steps.load(1)))
            return k.let(times(tirx.Cast("float32", value - zero), self.steps.load(0)))
        number = k.let(tirx.Cast("float32", value)) if given.whole else value
        if c.prepares:
            scale, shift = (each.load(block * self.lanes + lane) for each in self.prepared)
            number = k.let(plus(k.let(times(number, scale)), shift))
        if c.what == "quantize":
            return self.quantized(number)
        if not made.whole:
            return number
        return k.let(_within(k.let(truncated_int(_unless_nan(number))), made, INT32))

    def quantized(self, number: Expr) -> Expr:
        """clamp(round(x / scale) + zero): the bounds come before the zero, in float32, which has all of them."""
        k, steps = self.k, self.steps
        assert steps is not None
        inside = vmin(vmax(_unless_nan(k.let(quotient(number, steps.load(0)))), steps.load(2)), steps.load(3))
        return k.let(nearest_int(k.let(inside)) + tirx.Cast("int32", steps.load(1)))


def _unless_nan(number: Expr) -> Expr:
    """The number, 0 for NaN."""
    return tirx.Select(number == number, number, splat(0.0, 1))


def _within(value: Expr, kind: Element, given: Element) -> Expr:
    """An int32 that came of a type as one that a type has."""
    if given.least < kind.least:
        value = tirx.max(value, i32(int(kind.least)))
    return tirx.min(value, i32(int(kind.most))) if given.most > kind.most else value


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"convert": lower}
"""Family of a kernel -> its lowering."""
