"""The resizing kernel: a weighted sum of taps, columns within rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.resize import GpuResizeConfig
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.builder import Expr, splat


def lower(c: GpuResizeConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    sizes = (c.result.height, c.result.width)
    tables = [
        [k.operand(f"{axis}_{kind}", size * taps) for kind in ("from", "share")]
        for axis, size, taps in zip(("rows", "columns"), sizes, c.taps, strict=True)
    ]
    result = k.images("result", c.result, c.batch)
    lanes = c.result.block
    total, line = k.local(lanes), k.local(lanes)
    with k.each(c.total) as index:
        image, vector = image_of(k, index, c.batch, c.result.numbers // lanes)
        block, pixel = divmod_(k, vector, c.result.pixels)
        y, x = divmod_(k, pixel, c.result.width)
        base = k.let(image * (c.source.stride // lanes) + block * c.source.pixels)
        if c.moves:
            (row, _), (column, _) = _tap(k, tables[0], y), _tap(k, tables[1], x)
            total = load_vector(k, source, base + row * c.source.width + column, lanes)
        else:
            _zero(total, lanes)
            with k.loop(c.taps[0], "row") as i:
                row, down = _tap(k, tables[0], k.let(y * c.taps[0] + i))
                start = k.let(base + row * c.source.width)
                _zero(line, lanes)
                with k.loop(c.taps[1], "column") as j:
                    column, across = _tap(k, tables[1], k.let(x * c.taps[1] + j))
                    values = load_vector(k, source, start + column, lanes)
                    for lane in range(lanes):
                        line.store(lane, line.load(lane) + values.load(lane) * across)
                for lane in range(lanes):
                    total.store(lane, total.load(lane) + line.load(lane) * down)
        finals = [total.load(lane) for lane in range(lanes)]
        store_vector(k, result, image * (c.result.stride // lanes) + vector, finals)
    return k.finish(symbol)


def _zero(sums: Array, lanes: int) -> None:
    for lane in range(lanes):
        sums.store(lane, splat(0.0, 1))


def _tap(k: CudaBuilder, tables: list[Array], at: Expr) -> tuple[Expr, Expr]:
    """Which row or column a tap reads, and its share."""
    index, share = (table.load(at) for table in tables)
    return k.let(tirx.Cast("int32", index)), k.let(share)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"resize": lower}
"""Family of a kernel -> its lowering."""
