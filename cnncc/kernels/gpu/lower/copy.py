"""Copies between layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.copy import GpuCopyConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.lower.places import index_in
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.builder import Expr, splat


def lower(c: GpuCopyConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    total = c.batch * c.per_image
    k = CudaBuilder(grid_of(total, c.threads), c.threads)
    copy = _Copy(k, c, k.images("image", c.source, c.batch), k.images("result", c.result, c.batch))
    with k.each(total) as index:
        image, element = image_of(k, index, c.batch, c.per_image)
        if c.lanes > 1:
            copy.vector(image, element)
        else:
            copy.number(image, element)
    return k.finish(symbol)


@dataclass(frozen=True, eq=False)
class _Copy:
    k: CudaBuilder
    c: GpuCopyConfig
    source: Array
    result: Array

    def vector(self, image: Expr, element: Expr) -> None:
        """A whole block of channels of one pixel."""
        k, c = self.k, self.c
        block, pixel = divmod_(k, element, c.result.pixels)
        values = k.local(c.lanes)
        if c.whole_blocks:
            at = (block + c.from_channel // c.source.block) * c.source.pixels + pixel
            values = load_vector(k, self.source, image * (c.source.stride // c.lanes) + at, c.lanes)
        else:
            for lane in range(c.lanes):
                self.one(image, k.let(block * c.lanes + lane), pixel, values, lane)
        at = (block + c.to_channel // c.lanes) * c.result.pixels + pixel
        loaded = [values.load(i) for i in range(c.lanes)]
        store_vector(k, self.result, image * (c.result.stride // c.lanes) + at, loaded)

    def number(self, image: Expr, element: Expr) -> None:
        """One number."""
        k, c = self.k, self.c
        channel, pixel = divmod_(k, element, c.result.pixels)
        values = k.local(1)
        self.one(image, channel, pixel, values, 0)
        at = image * c.result.stride + index_in(k, c.result, k.let(channel + c.to_channel), pixel)
        self.result.store(at, values.load(0))

    def one(self, image: Expr, channel: Expr, pixel: Expr, values: Array, lane: int) -> None:
        """A channel of a pixel, or zero for those that fill up a block; `channel` counts those that are copied."""
        k, c = self.k, self.c
        if c.zeros:
            values.store(lane, splat(0.0, 1))
        with k.unless_certain(channel < c.channels if c.zeros else None):
            base = image * c.source.stride
            at = k.let(base + index_in(k, c.source, k.let(channel + c.from_channel), pixel))
            values.store(lane, self.source.load(at))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"copy": lower}
"""Family of a kernel -> its lowering."""
