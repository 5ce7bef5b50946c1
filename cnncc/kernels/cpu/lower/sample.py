"""The sampling kernel: for each place its taps, then all channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.sample import SampleConfig
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.sampling import SampleTaps, Tap


def lower(c: SampleConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one output row of all channels."""
    return _Sample(c).build(symbol)


class _Sample:
    def __init__(self, config: SampleConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.image, self.pixels = math.prod(c.sizes), math.prod(c.out_size)
        self.source = k.operand("source", c.channel_blocks * c.block * self.image)
        self.grid = k.operand("places", len(c.sizes) * self.pixels)
        self.taps = SampleTaps(k, c)
        self.result = k.operand("result", c.channel_blocks * c.block * self.pixels)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as y, k.loop(c.out_size[1]) as x:
            pixel = k.let(y * c.out_size[1] + x)
            places = [self.grid.load(axis * self.pixels + pixel) for axis in range(len(c.sizes))]
            taps = self.taps.around(places)
            with k.loop(c.channel_blocks) as plane:
                start = k.let(plane * self.image)
                for v in range(0, c.block, c.lanes):
                    self.result.store((plane * self.pixels + pixel) * c.block + v, self.total(start, taps, v), c.lanes)
        return k.finish(symbol)

    def total(self, start: Expr, taps: list[Tap], lane: int) -> Expr:
        """The weighted sum of a vector of channels."""
        k, c = self.k, self.c
        acc = splat(0.0, c.lanes)
        for index, share, seen in taps:
            value = self.source.load((start + index) * c.block + lane, c.lanes)
            if seen is not None:
                value = tirx.Select(tirx.Broadcast(seen, c.lanes) if c.lanes > 1 else seen, value, splat(0.0, c.lanes))
            acc = k.let(acc + value * splat(share, c.lanes))
        return acc


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"sample": lower}
"""Family of a kernel -> its lowering."""
