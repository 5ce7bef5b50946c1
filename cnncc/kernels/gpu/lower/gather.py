"""Kernels for rows at computed places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.gather import AT_ONCE, OWNED, GpuGatherConfig, GpuScatterConfig
from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_, image_of
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.builder import Expr, i32, splat
from cnncc.kernels.shared.places import COMBINE, named_row

NOWHERE = -1
"""Row of a place that does not exist."""


def lower_gather(c: GpuGatherConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a place that does not exist gives no number."""
    k, rows = CudaBuilder(grid_of(c.total, c.threads), c.threads), c.rows
    source = k.images("image", c.source, c.batch)
    places = k.operand("places", c.batch * c.places.numbers)
    result = k.images("result", c.result, c.batch)
    with k.each(c.total) as index:
        image, element = image_of(k, index, c.batch, c.result.numbers)
        place, x = divmod_(k, element, rows.width)
        channel, _ = divmod_(k, place, rows.places)
        at = k.let(image * c.places.stride + place * len(rows.sizes))
        row, exists = named_row(k, rows.sizes, rows.wrap, places, at)
        value = k.local(1)
        value.store(0, splat(float("nan"), 1))
        with k.when(exists):
            value.store(0, source.load(image * c.source.stride + (channel * rows.count + row) * rows.width + x))
        result.store(image * c.result.stride + element, value.load(0))
    return k.finish(symbol)


def lower_scatter(c: GpuScatterConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; the rows of some places at a time are found by the threads together."""
    k, rows = CudaBuilder(c.grid, c.threads), c.rows
    source = None if c.source is None else k.images("image", c.source, c.batch)
    places = k.operand("places", c.batch * c.places.numbers)
    updates = k.operand("updates", c.batch * c.updates.numbers)
    result = k.images("result", c.result, c.batch)
    named = k.shared(AT_ONCE, "int32")
    rest, part = divmod_(k, k.block(0), c.parts)
    image, channel = image_of(k, rest, c.batch, rows.channels)
    size, numbers = rows.count * rows.width, len(rows.sizes)
    base = k.let(channel * size)
    mine = [k.let(part * (OWNED * c.threads) + i * c.threads + k.thread) for i in range(OWNED)]
    exists = [m < size if size % (OWNED * c.threads) else None for m in mine]
    owned = [divmod_(k, m, rows.width) for m in mine]
    values = k.local(OWNED)
    for i, number in enumerate(mine):
        values.store(i, splat(0.0, 1))
        if source is not None and c.source is not None:
            with k.unless_certain(exists[i]):
                values.store(i, source.load(image * c.source.stride + base + number))
    place_base = k.let(image * c.places.stride + channel * (rows.places * numbers))
    update_base = k.let(image * c.updates.stride + channel * (rows.places * rows.width))
    chunks = -(-rows.places // AT_ONCE)
    with k.loop(chunks, "chunk") as chunk:
        first = k.let(chunk * AT_ONCE)
        _find(k, c, (places, place_base), named, first)
        k.barrier()
        with k.loop(AT_ONCE if rows.places % AT_ONCE == 0 else _left(k, rows.places, first), "place") as j:
            row = k.let(named.load(j))
            for i, (own, column) in enumerate(owned):
                with k.when(own == row):
                    new = updates.load(update_base + (first + j) * rows.width + column)
                    values.store(i, COMBINE[c.reduction](k.let(values.load(i)), k.let(new)))
        if chunks > 1:
            k.barrier()
    for i, number in enumerate(mine):
        with k.unless_certain(exists[i]):
            result.store(image * c.result.stride + base + number, values.load(i))
    return k.finish(symbol)


def _left(k: CudaBuilder, places: int, first: Expr) -> Expr:
    """How many places there are from the first of a chunk on, up to a whole chunk."""
    return k.let(tirx.min(i32(places) - first, i32(AT_ONCE)))


def _find(k: CudaBuilder, c: GpuScatterConfig, places: tuple[Any, Expr], named: Any, first: Expr) -> None:
    """The rows of a chunk of places."""
    rows, (source, base) = c.rows, places
    with k.when(k.thread < _left(k, rows.places, first)):
        at = k.let(base + (first + k.thread) * len(rows.sizes))
        row, exists = named_row(k, rows.sizes, rows.wrap, source, at)
        named.store(k.thread, tirx.Select(exists, row, i32(NOWHERE)))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"gather": lower_gather, "scatter": lower_scatter}
"""Family of a kernel -> its lowering."""
