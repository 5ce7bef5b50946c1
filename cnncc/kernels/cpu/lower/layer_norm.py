"""Kernels of layer norm, rms norm, pools over channels and global response norm."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.ir.rules import added_inputs
from cnncc.kernels.cpu.layer_norm import (
    ChannelNormConfig,
    ChannelPoolConfig,
    Channels,
    LengthsConfig,
    ResponseNormConfig,
)
from cnncc.kernels.cpu.lower.moves import fill_numbers, vector_runs
from cnncc.kernels.shared.arithmetic import LOWEST, nan_max, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, element, i32, splat
from cnncc.kernels.shared.spec import Epilogue
from cnncc.kernels.shared.vectors import apply_epilogue, horizontal

Load = Callable[[Expr, Expr, int], Expr]
"""Of a channel block and a place in it: the vector of so many lanes."""


class _Total:
    """Values of channels combined: a vector and a scalar, for what fills no vector."""

    def __init__(self, k: KernelBuilder, lanes: int, combine: Callable[[Expr, Expr], Expr] = operator.add) -> None:
        self._k, self._lanes, self._combine = k, lanes, combine
        self.start = 0.0 if combine is operator.add else LOWEST
        self._parts = {n: k.registers(n) for n in {lanes, 1}}
        for n, part in self._parts.items():
            part.store(0, splat(self.start, n), n)

    def add(self, value: Expr, lanes: int) -> None:
        part = self._parts[lanes]
        part.store(0, self._combine(part.load(0, lanes), value), lanes)

    def total(self) -> Expr:
        k, lanes = self._k, self._lanes
        total = horizontal(k, self._parts[lanes].load(0, lanes), lanes, self._combine)
        return k.let(self._combine(total, self._parts[1].load(0))) if lanes > 1 else total


def _over_channels(k: KernelBuilder, image: Channels, totals: _Total, load: Load) -> Expr:
    """The total of what `load` gives for each vector of channels. Lanes beyond the last channel hold anything."""
    whole = image.count // image.width
    for plane, offset, lanes in _vectors(k, image, whole):
        totals.add(load(plane, offset, lanes), lanes)
    for offset in range(0, image.count - whole * image.width, image.lanes):
        value = load(whole, offset, image.lanes)
        totals.add(_masked(image, value, whole * image.width + offset, image.lanes, totals.start), image.lanes)
    return totals.total()


def _vectors(k: KernelBuilder, image: Channels, planes: Expr) -> Iterator[tuple[Expr, Expr, int]]:
    """Opens loops over the vectors of some planes; of each its plane, its place in the block, and its lanes."""
    with k.loop(planes) as plane:
        for lanes, start, runs in vector_runs(image.width, (image.lanes, 1)):
            with k.loop(runs) as v:
                yield plane, v * lanes + start, lanes


def _masked(image: Channels, value: Expr, channel: Expr, lanes: int, beyond: float = 0.0) -> Expr:
    """The value, something else in lanes beyond the last channel."""
    return tirx.Select(element(channel, lanes) < splat(i32(image.count), lanes), value, splat(beyond, lanes))


class _ChannelNorm:
    def __init__(self, config: ChannelNormConfig) -> None:
        self.c, self.image = config, config.image
        self.k = k = KernelBuilder()
        image = self.image
        self.source = k.operand("source", image.floats)
        self.weights = {slot: k.operand(slot, image.planes * image.width) for slot in config.weights}
        self.extras = _extras(k, config.epilogue, image)
        self.result = k.operand("result", image.floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c, image = self.k, self.c, self.image
        with k.units() as u:
            first = k.let(u * c.per_unit)
            with k.loop(k.let(vmin(c.per_unit, image.pixels - first))) as p:
                self.pixel(k.let(first + p))
        return k.finish(symbol)

    def pixel(self, pixel: Expr) -> None:
        """Mean, mean of squares and result of one pixel."""
        k, c, image = self.k, self.c, self.image
        share = splat(1.0 / image.count, 1)
        mean = k.let(self.total(pixel, lambda x, lanes: x) * share) if c.centred else None

        def centred(x: Expr, lanes: int) -> Expr:
            return k.let(x if mean is None else x - splat(mean, lanes))

        def squared(x: Expr, lanes: int) -> Expr:
            x = centred(x, lanes)
            return x * x

        variance = k.let(self.total(pixel, squared) * share)
        factor = k.let(splat(1.0, 1) / tirx.sqrt(variance + splat(c.eps, 1)))
        for plane, offset, lanes in _vectors(k, image, image.planes):
            channel = k.let(plane * image.width + offset)
            at = _at(k, image, pixel, plane, offset)
            y = centred(self.source.load(at, lanes), lanes) * splat(factor, lanes)
            y = y * self.weights["weight"].load(channel, lanes) if "weight" in self.weights else y
            y = y + self.weights["bias"].load(channel, lanes) if "bias" in self.weights else y
            y = apply_epilogue(k, y, c.epilogue, [e.load(at, lanes) for e in self.extras], lanes)
            self.result.store(at, y, lanes)

    def total(self, pixel: Expr, term: Callable[[Expr, int], Expr]) -> Expr:
        """The sum of `term` over the channels."""
        k, image = self.k, self.image

        def load(plane: Expr, offset: Expr, lanes: int) -> Expr:
            return term(self.source.load(_at(k, image, pixel, plane, offset), lanes), lanes)

        return _over_channels(k, image, _Total(k, image.lanes), load)


def _at(k: KernelBuilder, image: Channels, pixel: Expr, plane: Expr, offset: Expr) -> Expr:
    """The index of a channel of a pixel."""
    return k.let((plane * image.pixels + pixel) * image.width + offset)


def lower_channel_pool(c: ChannelPoolConfig, symbol: str) -> PrimFunc:
    """One number for each pixel, in the first channel of a block whose others are 0."""
    k, image = KernelBuilder(), c.image
    source = k.operand("source", image.floats)
    result = k.operand("result", image.pixels * image.width)
    combine = nan_max if c.mode == "max" else operator.add
    with k.units() as u:
        first = k.let(u * c.per_unit)
        with k.loop(k.let(vmin(c.per_unit, image.pixels - first))) as p:
            pixel = k.let(first + p)

            def load(plane: Expr, offset: Expr, lanes: int, pixel: Expr = pixel) -> Expr:
                return source.load(_at(k, image, pixel, plane, offset), lanes)

            value = _over_channels(k, image, _Total(k, image.lanes, combine), load)
            fill_numbers(k, result, k.let(pixel * image.width), image.width)
            result.store(pixel * image.width, value * splat(1.0 / image.count, 1) if c.mode == "avg" else value)
    return k.finish(symbol)


def lower_lengths(c: LengthsConfig, symbol: str) -> PrimFunc:
    """The root of the sum of squares of each channel's plane, 0 beyond the last channel; a unit is a channel block."""
    k, image = KernelBuilder(), c.image
    source = k.operand("source", image.floats)
    result = k.operand("result", image.planes * image.width)
    with k.units() as plane:
        for lanes, start, runs in vector_runs(image.width, (image.lanes, 1)):
            with k.loop(runs) as v:
                offset = k.let(v * lanes + start)
                total = k.registers(lanes)
                total.store(0, splat(0.0, lanes), lanes)
                with k.loop(image.pixels) as p:
                    x = k.let(source.load((plane * image.pixels + p) * image.width + offset, lanes))
                    total.store(0, total.load(0, lanes) + x * x, lanes)
                channel = k.let(plane * image.width + offset)
                result.store(channel, _masked(image, tirx.sqrt(total.load(0, lanes)), channel, lanes), lanes)
    return k.finish(symbol)


class _ResponseNorm:
    def __init__(self, config: ResponseNormConfig) -> None:
        self.c, self.image = config, config.image
        self.k = k = KernelBuilder()
        narrow = self.image.planes * self.image.width
        self.source = k.operand("source", self.image.floats)
        self.lengths, self.weight, self.bias = (k.operand(n, narrow) for n in ("lengths", "weight", "bias"))
        self.extras = _extras(k, config.epilogue, self.image)
        self.result = k.operand("result", self.image.floats)

    def build(self, symbol: str) -> PrimFunc:
        k, c, image = self.k, self.c, self.image
        size = -(-image.pixels // c.parts)
        with k.units() as u:
            plane, first = k.let(u // c.parts), k.let(u % c.parts * size)
            share = self.share()
            count = k.let(vmin(size, image.pixels - first))
            for lanes, start, runs in vector_runs(image.width, (image.lanes, 1)):
                with k.loop(runs) as v:
                    offset = k.let(v * lanes + start)
                    channel = k.let(plane * image.width + offset)
                    n = self.lengths.load(channel, lanes) * splat(share, lanes)
                    factor = k.let(splat(1.0, lanes) + self.weight.load(channel, lanes) * n)
                    bias = k.let(self.bias.load(channel, lanes))
                    with k.loop(count) as p:
                        at = k.let((plane * image.pixels + first + p) * image.width + offset)
                        y = self.source.load(at, lanes) * factor + bias
                        y = apply_epilogue(k, y, c.epilogue, [e.load(at, lanes) for e in self.extras], lanes)
                        self.result.store(at, y, lanes)
        return k.finish(symbol)

    def share(self) -> Expr:
        """One over the mean length."""
        k, image = self.k, self.image
        sums = _Total(k, image.lanes)
        for plane, offset, lanes in _vectors(k, image, image.planes):
            sums.add(self.lengths.load(plane * image.width + offset, lanes), lanes)
        return k.let(splat(1.0, 1) / (sums.total() * splat(1.0 / image.count, 1) + splat(self.c.eps, 1)))


def _extras(k: KernelBuilder, epilogue: Epilogue, image: Channels) -> list[Buffer]:
    return [k.operand(f"extra{i}", image.floats) for i in range(added_inputs(epilogue))]


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "channel_norm": lambda c, symbol: _ChannelNorm(c).build(symbol),
    "channel_pool": lower_channel_pool,
    "channel_lengths": lower_lengths,
    "response_norm": lambda c, symbol: _ResponseNorm(c).build(symbol),
}
"""Family of a kernel -> its lowering."""
