"""Norms and pools across the channels of each pixel: sums of a pixel's channels by a tree over the threads that share
them, then the result, for which the image is read again while it is in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.channel_norm import Columns, GpuChannelNormConfig, GpuChannelPoolConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, rounds, store_vector
from cnncc.kernels.gpu.lower.epilogue import applied
from cnncc.kernels.shared.arithmetic import LOWEST, nan_max
from cnncc.kernels.shared.builder import Expr, splat

Combine = Callable[[Expr, Expr], Expr]


def add(a: Expr, b: Expr) -> Expr:
    return a + b


class _Columns:
    """Which pixel and which of its vectors a thread has."""

    def __init__(self, c: Columns) -> None:
        self.c = c
        self.k = k = CudaBuilder(c.grid, c.threads)
        self.lanes = c.source.block
        self.source = k.images("image", c.source, c.batch)

    def place(self) -> None:
        """Call after all operands and shared arrays."""
        k, c = self.k, self.c
        self.share, self.column = divmod_(k, k.thread, c.pixels)
        index = k.let(k.block(0) * c.pixels + self.column)
        self.exists = index < c.total if c.total % c.pixels else None
        self.image, self.pixel = image_of(k, index, c.batch, c.source.pixels)
        self.base = k.let(self.image * (c.source.stride // self.lanes) + self.pixel)

    @contextmanager
    def vectors(self) -> Iterator[tuple[Expr, list[Any]]]:
        """This thread's vectors of channels: which one it is, and its numbers."""
        k, c = self.k, self.c
        with rounds(k, c.source.blocks, self.share, c.share) as block, k.unless_certain(self.exists):
            values = load_vector(k, self.source, self.base + block * c.source.pixels, self.lanes)
            yield block, [k.let(values.load(lane)) for lane in range(self.lanes)]

    def folded(self, shared: Array, of: Callable[[Expr], Expr], combine: Combine, start: float) -> Expr:
        """What all channels of the pixel combine to."""
        k, c = self.k, self.c
        mine = k.local(1)
        mine.store(0, splat(start, 1))
        with self.vectors() as (block, values):
            for lane, value in enumerate(values):
                more = combine(k.let(of(value)), k.let(mine.load(0)))
                mine.store(0, self.known(block, lane, more, mine.load(0)))
        shared.store(k.thread, mine.load(0))
        k.fold(shared, 1, combine, columns=c.pixels)
        return k.let(shared.load(self.column))

    def known(self, block: Expr, lane: int, value: Expr, other: Expr) -> Expr:
        """The value, or the other one where the lane only fills up the last vector of channels."""
        view = self.c.source
        if lane < view.channels - (view.blocks - 1) * view.block:
            return value
        return tirx.Select(block < view.blocks - 1, value, other)


def lower_norm(c: GpuChannelNormConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    columns = _Columns(c.columns)
    k, view, result_view = columns.k, c.columns.source, c.columns.result
    lanes, channels = view.block, view.channels
    weights = {slot: k.operand(slot, view.blocks * lanes) for slot in c.weights}
    extras = [k.images(f"extra{i}", result_view, c.columns.batch) for i in range(len(c.extras))]
    result = k.images("result", result_view, c.columns.batch)
    sums, squares = (
        (k.shared(c.columns.threads) for _ in range(2)) if c.centred else (None, k.shared(c.columns.threads))
    )
    columns.place()
    share = splat(1.0 / channels, 1)
    mean = k.let(columns.folded(sums, lambda x: x, add, 0.0) * share) if sums is not None else None

    def centred(x: Expr) -> Expr:
        return x if mean is None else x - mean

    def square(x: Expr) -> Expr:
        away = k.let(centred(x))
        return away * away

    variance = columns.folded(squares, square, add, 0.0) * share
    factor = k.let(splat(1.0, 1) / tirx.sqrt(variance + splat(c.eps, 1)))
    with columns.vectors() as (block, values):
        scale, shift = (load_vector(k, weights[s], block, lanes) if s in weights else None for s in ("weight", "bias"))
        normed = [k.let(centred(x) * factor) for x in values]
        normed = [x if scale is None else x * scale.load(i) for i, x in enumerate(normed)]
        normed = [x if shift is None else x + shift.load(i) for i, x in enumerate(normed)]
        at = k.let(block * view.pixels + columns.pixel)
        added = [
            load_vector(k, e, columns.image * (s // lanes) + at, lanes) for e, s in zip(extras, c.extras, strict=True)
        ]
        finals = applied(k, normed, c.epilogue, added)
        store_vector(k, result, columns.image * (result_view.stride // lanes) + at, finals)
    return k.finish(symbol)


def lower_pool(c: GpuChannelPoolConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration. The result has one channel; what fills up its vector is zeros."""
    columns = _Columns(c.columns)
    k, view = columns.k, c.columns.result
    result = k.images("result", view, c.columns.batch)
    shared = k.shared(c.columns.threads)
    columns.place()
    combine, start = (nan_max, LOWEST) if c.mode == "max" else (add, 0.0)
    value = columns.folded(shared, lambda x: x, combine, start)
    if c.mode == "avg":
        value = k.let(value * splat(1.0 / c.columns.source.channels, 1))
    with k.unless_certain(columns.share < 1, columns.exists):
        at = columns.image * (view.stride // view.block) + columns.pixel
        store_vector(k, result, at, [value, *[splat(0.0, 1)] * (view.block - 1)])
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"channel_norm": lower_norm, "channel_pool": lower_pool}
"""Family of a kernel -> its lowering."""
