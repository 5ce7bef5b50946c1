"""Crop, padding and upsampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import (
    Array,
    CudaBuilder,
    divmod_,
    image_of,
    load_into,
    load_vector,
    moved_number,
    store_vector,
)
from cnncc.kernels.gpu.resample import GpuResampleConfig
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.arithmetic import vmin
from cnncc.kernels.shared.builder import Expr, i32, splat


def lower(c: GpuResampleConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    result = k.images("result", c.result, c.batch)
    lanes = c.result.block
    with k.each(c.total) as index:
        image, vector = image_of(k, index, c.batch, c.result.numbers // lanes)
        block, pixel = divmod_(k, vector, c.result.pixels)
        y, x = divmod_(k, pixel, c.result.width)
        base = k.let(image * (c.source.stride // lanes) + block * c.source.pixels)
        make = _bilinear if c.mode == "bilinear" else _moved
        values = make(k, c, source, base, y, x)
        store_vector(k, result, image * (c.result.stride // lanes) + vector, [values.load(i) for i in range(lanes)])
    return k.finish(symbol)


def _moved(k: CudaBuilder, c: GpuResampleConfig, source: Array, base: Expr, y: Expr, x: Expr) -> Array:
    """One input pixel, or the padding's value."""
    sizes = (c.source.height, c.source.width)
    row, column = (k.let(_from(c, axis, position, sizes[axis])) for axis, position in enumerate((y, x)))
    lanes = c.result.block
    values = k.local(lanes)
    inside = []
    if c.mode == "constant":
        for lane in range(lanes):
            values.store(lane, moved_number(c.value, c.source.element))
        inside = [row >= 0, row < sizes[0], column >= 0, column < sizes[1]]
    with k.unless_certain(*inside):
        load_into(k, values, 0, source, base + row * c.source.width + column, lanes)
    return values


def _from(c: GpuResampleConfig, axis: int, position: Expr, size: int) -> Expr:
    """Where an output position comes from along an axis."""
    if c.mode == "nearest":
        return tirx.truncdiv(position, i32(c.scale[axis]))
    if c.mode == "crop":
        return position + c.offset[axis]
    if c.mode == "wrap":
        return tirx.truncmod(position + i32(-c.offset[axis] % size), i32(size))
    inner = position - c.offset[axis]
    if c.mode == "edge":
        return tirx.max(vmin(inner, i32(size - 1)), i32(0))
    if c.mode == "reflect":
        mirrored = tirx.max(inner, 0 - inner)
        return vmin(mirrored, 2 * (size - 1) - mirrored)
    return inner


def _bilinear(k: CudaBuilder, c: GpuResampleConfig, source: Array, base: Expr, y: Expr, x: Expr) -> Array:
    """Between four input pixels."""
    (top, bottom, down), (left, right, across) = (_between(k, c, axis, p) for axis, p in enumerate((y, x)))
    rows = [k.let(base + row * c.source.width) for row in (top, bottom)]
    lanes = c.result.block
    corners = [[load_vector(k, source, row + column, lanes) for column in (left, right)] for row in rows]
    values = k.local(lanes)
    for lane in range(lanes):
        upper, lower_ = (_mixed(k, a.load(lane), b.load(lane), across) for a, b in corners)
        values.store(lane, _mixed(k, upper, lower_, down))
    return values


def _mixed(k: CudaBuilder, a: Expr, b: Expr, share: Expr) -> Expr:
    return k.let(a * (splat(1.0, 1) - share) + b * share)


def _between(k: CudaBuilder, c: GpuResampleConfig, axis: int, position: Expr) -> tuple[Expr, Expr, Expr]:
    """The two input positions around an output's, and its share of the second one: exact, in whole numbers.

    The position is `over / parts` of an input: (i + 1/2) / scale - 1/2 within the image, or with `align_corners`
    i (size - 1) / (result - 1).
    """
    size, scale = (c.source.height, c.source.width)[axis], c.scale[axis]
    if c.align_corners:
        parts = max(1, size * scale - 1)
        over = position * (size - 1)
    else:
        parts = 2 * scale
        over = tirx.max(2 * position + (1 - scale), i32(0))
    over = k.let(vmin(over, i32((size - 1) * parts)))
    low = k.let(vmin(tirx.truncdiv(over, i32(parts)), i32(max(0, size - 2))))
    share = k.let(tirx.Cast("float32", over - low * parts) * splat(1.0 / parts, 1))
    return low, k.let(vmin(low + 1, i32(size - 1))), share


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"resample": lower}
"""Family of a kernel -> its lowering."""
