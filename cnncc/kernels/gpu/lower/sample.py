"""The sampling kernel: for each place its taps, then some vectors of channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.sample import GpuSampleConfig
from cnncc.kernels.gpu.spec import VECTOR, grid_of
from cnncc.kernels.shared.builder import splat
from cnncc.kernels.shared.sampling import SampleTaps


def lower(c: GpuSampleConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    grid = k.operand("places", c.batch * c.places.numbers)
    result = k.images("result", c.result, c.batch)
    pixels = math.prod(c.sizes)
    with k.each(c.total) as index:
        image, rest = image_of(k, index, c.batch, c.strips * c.result.pixels)
        strip, pixel = divmod_(k, rest, c.result.pixels)
        coordinates = [
            grid.load(image * c.places.stride + (axis * c.places.pixels + pixel)) for axis in range(len(c.sizes))
        ]
        taps = SampleTaps(k, c).around(coordinates)
        with k.loop(c.strip, "plane") as i:
            plane = k.let(strip * c.strip + i)
            with k.unless_certain(plane < c.result.blocks if c.result.blocks % c.strip else None):
                base = k.let(image * (c.source.stride // VECTOR) + plane * pixels)
                total = k.local(VECTOR)
                for lane in range(VECTOR):
                    total.store(lane, splat(0.0, 1))
                for at, share, seen in taps:
                    with k.unless_certain(seen):
                        values = load_vector(k, source, base + at, VECTOR)
                        for lane in range(VECTOR):
                            total.store(lane, total.load(lane) + values.load(lane) * share)
                    if seen is not None:
                        # What lies outside is 0, of which a share that is no number makes none.
                        with k.otherwise():
                            for lane in range(VECTOR):
                                total.store(lane, total.load(lane) + splat(0.0, 1) * share)
                to = image * (c.result.stride // VECTOR) + plane * c.result.pixels + pixel
                store_vector(k, result, to, [total.load(lane) for lane in range(VECTOR)])
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"sample": lower}
"""Family of a kernel -> its lowering."""
