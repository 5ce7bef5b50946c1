"""The fully connected kernel: images x output blocks in registers, weights streamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS, INT32
from cnncc.kernels.cpu.dense import DenseConfig
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.lower.moves import copy_numbers
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, i32, splat
from cnncc.kernels.shared.epilogue import costly, each, readable
from cnncc.kernels.shared.vectors import apply_epilogue

UNROLL = 4
"""Steps of the sum that stand in the code one after the other."""
MANY_PRODUCTS = 20
"""Of vectors in the code of a tile of several images. There is a tile for each number of images, so they are kept
short: a step of the largest one has products enough."""


def lower(config: DenseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one panel of output blocks for all images."""
    return _Dense(config).build(symbol)


@dataclass(frozen=True, eq=False)
class _Panel:
    """`size` output blocks from block `first`. If `last` holds, the final block is the last of all, which is not
    full."""

    first: Expr
    size: int
    last: Expr | None


@dataclass(frozen=True, eq=False)
class _Row:
    """What the kernel reads and writes of one image."""

    source: Buffer
    extras: Sequence[Buffer]
    result: Buffer


class _Dense:
    def __init__(self, config: DenseConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        padded = c.out_blocks * c.block
        self.looped = costly(c.epilogue)
        self.source = k.operand("source", c.inputs, ELEMENTS[c.element])
        self.weight = k.operand("weight", padded * c.inputs, c.stored)
        self.bias = k.operand("bias", padded) if c.bias else None
        self.extras = [k.operand(f"extra{i}", c.outputs) for i in range(c.extras)]
        self.images = k.operand("images", 1, INT32) if c.many else None
        self.strides = k.operand("strides", 2 + c.extras, INT32) if c.many else None
        self.result = k.operand("result", c.outputs)

    def build(self, symbol: str) -> PrimFunc:
        """Panels are numbered through the runs; only the very last one can hold a partial block."""
        k, c = self.k, self.c
        total = sum(n for *_, n in c.runs)
        passed = 0
        with k.units() as u:
            for start, size, count in c.runs:
                first = k.let(start + (u - passed) * size)
                partial = passed + count == total and c.outputs % c.block
                with k.when(tirx.all(u >= passed, u < passed + count)):
                    self.panel(_Panel(first, size, u == total - 1 if partial else None))
                passed += count
        return k.finish(symbol)

    def panel(self, p: _Panel) -> None:
        """All images of one panel."""
        if self.images is not None:
            self.tiles(p, self.k.let(self.images.load(0)))
            return
        row = _Row(self.source, self.extras, self.result)
        sums = self.sums(p, [row])
        kept = readable(self.k, sums.acc, sums.floats, self.c.lanes, self.looped)
        self.store(p, row, kept, 0)

    def tiles(self, p: _Panel, given: Expr) -> None:
        """So many images: tiles of as many as registers hold, then one of those that are left. There is code for the
        sums of each number of images, and one for what is done to the sums of an image."""
        k, most, size = self.k, self.c.image_tile, p.size * self.c.block
        kept = k.registers(most * size)
        with k.loop(tirx.truncdiv(given + (most - 1), i32(most))) as tile:
            first = k.let(tile * most)
            count = k.let(tirx.min(given - first, i32(most)))
            for n in range(most, 0, -1):
                with k.when(count == n):
                    sums = self.sums(p, [self.row(first + i) for i in range(n)])
                    for at in range(0, sums.floats, sums.lanes):
                        kept.store(at, sums.acc.load(at, sums.lanes), sums.lanes)
            with k.loop(count) as i:
                self.store(p, self.row(first + i), kept, i * size)

    def row(self, image: Expr) -> _Row:
        """Distances of images need 64 bits: they may lie an arena apart."""
        assert self.strides is not None
        c, wide = self.c, tirx.Cast("int64", image)
        starts = [wide * tirx.Cast("int64", self.strides.load(i)) for i in range(2 + c.extras)]
        extras = [e.view(start, c.outputs) for e, start in zip(self.extras, starts[1:-1], strict=True)]
        return _Row(self.source.view(starts[0], c.inputs), extras, self.result.view(starts[-1], c.outputs))

    def sums(self, p: _Panel, rows: Sequence[_Row]) -> Sums:
        """The sums of a register tile, [image][output]."""
        k, c = self.k, self.c
        vectors = p.size * c.block // c.lanes
        sums = Sums(k, len(rows), vectors, c.lanes)
        sums.start(self.bias, [p.first * c.block + v * c.lanes for v in range(vectors)])
        weight, step = k.let(p.first * (c.block * c.inputs)), p.size * c.block

        def add(at: Expr) -> None:
            """One input of each image times its weights for all outputs."""
            sums.add((self.weight, weight + at * step), (row.source.load(at) for row in rows))

        unroll = max(1, min(UNROLL, MANY_PRODUCTS // (len(rows) * vectors))) if c.many else UNROLL
        with k.loop(c.inputs // unroll) as j:
            for q in range(unroll):
                add(j * unroll + q)
        for q in range(c.inputs // unroll * unroll, c.inputs):
            add(q)
        return sums

    def store(self, p: _Panel, row: _Row, sums: Buffer, start: Expr) -> None:
        """The epilogue on the sums of one image, which begin at `start`, and its result."""
        outputs = p.size * self.c.block
        if p.last is None:
            self.store_outputs(p, row, sums, start, outputs)
            return
        with self.k.when(p.last):
            self.store_outputs(p, row, sums, start, outputs - (-self.c.outputs) % self.c.block)
        with self.k.otherwise():
            self.store_outputs(p, row, sums, start, outputs)

    def store_outputs(self, p: _Panel, row: _Row, sums: Buffer, start: Expr, count: int) -> None:
        """The same of so many outputs of the panel."""
        k, c = self.k, self.c
        first = k.let(p.first * c.block)

        def vector(v: Expr, lanes: int) -> None:
            value = sums.load(start + v * c.lanes, c.lanes)
            at = first + v * c.lanes
            if lanes == c.lanes:
                loads = [e.load(at, c.lanes) for e in row.extras]
                row.result.store(at, apply_epilogue(k, value, c.epilogue, loads, c.lanes), c.lanes)
            else:
                self.store_part(value, row, at, lanes)

        whole, rest = divmod(count, c.lanes)
        each(k, (whole,), self.looped, lambda v: vector(v, c.lanes))
        if rest:
            vector(whole, rest)

    def store_part(self, value: Expr, row: _Row, at: Expr, lanes: int) -> None:
        """The last outputs, fewer than a vector: the same arithmetic in registers, then only those stored."""
        k, c = self.k, self.c
        local = k.registers(c.lanes)
        loads = []
        for extra in row.extras:
            part = k.registers(c.lanes)
            part.store(0, splat(0.0, c.lanes), c.lanes)
            copy_numbers(k, extra, at, part, 0, lanes)
            loads.append(part.load(0, c.lanes))
        local.store(0, apply_epilogue(k, value, c.epilogue, loads, c.lanes), c.lanes)
        copy_numbers(k, local, 0, row.result, at, lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"dense": lower}
"""Family of a kernel -> its lowering."""
