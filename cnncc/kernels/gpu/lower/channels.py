"""LRN, softmax and global pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.channels import GpuGlobalPoolConfig, GpuLrnConfig, GpuSoftmaxConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.spec import VECTOR, grid_of
from cnncc.kernels.shared.arithmetic import LOWEST, exp, nan_max, power
from cnncc.kernels.shared.builder import Expr, splat


def lower_lrn(c: GpuLrnConfig, symbol: str) -> PrimFunc:
    """x / (k + alpha / size * squares around)^beta."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    result = k.images("result", c.result, c.batch)
    half = c.window // 2
    around = -(-half // VECTOR)
    with k.each(c.total) as index:
        image, vector = image_of(k, index, c.batch, c.result.numbers // VECTOR)
        block, pixel = divmod_(k, vector, c.source.pixels)
        near = _Neighbours(k, c, k.local((2 * around + 1) * VECTOR), k.local(VECTOR))
        squares, centre = near.squares, near.centre
        base = k.let(image * (c.source.stride // VECTOR))
        for i in range(2 * around + 1):
            other = k.let(block + (i - around))
            at = base + other * c.source.pixels + pixel
            near.fill(i, other, partial(load_vector, k, source, at, VECTOR), is_centre=i == around)
        values = []
        for lane in range(VECTOR):
            first = around * VECTOR + lane - (c.window - 1) // 2
            total = squares.load(first)
            for n in range(1, c.window):
                total = total + squares.load(first + n)
            scale = k.let(splat(c.k, 1) + k.let(total) * splat(c.alpha / c.window, 1))
            values.append(centre.load(lane) * power(k, scale, -c.beta, 1))
        store_vector(k, result, image * (c.result.stride // VECTOR) + vector, values)
    return k.finish(symbol)


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """Of a vector of channels: its numbers, and the squares of all that are near enough."""

    k: CudaBuilder
    c: GpuLrnConfig
    squares: Array
    centre: Array

    def fill(self, place: int, block: Expr, load: Callable[[], Array], is_centre: bool) -> None:
        """The squares of one block of channels, which `load` loads; zeros beyond the first and the last channel."""
        k, channels = self.k, self.c.source.channels
        for lane in range(VECTOR):
            self.squares.store(place * VECTOR + lane, splat(0.0, 1))
        with k.unless_certain(*([] if is_centre else [block >= 0, block < self.c.source.blocks])):
            values = load()
            for lane in range(VECTOR):
                value = k.let(values.load(lane))
                if is_centre:
                    self.centre.store(lane, value)
                with k.unless_certain(block * VECTOR + lane < channels if channels % VECTOR else None):
                    self.squares.store(place * VECTOR + lane, value * value)


def lower_softmax(c: GpuSoftmaxConfig, symbol: str) -> PrimFunc:
    """exp(x - largest) / sum of those, over the channels."""
    k = CudaBuilder(c.grid, c.threads)
    source = k.operand("image", c.batch * c.rows * c.source.numbers)
    result = k.operand("result", c.batch * c.rows * c.result.numbers)
    if c.shared:
        _softmax_of_block(k, c, source, result)
    else:
        with k.each(c.batch * c.result.pixels) as index:
            image, pixel = image_of(k, index, c.batch, c.result.pixels)
            _softmax_of_thread(k, c, source, result, image, pixel)
    return k.finish(symbol)


def _at(c: GpuSoftmaxConfig, channel: Expr, pixel: Expr) -> Expr:
    """Index of a channel of a pixel in an image."""
    if c.source.block == 1:
        return channel * c.source.pixels + pixel
    block, lane = tirx.shift_right(channel, tirx.IntImm("int32", 2)), tirx.bitwise_and(channel, tirx.IntImm("int32", 3))
    return (block * c.source.pixels + pixel) * VECTOR + lane


def _softmax_of_block(k: CudaBuilder, c: GpuSoftmaxConfig, source: Array, result: Array) -> None:
    shared, mine = k.shared(c.threads), k.local(1)
    image, row = (k.block(0), 0) if c.rows == 1 else image_of(k, k.block(0), c.batch, c.rows)
    base = k.let(image * c.source.stride + row * c.source.channels)
    to = k.let(image * c.result.stride + row * c.result.channels)
    rounds = -(-c.source.channels // c.threads)

    def share(total: int) -> None:
        """The value of all threads combined."""
        shared.store(k.thread, mine.load(0))
        k.fold(shared, 1, (lambda a, b: nan_max(a, b)) if total == 0 else (lambda a, b: a + b))

    mine.store(0, splat(LOWEST, 1))
    with _channels(k, c, rounds, c.source.channels) as channel:
        value = k.let(source.load(base + _at(c, channel, 0)))
        mine.store(0, nan_max(value, k.let(mine.load(0))))
    share(0)
    largest = k.let(shared.load(0))
    k.barrier()
    mine.store(0, splat(0.0, 1))
    with _channels(k, c, rounds, c.source.channels) as channel:
        mine.store(0, mine.load(0) + exp(k, source.load(base + _at(c, channel, 0)) - largest, 1))
    share(1)
    scale = k.let(splat(1.0, 1) / shared.load(0))
    with _channels(k, c, rounds, c.source.channels) as channel:
        at = k.let(_at(c, channel, 0))
        result.store(to + at, exp(k, source.load(base + at) - largest, 1) * scale)
    _clear(k, c, result, to, 0, k.thread)


def _softmax_of_thread(
    k: CudaBuilder, c: GpuSoftmaxConfig, source: Array, result: Array, image: Expr, pixel: Expr
) -> None:
    base, to = k.let(image * c.source.stride), k.let(image * c.result.stride)
    largest, total = k.local(1), k.local(1)
    largest.store(0, splat(LOWEST, 1))
    total.store(0, splat(0.0, 1))
    with k.loop(c.source.channels, "channel") as channel:
        value = k.let(source.load(base + _at(c, channel, pixel)))
        largest.store(0, nan_max(value, k.let(largest.load(0))))
    with k.loop(c.source.channels, "channel") as channel:
        total.store(0, total.load(0) + exp(k, source.load(base + _at(c, channel, pixel)) - largest.load(0), 1))
    scale = k.let(splat(1.0, 1) / total.load(0))
    with k.loop(c.source.channels, "channel") as channel:
        at = k.let(_at(c, channel, pixel))
        result.store(to + at, exp(k, source.load(base + at) - largest.load(0), 1) * scale)
    _clear(k, c, result, to, pixel, None)


def _clear(k: CudaBuilder, c: GpuSoftmaxConfig, result: Array, to: Expr, pixel: Expr, thread: Expr | None) -> None:
    """Zeros for the channels that fill up the last block."""
    for channel in range(c.result.channels, c.result.blocks * c.result.block):
        with k.unless_certain(None if thread is None else thread == channel - c.result.channels):
            result.store(to + _at(c, tirx.IntImm("int32", channel), pixel), splat(0.0, 1))


class _channels:
    """The channels of this thread: every `threads`-th one."""

    def __init__(self, k: CudaBuilder, c: GpuSoftmaxConfig, rounds: int, channels: int) -> None:
        self.k, self.c, self.rounds, self.channels = k, c, rounds, channels

    def __enter__(self) -> Expr:
        self._loop = self.k.loop(self.rounds, "round")
        turn = self._loop.__enter__()
        channel = self.k.let(turn * self.c.threads + self.k.thread)
        partial = self.rounds * self.c.threads > self.channels
        self._guard = self.k.unless_certain(channel < self.channels if partial else None)
        self._guard.__enter__()
        return channel

    def __exit__(self, *error: object) -> None:
        self._guard.__exit__(None, None, None)
        self._loop.__exit__(None, None, None)


def lower_global_pool(c: GpuGlobalPoolConfig, symbol: str) -> PrimFunc:
    """Mean or maximum of every channel."""
    k = CudaBuilder(c.grid, c.threads)
    source = k.images("image", c.source, c.batch)
    result = k.images("result", c.result, c.batch)
    lanes = c.source.block
    shared, mine = k.shared(lanes * c.threads), k.local(lanes)
    for lane in range(lanes):
        mine.store(lane, splat(LOWEST if c.mode == "max" else 0.0, 1))
    image, block = image_of(k, k.block(0), c.batch, c.source.blocks)
    base = k.let(image * (c.source.stride // lanes) + block * c.source.pixels)
    rounds = -(-c.source.pixels // c.threads)
    with k.loop(rounds, "round") as turn:
        pixel = k.let(turn * c.threads + k.thread)
        with k.unless_certain(pixel < c.source.pixels if rounds * c.threads > c.source.pixels else None):
            values = load_vector(k, source, base + pixel, lanes)
            for lane in range(lanes):
                value, before = k.let(values.load(lane)), k.let(mine.load(lane))
                mine.store(lane, nan_max(value, before) if c.mode == "max" else before + value)
    for lane in range(lanes):
        shared.store(lane * c.threads + k.thread, mine.load(lane))
    k.fold(shared, lanes, nan_max if c.mode == "max" else lambda a, b: a + b)
    with k.when(k.thread == 0):
        finals = [shared.load(lane * c.threads) for lane in range(lanes)]
        if c.mode == "avg":
            finals = [value * splat(1.0 / c.source.pixels, 1) for value in finals]
        parts, wide = lanes // c.result.block, c.result.block
        for part in range(parts):
            to = k.let(block * parts + part)
            with k.unless_certain(to < c.result.blocks if c.result.blocks % parts and part else None):
                store_vector(k, result, image * (c.result.stride // wide) + to, finals[part * wide : (part + 1) * wide])
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "lrn": lower_lrn,
    "softmax": lower_softmax,
    "global_pool": lower_global_pool,
}
"""Family of a kernel -> its lowering."""
