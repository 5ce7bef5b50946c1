"""Matrix times vector, for a few rows and images at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.dense import GpuDenseConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, load_into
from cnncc.kernels.shared.arithmetic import vmin
from cnncc.kernels.shared.builder import Expr, i32, splat
from cnncc.kernels.shared.vectors import apply_epilogue


def lower(config: GpuDenseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return _Dense(config).build(symbol)


class _Dense:
    def __init__(self, config: GpuDenseConfig) -> None:
        self.c = c = config
        self.k = k = CudaBuilder(c.grid, c.threads)
        self.source = k.operand("vector", c.batch * c.depth, c.element)
        self.weights = k.operand("weights", c.out * c.depth, c.stored)
        self.bias = k.operand("bias", c.out) if c.bias else None
        self.extras = [k.operand(f"extra{i}", c.batch * c.out) for i in range(len(c.extras))]
        self.result = k.operand("result", c.batch * c.out)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        pairs = c.rows * c.images
        shared = k.shared(pairs * c.threads)
        sums = k.local(pairs)
        with k.unrolled(pairs) as i:
            sums.store(i, splat(0.0, 1))
        self.rows = [
            k.let(self.clipped(k.block(0) * c.rows + r, c.out, c.rows) * (c.depth // c.lanes)) for r in range(c.rows)
        ]
        images = [self.clipped(k.block(1) * c.images + i, c.batch, c.images) for i in range(c.images)]
        self.starts = [k.let(image * (c.stride // c.lanes)) for image in images]
        vectors = c.depth // c.lanes
        for lanes, first, extent in [(c.lanes, 0, vectors // c.threads), (c.lanes, -1, 1)]:
            self.part(sums, lanes, first, extent, vectors)
        for pair in range(pairs):
            shared.store(pair * c.threads + k.thread, sums.load(pair))
        k.fold(shared, pairs, lambda a, b: a + b)
        self.write(shared)
        return k.finish(symbol)

    def clipped(self, index: Expr, size: int, step: int) -> Expr:
        """A row or image that exists: the last block repeats the last one, and does not store it."""
        return index if size % step == 0 else vmin(index, i32(size - 1))

    def part(self, sums: Array, lanes: int, first: int, extent: int, vectors: int) -> None:
        """Whole rounds of all threads, or (`first` -1) the rest, which not all of them have."""
        k, c = self.k, self.c
        rest = vectors % c.threads
        if first < 0:
            if rest:
                with k.when(k.thread < rest):
                    self.products(sums, k.let(vectors - rest + k.thread), lanes)
            return
        with k.loop(extent) as i:
            self.products(sums, k.let(i * c.threads + k.thread), lanes)

    def products(self, sums: Array, at: Expr, lanes: int) -> None:
        k, c = self.k, self.c
        inputs, rows = k.local(c.images * lanes), k.local(c.rows * lanes)
        for i, start in enumerate(self.starts):
            load_into(k, inputs, i, self.source, start + at, lanes)
        for r, start in enumerate(self.rows):
            load_into(k, rows, r, self.weights, start + at, lanes)
        with k.unrolled(c.rows) as r, k.unrolled(c.images) as i, k.unrolled(lanes) as lane:
            pair = r * c.images + i
            product = rows.load(r * lanes + lane) * inputs.load(i * lanes + lane)
            sums.store(pair, sums.load(pair) + product)

    def write(self, shared: Array) -> None:
        """One thread for each pair of row and image."""
        k, c = self.k, self.c
        with k.when(k.thread < c.rows * c.images):
            r, i = divmod_(k, k.thread, c.images)
            row, image = k.let(k.block(0) * c.rows + r), k.let(k.block(1) * c.images + i)
            exists = [row < c.out if c.out % c.rows else None, image < c.batch if c.batch % c.images else None]
            with k.unless_certain(*exists):
                value = shared.load(k.thread * c.threads)
                if self.bias is not None:
                    value = value + self.bias.load(row)
                extras = [e.load(image * s + row) for e, s in zip(self.extras, c.extras, strict=True)]
                value = apply_epilogue(k, value, c.epilogue, extras, 1)
                self.result.store(image * c.result_stride + row, value)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"dense": lower}
"""Family of a kernel -> its lowering."""
