"""The elementwise kernel: one pass over the operands, vector by vector."""

from __future__ import annotations

from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.cpu.vectors import apply_epilogue, vmin
from cnncc.kernels.elementwise import ElementwiseConfig, NormalizeConfig


def lower(c: ElementwiseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a piece of one channel block."""
    k = KernelBuilder()
    full, narrow = c.channel_blocks * c.pixels * c.width, c.channel_blocks * c.width
    operands = [k.operand(f"operand{i}", full if kind == "full" else narrow) for i, kind in enumerate(c.operands)]
    affine = [k.operand(n, narrow) for n in ("scale", "shift")] if c.start == "affine" else []
    adds = sum(name == "add" for name, _ in c.epilogue)
    extras = [k.operand(f"extra{i}", full) for i in range(adds)]
    result = k.operand("result", full)

    def value(plane: Expr, at: Expr, offset: Expr, lanes: int) -> Expr:
        def read(buffer: Buffer, kind: str) -> Expr:
            return k.let(buffer.load(at if kind == "full" else plane * c.width + offset, lanes))

        loaded = [read(b, kind) for b, kind in zip(operands, c.operands, strict=True)]
        x = loaded[0]
        if affine:
            scale, shift = (read(b, "channel") for b in affine)
            return x * scale + shift
        for other in loaded[1:]:
            x = x + other if c.start == "add" else x * other
        return k.let(x)

    def vector(plane: Expr, pixel: Expr, offset: Expr, lanes: int) -> None:
        at = k.let((plane * c.pixels + pixel) * c.width + offset)
        loads = [lambda e=e: e.load(at, lanes) for e in extras]
        result.store(at, apply_epilogue(k, value(plane, at, offset, lanes), c.epilogue, loads, lanes), lanes)

    def pixel(plane: Expr, p: Expr) -> None:
        whole = c.width // c.lanes
        k.loop(whole, lambda v: vector(plane, p, v * c.lanes, c.lanes))
        k.loop(c.width - whole * c.lanes, lambda i: vector(plane, p, i + whole * c.lanes, 1))

    def unit(u: Expr) -> None:
        plane, piece = k.let(u // c.pieces), k.let(u % c.pieces)
        size = -(-c.pixels // c.pieces)
        first = k.let(piece * size)
        k.loop(k.let(vmin(size, c.pixels - first)), lambda p: pixel(plane, k.let(first + p)))

    k.units(unit)
    return k.finish(symbol)




def lower_normalize(c: NormalizeConfig, symbol: str) -> PrimFunc:
    """x scale + shift with one scale and shift per plane; a unit is one channel."""
    k = KernelBuilder()
    source = k.operand("source", c.channels * c.pixels)
    scale, shift = k.operand("scale", c.channels), k.operand("shift", c.channels)
    result = k.operand("result", c.channels * c.pixels)

    def plane(channel: Expr) -> None:
        a, b = k.let(scale.load(channel)), k.let(shift.load(channel))

        def move(at: Expr, lanes: int) -> None:
            result.store(at, source.load(at, lanes) * splat(a, lanes) + splat(b, lanes), lanes)

        first, whole = k.let(channel * c.pixels), c.pixels // c.lanes
        k.loop(whole, lambda i: move(first + i * c.lanes, c.lanes))
        k.loop(c.pixels - whole * c.lanes, lambda i: move(first + i + whole * c.lanes, 1))

    k.units(plane)
    return k.finish(symbol)
