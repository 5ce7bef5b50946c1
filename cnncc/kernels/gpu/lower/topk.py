"""The kernels for the largest values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.gpu.topk import GpuTopkConfig
from cnncc.kernels.shared.builder import Expr, i32, splat

NO_CHANNEL = -1
"""Channel of a place that holds nothing yet."""


def lower(c: GpuTopkConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    result = k.images("result", c.result, c.batch)
    per_image = c.source.numbers if c.ranked else c.source.pixels
    with k.each(c.total) as index:
        image, element = image_of(k, index, c.batch, per_image)
        to = k.let(image * c.result.stride)
        base = k.let(image * c.source.stride)
        if c.ranked:
            channel, pixel = divmod_(k, element, c.source.pixels)
            _rank(k, c, (source, k.let(base + pixel)), (result, k.let(to + pixel)), channel)
        else:
            _best(k, c, (source, k.let(base + element)), (result, k.let(to + element)))
    return k.finish(symbol)


Pixel = tuple[Array, Expr]
"""An array and where its first channel of a pixel lies."""


def _better(c: GpuTopkConfig, value: Expr, other: Expr) -> Expr:
    """Whether a value comes before another wherever they lie. NaN comes after every number, whichever end is asked
    for."""
    larger = value > other if c.largest else value < other
    return tirx.any(larger, tirx.all(tirx.isnan(other), tirx.Not(tirx.isnan(value))))


def _rank(k: CudaBuilder, c: GpuTopkConfig, source: Pixel, result: Pixel, channel: Expr) -> None:
    """How many values come before that of a channel; of equal ones those of the channels before it, or behind it."""
    (read, at), (written, to) = source, result
    mine, count = k.let(read.load(at + channel * c.source.pixels)), k.local(1, "int32")
    count.store(0, i32(0))
    with k.loop(c.source.channels, "other") as other:
        value = k.let(read.load(at + other * c.source.pixels))
        earlier = other > channel if c.last else other < channel
        before = tirx.any(_better(c, value, mine), tirx.all(earlier, tirx.Not(_better(c, mine, value))))
        count.store(0, count.load(0) + tirx.Select(before, i32(1), i32(0)))
    with k.when(count.load(0) < c.result.channels):
        found = tirx.Cast("float32", channel) if c.indices else mine
        written.store(to + count.load(0) * c.source.pixels, found)


def _best(k: CudaBuilder, c: GpuTopkConfig, source: Pixel, result: Pixel) -> None:
    """One pass over the channels of a pixel; each is put before the first of the best that it comes before."""
    (read, at), (written, to) = source, result
    count = c.result.channels
    values, channels = k.local(count), k.local(count, "int32")
    carried, carried_channel = k.local(1), k.local(1, "int32")
    for j in range(count):
        values.store(j, splat(0.0, 1))
        channels.store(j, i32(NO_CHANNEL))
    with k.loop(c.source.channels, "channel") as i:
        channel = k.let(c.source.channels - 1 - i if c.last else i)
        value = k.let(read.load(at + channel * c.source.pixels))
        carried.store(0, value)
        carried_channel.store(0, i32(channel))
        placed = k.local(1, "int32")
        placed.store(0, i32(0))
        for j in range(count):
            old, old_channel = k.let(values.load(j)), k.let(channels.load(j))
            here = tirx.any(placed.load(0) > 0, old_channel < 0, _better(c, value, old))
            with k.when(here):
                values.store(j, carried.load(0))
                channels.store(j, carried_channel.load(0))
                carried.store(0, old)
                carried_channel.store(0, old_channel)
                placed.store(0, i32(1))
    for j in range(count):
        found = tirx.Cast("float32", channels.load(j)) if c.indices else values.load(j)
        written.store(to + j * c.source.pixels, found)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"topk": lower}
"""Family of a kernel -> its lowering."""
