"""The kernel for the places of the largest values of windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.spec import VECTOR, grid_of
from cnncc.kernels.gpu.window import GpuArgmaxConfig
from cnncc.kernels.shared.builder import splat


def lower(c: GpuArgmaxConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration. Of equal values the first place stays, and NaN is no larger than any."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    result = k.images("result", c.result, c.batch)
    best, place = k.local(VECTOR), k.local(VECTOR)
    with k.each(c.total) as index:
        image, vector = image_of(k, index, c.batch, c.result.blocks * c.result.pixels)
        block, pixel = divmod_(k, vector, c.result.pixels)
        y, x = divmod_(k, pixel, c.result.width)
        base = k.let(image * (c.source.stride // VECTOR) + block * c.source.pixels)
        for lane in range(VECTOR):
            best.store(lane, splat(0.0, 1))
            place.store(lane, splat(-1.0, 1))
        with k.loop(c.kernel[0], "tap") as i, k.loop(c.kernel[1], "tap") as j:
            row = k.let(y * c.stride[0] + i * c.dilation[0] - c.pad[0])
            column = k.let(x * c.stride[1] + j * c.dilation[1] - c.pad[1])
            with k.when(tirx.all(row >= 0, row < c.source.height, column >= 0, column < c.source.width)):
                at = k.let(row * c.source.width + column)
                here = k.let(tirx.Cast("float32", at))
                values = load_vector(k, source, base + at, VECTOR)
                for lane in range(VECTOR):
                    value = k.let(values.load(lane))
                    with k.when(tirx.any(place.load(lane) < splat(0.0, 1), value > best.load(lane))):
                        best.store(lane, value)
                        place.store(lane, here)
        finals = [place.load(lane) for lane in range(VECTOR)]
        store_vector(k, result, image * (c.result.stride // VECTOR) + vector, finals)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"argmaxpool": lower}
"""Family of a kernel -> its lowering."""
