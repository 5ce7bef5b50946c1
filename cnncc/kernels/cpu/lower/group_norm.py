"""The group norm kernels that write the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim, above
from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.group_norm import GroupNormConfig, Groups, NormedConfig
from cnncc.kernels.cpu.lower.moments import run_moments
from cnncc.kernels.cpu.lower.moves import vector_runs
from cnncc.kernels.shared.arithmetic import share_of, vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.spec import Epilogue
from cnncc.kernels.shared.vectors import apply_epilogue

Channel = Callable[[Expr, int], tuple[Expr, Expr, Expr | None]]
"""Of a channel and so many lanes: mean, factor and bias of the channels from there on."""


class _Writer:
    """Writes (x - mean) * factor + bias after its post-ops."""

    def __init__(self, k: KernelBuilder, groups: Groups, source: Buffer, epilogue: Epilogue) -> None:
        self.k, self.image = k, groups.image
        self.source, self.epilogue = source, epilogue
        self.extras = [k.operand(f"extra{i}", self.image.floats) for i in range(added_inputs(epilogue))]
        self.result = k.operand("result", self.image.floats)

    def channels(self, channel: Expr, start: Expr, width: int, count: Expr, of: Channel) -> None:
        """`count` pixels of `width` channels that lie next to each other, from index `start` on."""
        k = self.k
        for lanes, offset, runs in vector_runs(width, (self.image.lanes, 1)):
            with k.loop(runs) as v:
                first = k.let(v * lanes + offset)
                values = of(k.let(channel + first), lanes)
                with k.loop(count) as p:
                    self.store(k.let(start + p * width + first), lanes, *values)

    def plane(self, channel: Expr, start: Expr, count: Expr, of: Channel) -> None:
        """`count` pixels of one channel that follow each other."""
        k, lanes = self.k, self.image.lanes
        values = of(channel, 1)
        wide = [None if v is None else k.let(splat(v, lanes)) for v in values]
        whole = k.let(count // lanes)
        with k.loop(whole) as p:
            self.store(k.let(start + p * lanes), lanes, *wide)
        if lanes > 1:
            rest = k.let(start + whole * lanes)
            with k.loop(k.let(count - whole * lanes)) as p:
                self.store(k.let(rest + p), 1, *values)

    def store(self, at: Expr, lanes: int, mean: Expr, factor: Expr, bias: Expr | None) -> None:
        y = (self.source.load(at, lanes) - mean) * factor
        y = y if bias is None else y + bias
        extras = [e.load(at, lanes) for e in self.extras]
        self.result.store(at, apply_epilogue(self.k, y, self.epilogue, extras, lanes), lanes)


def lower_normed(c: NormedConfig, symbol: str) -> PrimFunc:
    """A part of the pixels of a channel block; mean and factor of each channel come from memory."""
    k, image = KernelBuilder(), c.groups.image
    padded = image.planes * image.width
    source = k.operand("source", image.floats)
    scales = k.operand("scales", c.start + 2 * padded)
    bias = k.operand("bias", padded) if "bias" in c.weights else None
    writer = _Writer(k, c.groups, source, c.epilogue)
    size = -(-image.pixels // c.parts)

    def of(channel: Expr, lanes: int) -> tuple[Expr, Expr, Expr | None]:
        mean, factor = (k.let(scales.load(c.start + n + channel, lanes)) for n in (0, padded))
        return mean, factor, None if bias is None else k.let(bias.load(channel, lanes))

    with k.units() as u:
        plane, first = k.let(u // c.parts), k.let(u % c.parts * size)
        even = not isinstance(size, Dim) and image.pixels % size == 0
        count = size if even else k.let(vmax(0, vmin(size, image.pixels - first)))
        start, channel = k.let((plane * image.pixels + first) * image.width), k.let(plane * image.width)
        if image.width == 1:
            writer.plane(channel, start, count, of)
        else:
            writer.channels(channel, start, image.width, count, of)
    return k.finish(symbol)


def lower_at_once(c: GroupNormConfig, symbol: str) -> PrimFunc:
    """Statistics and result of one group."""
    k, groups, image = KernelBuilder(), c.groups, c.groups.image
    padded = image.planes * image.width
    source = k.operand("source", image.floats)
    weights = {slot: k.operand(slot, padded) for slot in c.weights}
    writer = _Writer(k, groups, source, c.epilogue)
    with k.units() as group:
        start, channel = k.let(group * groups.values), k.let(group * groups.channels)
        mean, squares = run_moments(k, source, start, groups.values, image.lanes)
        variance = vmax(splat(0.0, 1), k.let(squares * splat(share_of(k, groups.values), 1)))
        share = k.let(splat(1.0, 1) / tirx.sqrt(variance + splat(c.eps, 1)))

        def of(channel: Expr, lanes: int) -> tuple[Expr, Expr, Expr | None]:
            weight, bias = (
                k.let(weights[s].load(channel, lanes)) if s in weights else None for s in ("weight", "bias")
            )
            factor = splat(share, lanes) if weight is None else k.let(weight * splat(share, lanes))
            return splat(mean, lanes), factor, bias

        width = min(image.width, groups.channels)
        with k.loop(groups.channels // width) as i:
            at, first = k.let(start + i * (image.pixels * width)), k.let(channel + i * width)
            if image.width == 1 and above(image.pixels, 1):
                writer.plane(first, at, image.pixels, of)
            else:
                writer.channels(first, at, width, image.pixels, of)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"group_normed": lower_normed, "group_norm": lower_at_once}
"""Family of a kernel -> its lowering."""
