"""The fully connected kernel: images x output blocks in registers, weights streamed."""

from __future__ import annotations

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.cpu.conv_direct import copy_floats
from cnncc.kernels.cpu.vectors import apply_epilogue
from cnncc.kernels.dense import DenseConfig
from cnncc.kernels.tiles import even_tiles

UNROLL = 4


def lower(config: DenseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one group of output blocks for all images."""
    c, k = config, KernelBuilder()
    padded = c.out_blocks * c.block
    source = k.operand("source", (c.images - 1) * c.in_stride + c.inputs)
    weight = k.operand("weight", padded * c.inputs)
    bias = k.operand("bias", padded) if c.bias else None
    extras = [k.operand(f"extra{i}", (c.images - 1) * s + c.outputs) for i, s in enumerate(c.extra_strides)]
    result = k.operand("result", (c.images - 1) * c.out_stride + c.outputs)

    def tile(first: Expr, size: int, image: Expr, images: int, partial: int) -> None:
        """`images` images from `image`, `size` blocks from block `first`; the last block has `partial` outputs."""
        vectors = size * c.block // c.lanes
        acc = k.registers(images * size * c.block)
        for v in range(vectors):
            start = splat(0.0, c.lanes) if bias is None else k.let(bias.load(first * c.block + v * c.lanes, c.lanes))
            for i in range(images):
                acc.store(i * size * c.block + v * c.lanes, start, c.lanes)
        at, here = k.let(image * c.in_stride), k.let(first * (c.block * c.inputs))

        def step(x: Expr, w: Expr) -> None:
            loaded = [k.let(weight.load(w + v * c.lanes, c.lanes)) for v in range(vectors)]
            for i in range(images):
                value = k.let(splat(source.load(x + i * c.in_stride), c.lanes))
                for v, vector in enumerate(loaded):
                    index = i * size * c.block + v * c.lanes
                    acc.store(index, acc.load(index, c.lanes) + value * vector, c.lanes)

        def several(j: Expr) -> None:
            for q in range(UNROLL):
                step(at + j * UNROLL + q, here + (j * UNROLL + q) * (size * c.block))

        k.loop(c.inputs // UNROLL, several)
        for q in range(c.inputs // UNROLL * UNROLL, c.inputs):
            step(at + q, here + q * (size * c.block))
        for i in range(images):
            finish(acc, i, first, size, image + i, partial)

    def finish(acc: Buffer, i: int, first: Expr, size: int, image: Expr, partial: int) -> None:
        row = k.let(image * c.out_stride + first * c.block)
        for v in range(size * c.block // c.lanes):
            lanes = min(c.lanes, partial + (size - 1) * c.block - v * c.lanes)
            if lanes <= 0:
                continue
            value = acc.load(i * size * c.block + v * c.lanes, c.lanes)
            if lanes == c.lanes:
                column = first * c.block + v * c.lanes
                loads = [
                    lambda e=e, s=s, col=column: e.load(image * s + col, c.lanes)
                    for e, s in zip(extras, c.extra_strides, strict=True)
                ]
                result.store(row + v * c.lanes, apply_epilogue(k, value, c.epilogue, loads, c.lanes), c.lanes)
            else:
                spill(value, first * c.block + v * c.lanes, row + v * c.lanes, image, lanes)

    def spill(value: Expr, column: Expr, to: Expr, image: Expr, lanes: int) -> None:
        """The last outputs, fewer than a vector: the same arithmetic in registers, then only those stored."""
        local = k.registers(c.lanes)
        loads = []
        for e, s in zip(extras, c.extra_strides, strict=True):
            part = k.registers(c.lanes)
            part.store(0, splat(0.0, c.lanes), c.lanes)
            copy_floats(k, e, k.let(image * s + column), part, 0, lanes)
            loads.append(lambda part=part: part.load(0, c.lanes))
        local.store(0, apply_epilogue(k, value, c.epilogue, loads, c.lanes), c.lanes)
        copy_floats(k, local, 0, result, to, lanes)

    def group(first: Expr, size: int, partial: int) -> None:
        for start, images, count in even_tiles(c.images, c.image_tile):
            k.loop(count, lambda i, s=start, n=images: tile(first, size, k.let(i * n + s), n, partial))

    full = c.block
    last = c.outputs - (c.out_blocks - 1) * c.block

    def unit(u: Expr) -> None:
        """Groups are numbered through the runs; only the very last one can hold a partial block."""
        total = sum(n for *_, n in c.runs)
        passed = 0
        for start, size, count in c.runs:
            first = k.let(start + (u - passed) * size)
            final = passed + count == total and last != full
            inner = count - 1 if final else count
            if inner:
                in_run = (u >= passed, u < passed + inner)
                k.when(tirx.all(*in_run), lambda f=first, s=size: group(f, s, full))
            if final:
                k.when(u == total - 1, lambda f=first, s=size: group(f, s, last))
            passed += count

    k.units(unit)
    return k.finish(symbol)


