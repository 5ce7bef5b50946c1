"""The kernel between layouts: squares of channels and pixels are turned in registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.lower.turn import overlapping, turn
from cnncc.kernels.cpu.relayout import RelayoutConfig
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat


def lower(c: RelayoutConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is some pixels of one channel block."""
    return _Relayout(c).build(symbol)


class _Relayout:
    def __init__(self, config: RelayoutConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        sizes = (c.channels * c.pixels, c.planes * c.block * c.pixels)
        self.source = k.operand("source", sizes[not c.to_blocks])
        self.result = k.operand("result", sizes[c.to_blocks])

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        side = max(1, c.side)
        with k.units() as u:
            plane, band = (u, 0) if c.bands == 1 else (k.let(u // c.bands), k.let(u % c.bands))
            # As few planes at a time as can be: they often lie a power of two apart, at the same places of the cache.
            with k.loop(c.block // side) as i, overlapping(k, c.pixels, side, (band, c.bands)) as pixel:
                lane = k.let(i * side)
                channel = k.let(plane * c.block + lane)
                blocked = k.let((plane * c.pixels + pixel) * c.block + lane)
                plain = k.let(channel * c.pixels + pixel)
                if c.to_blocks:
                    self.into_blocks(channel, plain, blocked)
                else:
                    self.out_of_blocks(channel, plain, blocked)
        return k.finish(symbol)

    def into_blocks(self, channel: Expr, plain: Expr, blocked: Expr) -> None:
        """Zeros fill up the last block."""
        k, c, side = self.k, self.c, max(1, self.c.side)
        if not c.ragged:
            rows = [self.source.load(plain + n * c.pixels, side) for n in range(side)]
        else:
            kept = k.registers(side * side)
            for n in range(side):
                kept.store(n * side, splat(0.0, side), side)
                with self.exists(channel, n):
                    kept.store(n * side, self.source.load(plain + n * c.pixels, side), side)
            rows = [kept.load(n * side, side) for n in range(side)]
        if c.side:
            turn(k, side, rows.__getitem__, lambda n, column: self.result.store(blocked + n * c.block, column, side))
        else:
            self.result.store(blocked, rows[0])

    def out_of_blocks(self, channel: Expr, plain: Expr, blocked: Expr) -> None:
        k, c, side = self.k, self.c, max(1, self.c.side)

        def store(n: int, column: Expr) -> None:
            with self.exists(channel, n):
                self.result.store(plain + n * c.pixels, column, side)

        if c.side:
            turn(k, side, lambda n: self.source.load(blocked + n * c.block, side), store)
        else:
            store(0, self.source.load(blocked))

    @contextmanager
    def exists(self, channel: Expr, n: int) -> Iterator[None]:
        """What is emitted inside happens only if the n-th channel from `channel` on is one."""
        if self.c.ragged:
            with self.k.when(channel + n < self.c.channels):
                yield
        else:
            yield


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"relayout": lower}
"""Family of a kernel -> its lowering."""
