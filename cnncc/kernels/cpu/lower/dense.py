"""The fully connected kernel: images x output blocks in registers, weights streamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.dense import DenseConfig
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.moves import copy_numbers
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.epilogue import costly, each, readable
from cnncc.kernels.shared.vectors import apply_epilogue

UNROLL = 4


def lower(config: DenseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one panel of output blocks for all images."""
    return _Dense(config).build(symbol)


@dataclass(frozen=True, eq=False)
class _Tile:
    """`images` images from `image`, `size` blocks from block `first`; the last block has `partial` outputs."""

    first: Expr
    size: int
    partial: int
    image: Expr
    images: int


class _Dense:
    def __init__(self, config: DenseConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        padded = c.out_blocks * c.block
        self.source = k.operand("source", (c.images - 1) * c.in_stride + c.inputs, ELEMENTS[c.element])
        self.weight = k.operand("weight", padded * c.inputs, c.stored)
        self.bias = k.operand("bias", padded) if c.bias else None
        self.extras = [k.operand(f"extra{i}", (c.images - 1) * s + c.outputs) for i, s in enumerate(c.extra_strides)]
        self.result = k.operand("result", (c.images - 1) * c.out_stride + c.outputs)

    def build(self, symbol: str) -> PrimFunc:
        """Panels are numbered through the runs; only the very last one can hold a partial block."""
        k, c = self.k, self.c
        last = c.outputs - (c.out_blocks - 1) * c.block
        total = sum(n for *_, n in c.runs)
        passed = 0
        with k.units() as u:
            for start, size, count in c.runs:
                first = k.let(start + (u - passed) * size)
                final = passed + count == total and last != c.block
                whole = count - 1 if final else count
                if whole:
                    with k.when(tirx.all(u >= passed, u < passed + whole)):
                        self.panel(first, size, c.block)
                if final:
                    with k.when(u == total - 1):
                        self.panel(first, size, last)
                passed += count
        return k.finish(symbol)

    def panel(self, first: Expr, size: int, partial: int) -> None:
        """All images of one panel of output blocks."""
        for start, images, count in even_tiles(self.c.images, self.c.image_tile):
            with self.k.loop(count) as i:
                self.tile(_Tile(first, size, partial, self.k.let(i * images + start), images))

    def tile(self, t: _Tile) -> None:
        k, c = self.k, self.c
        vectors = t.size * c.block // c.lanes
        sums = Sums(k, t.images, vectors, c.lanes)
        sums.start(self.bias, [t.first * c.block + v * c.lanes for v in range(vectors)])
        at, weight = k.let(t.image * c.in_stride), k.let(t.first * (c.block * c.inputs))
        with k.loop(c.inputs // UNROLL) as j:
            for q in range(UNROLL):
                self.multiply(t, sums, at + j * UNROLL + q, weight + (j * UNROLL + q) * (t.size * c.block))
        for q in range(c.inputs // UNROLL * UNROLL, c.inputs):
            self.multiply(t, sums, at + q, weight + q * (t.size * c.block))
        looped = costly(c.epilogue)
        results = readable(k, sums.acc, sums.floats, c.lanes, looped)
        each(k, (t.images,), looped, lambda i: self.store(t, results, i, looped))

    def multiply(self, t: _Tile, sums: Sums, at: Expr, weight: Expr) -> None:
        """One step of the sum: one input of each image times its weights for all outputs."""
        sums.multiply((self.weight, weight), self.source, (at + i * self.c.in_stride for i in range(t.images)))

    def store(self, t: _Tile, sums: Buffer, i: Expr, looped: bool) -> None:
        """The epilogue on the outputs of image `i` of the tile, and its result."""
        k, c = self.k, self.c
        image = t.image + i
        row = k.let(image * c.out_stride + t.first * c.block)

        def vector(v: Expr, lanes: int) -> None:
            value = sums.load(i * (t.size * c.block) + v * c.lanes, c.lanes)
            to, column = row + v * c.lanes, t.first * c.block + v * c.lanes
            starts = [(e, image * s + column) for e, s in zip(self.extras, c.extra_strides, strict=True)]
            if lanes == c.lanes:
                loads = [e.load(start, c.lanes) for e, start in starts]
                self.result.store(to, apply_epilogue(k, value, c.epilogue, loads, c.lanes), c.lanes)
            else:
                self.store_part(value, starts, to, lanes)

        whole, rest = divmod(t.partial + (t.size - 1) * c.block, c.lanes)
        each(k, (whole,), looped, lambda v: vector(v, c.lanes))
        if rest:
            vector(whole, rest)

    def store_part(self, value: Expr, extras: list[tuple[Buffer, Expr]], to: Expr, lanes: int) -> None:
        """The last outputs, fewer than a vector: the same arithmetic in registers, then only those stored."""
        k, c = self.k, self.c
        local = k.registers(c.lanes)
        loads = []
        for extra, start in extras:
            part = k.registers(c.lanes)
            part.store(0, splat(0.0, c.lanes), c.lanes)
            copy_numbers(k, extra, k.let(start), part, 0, lanes)
            loads.append(part.load(0, c.lanes))
        local.store(0, apply_epilogue(k, value, c.epilogue, loads, c.lanes), c.lanes)
        copy_numbers(k, local, 0, self.result, to, lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"dense": lower}
"""Family of a kernel -> its lowering."""
