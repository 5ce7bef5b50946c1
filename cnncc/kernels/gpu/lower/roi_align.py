"""The kernel for regions brought to one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of
from cnncc.kernels.gpu.roi_align import GpuRoiAlignConfig
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.arithmetic import LOWEST, real, vmax
from cnncc.kernels.shared.builder import Expr, splat
from cnncc.kernels.shared.regions import Regions, Sample


def lower(c: GpuRoiAlignConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    bounds = k.operand("regions", c.batch * c.regions.numbers)
    choices = None if c.choices is None else k.operand("images", c.batch * c.choices.numbers)
    result = k.images("result", c.result, c.batch)
    regions, total = Regions(k, c), k.local(1)
    with k.each(c.total) as index:
        image, element = image_of(k, index, c.batch, c.result.numbers)
        rest, x = divmod_(k, element, c.out_size[1])
        rest, y = divmod_(k, rest, c.out_size[0])
        region, channel = divmod_(k, rest, c.channels)
        at = k.let(image * c.regions.stride + region * 4)
        rows, columns = (regions.span(bounds, at, axis) for axis in (1, 0))
        chosen, exists = 0, None
        if choices is not None and c.choices is not None:
            chosen, exists = regions.image(choices.load(image * c.choices.stride + region))
        plane, lane = divmod_(k, k.let(chosen * c.channels + channel), c.source.block)
        start = k.let(image * c.source.stride + plane * (c.source.pixels * c.source.block) + lane)
        total.store(0, splat(0.0 if c.mode == "avg" else LOWEST, 1))
        with k.unless_certain(exists), k.loop(rows.count, "row") as i:
            down = regions.sample(rows, y, i)
            with k.loop(columns.count, "column") as j:
                _add(k, c, total, (source, start), (down, regions.sample(columns, x, j)))
        if c.mode == "avg":
            found = total.load(0) / vmax(k.let(real(rows.count) * real(columns.count)), splat(1.0, 1))
        else:
            value = k.let(total.load(0))
            found = tirx.Select(value <= splat(LOWEST, 1), splat(0.0, 1), value)
        result.store(image * c.result.stride + element, found)
    return k.finish(symbol)


def _add(
    k: CudaBuilder, c: GpuRoiAlignConfig, total: Array, plane: tuple[Array, Expr], sample: tuple[Sample, Sample]
) -> None:
    """A sample into the total: the four pixels around it, each by its share."""
    (source, start), (down, across) = plane, sample
    one, inside = splat(1.0, 1), k.let(tirx.all(down.seen, across.seen))
    for row, tall in ((down.low, one - down.share), (down.high, down.share)):
        for column, wide in ((across.low, one - across.share), (across.high, across.share)):
            share = k.let(tirx.Select(inside, tall * wide, splat(0.0, 1)))
            value = k.let(source.load(start + (row * c.source.width + column) * c.source.block) * share)
            before = k.let(total.load(0))
            total.store(0, before + value if c.mode == "avg" else vmax(value, before))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"roi_align": lower}
"""Family of a kernel -> its lowering."""
