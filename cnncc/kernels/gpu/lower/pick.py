"""The pick kernel: each lane of a vector is looked up by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.pick import GpuPickConfig
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.builder import splat


def lower(c: GpuPickConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    lanes = c.result.block
    sources = [k.images(f"source{i}", view, c.batch) for i, view in enumerate(c.sources)]
    table = k.operand("channels", c.result.blocks * lanes)
    result = k.images("result", c.result, c.batch)
    firsts = [0, *accumulate(view.channels for view in c.sources)]
    with k.each(c.total) as index:
        image, vector = image_of(k, index, c.batch, c.result.numbers // lanes)
        block, pixel = divmod_(k, vector, c.result.pixels)
        wanted = load_vector(k, table, block, lanes)
        values = k.local(lanes)
        for lane in range(lanes):
            values.store(lane, splat(0.0, 1))
            number = k.let(tirx.Cast("int32", wanted.load(lane)))
            for source, view, first in zip(sources, c.sources, firsts, strict=False):
                with k.when(tirx.all(number >= first, number < first + view.channels)):
                    plane, place = divmod_(k, k.let(number - first), view.block)
                    at = image * view.stride + (plane * view.pixels + pixel) * view.block + place
                    values.store(lane, source.load(at))
        finals = [values.load(lane) for lane in range(lanes)]
        store_vector(k, result, image * (c.result.stride // lanes) + vector, finals)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"pick": lower}
"""Family of a kernel -> its lowering."""
