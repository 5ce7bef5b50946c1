"""The elementwise kernel: one pass over the operands, vector by vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.elementwise import ElementwiseConfig
from cnncc.kernels.cpu.lower.bfloats import round_by
from cnncc.kernels.cpu.lower.moves import vector_runs
from cnncc.kernels.shared.arithmetic import vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, element, i32, splat
from cnncc.kernels.shared.vectors import apply_epilogue, merged

WEIGHTS = {"affine": ("scale", "shift"), "prelu": ("slope",)}
"""Operands with one value per channel that are no arms."""


def lower(config: ElementwiseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a part of the pixels of one channel block."""
    return _Elementwise(config).build(symbol)


class _Elementwise:
    def __init__(self, config: ElementwiseConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        round_by(k, c.rounds)
        element = ELEMENTS[c.element]
        full, narrow = c.channel_blocks * c.pixels * c.width, c.channel_blocks * c.width
        sizes = {"full": full, "channel": narrow, "pixel": c.pixels * c.width}
        self.operands = [k.operand(f"operand{i}", sizes[kind], element) for i, kind in enumerate(c.operands)]
        self.weights = [k.operand(n, narrow) for n in WEIGHTS.get(c.start, ())]
        adds = added_inputs(c.epilogue)
        self.extras = [k.operand(f"extra{i}", full, element) for i in range(adds)]
        self.result = k.operand("result", full, element)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        size = -(-c.pixels // c.parts)
        with k.units() as u:
            plane, part = k.let(u // c.parts), k.let(u % c.parts)
            first = k.let(part * size)
            with k.loop(k.let(vmin(size, c.pixels - first))) as p:
                pixel = k.let(first + p)
                for lanes, start, runs in vector_runs(c.width, (c.lanes, 1)):
                    with k.loop(runs) as v:
                        self.vector(plane, pixel, v * lanes + start, lanes)
        return k.finish(symbol)

    def vector(self, plane: Expr, pixel: Expr, offset: Expr, lanes: int) -> None:
        """`lanes` values from channel `offset` of a pixel."""
        k, c = self.k, self.c
        at = k.let((plane * c.pixels + pixel) * c.width + offset)
        value = self.value({"full": at, "channel": plane * c.width + offset, "pixel": pixel * c.width}, lanes)
        extras = [e.load(at, lanes) for e in self.extras]
        value = self.cleared(apply_epilogue(k, value, c.epilogue, extras, lanes), plane * c.width + offset, lanes)
        self.result.store(at, value, lanes)

    def cleared(self, value: Expr, channel: Expr, lanes: int) -> Expr:
        """The value, with 0 beyond the last channel where something else could be infinite."""
        if not self.c.channels:
            return value
        inside = element(channel, lanes) < splat(i32(self.c.channels), lanes)
        return tirx.Select(inside, value, splat(0.0, lanes))

    def value(self, places: Mapping[str, Expr], lanes: int) -> Expr:
        """The operands combined; `places` are indices in an image, in a vector of channels, and in one of pixels, which
        lie in the first channel of a block."""
        k, c = self.k, self.c
        values = [
            k.let(splat(b.load(places[kind]), lanes) if kind == "pixel" else b.load(places[kind], lanes))
            for b, kind in zip(self.operands, c.operands, strict=True)
        ]
        weights = [k.let(b.load(places["channel"], lanes)) for b in self.weights]
        if c.start == "affine":
            return values[0] * weights[0] + weights[1]
        if c.start == "prelu":
            return values[0] * tirx.Select(values[0] < splat(0.0, lanes), weights[0], splat(1.0, lanes))
        return merged(k, c.start, values, lanes)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"elementwise": lower}
"""Family of a kernel -> its lowering."""
