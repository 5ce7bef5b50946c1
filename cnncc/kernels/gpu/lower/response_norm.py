"""Global response norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_, image_of, load_vector, rounds, store_vector
from cnncc.kernels.gpu.lower.epilogue import applied
from cnncc.kernels.gpu.response_norm import STRIP, GpuLengthsConfig, GpuResponseNormConfig
from cnncc.kernels.shared.builder import splat


def lower_lengths(c: GpuLengthsConfig, symbol: str) -> PrimFunc:
    """The roots of sums of squares; what fills up the last vector has no length."""
    lanes, padded = c.source.block, c.source.blocks * c.source.block
    k = CudaBuilder(c.grid, c.threads)
    source = k.images("image", c.source, c.batch)
    result = k.operand("lengths", c.batch * padded)
    shared, mine = k.shared(lanes * c.threads), k.local(lanes)
    for lane in range(lanes):
        mine.store(lane, splat(0.0, 1))
    item, place = divmod_(k, k.thread, c.share)
    per_block, total = c.threads // c.share, c.batch * c.source.blocks
    number = k.let(k.block(0) * per_block + item)
    exists = number < total if total % per_block else None
    image, plane = image_of(k, number, c.batch, c.source.blocks)
    base = k.let(image * (c.source.stride // lanes) + plane * c.source.pixels)
    with rounds(k, c.source.pixels, place, c.share) as pixel, k.unless_certain(exists):
        values = load_vector(k, source, base + pixel, lanes)
        for lane in range(lanes):
            value = k.let(values.load(lane))
            mine.store(lane, mine.load(lane) + value * value)
    for lane in range(lanes):
        shared.store(lane * c.threads + k.thread, mine.load(lane))
    k.fold(shared, lanes, lambda a, b: a + b, share=c.share)
    with k.unless_certain(place < 1 if c.share > 1 else None, exists):
        lengths = [k.let(tirx.sqrt(shared.load(lane * c.threads + k.thread))) for lane in range(lanes)]
        for lane in range(c.source.channels - (c.source.blocks - 1) * lanes, lanes):
            lengths[lane] = k.let(tirx.Select(plane < c.source.blocks - 1, lengths[lane], splat(0.0, 1)))
        store_vector(k, result, number, lengths)
    return k.finish(symbol)


def lower_norm(c: GpuResponseNormConfig, symbol: str) -> PrimFunc:
    """The result: all threads of a block add up the lengths, then each has vectors of its own."""
    view, lanes, padded = c.source, c.source.block, c.source.blocks * c.source.block
    k = CudaBuilder(c.grid, c.threads)
    source = k.operand("image", c.batch * view.numbers)
    lengths = k.operand("lengths", c.batch * padded)
    weight, bias = k.operand("weight", padded), k.operand("bias", padded)
    extras = [k.images(f"extra{i}", c.result, c.batch) for i in range(len(c.extras))]
    result = k.images("result", c.result, c.batch)
    shared, mine = k.shared(c.threads), k.local(1)
    image, chunk = image_of(k, k.block(0), c.batch, c.per_image)
    mine.store(0, splat(0.0, 1))
    with rounds(k, view.channels, k.thread, c.threads) as channel:
        mine.store(0, mine.load(0) + lengths.load(image * padded + channel))
    shared.store(k.thread, mine.load(0))
    k.fold(shared, 1, lambda a, b: a + b)
    mean = shared.load(0) * splat(1.0 / view.channels, 1)
    share = k.let(splat(1.0, 1) / (mean + splat(c.eps, 1)))
    first = k.let(chunk * (STRIP * c.threads) + k.thread)
    with k.unrolled(STRIP) as i:
        at = k.let(first + i * c.threads)
        with k.unless_certain(at < c.vectors if c.vectors % (STRIP * c.threads) else None):
            plane, _ = divmod_(k, at, view.pixels)
            values = load_vector(k, source, image * (view.stride // lanes) + at, lanes)
            scale, shift = (load_vector(k, w, plane, lanes) for w in (weight, bias))
            length = load_vector(k, lengths, image * (padded // lanes) + plane, lanes)
            normed = [
                k.let(values.load(n) * (splat(1.0, 1) + scale.load(n) * (length.load(n) * share)) + shift.load(n))
                for n in range(lanes)
            ]
            places = [image * (s // lanes) + at for s in c.extras]
            added = [load_vector(k, e, place, lanes) for e, place in zip(extras, places, strict=True)]
            finals = applied(k, normed, c.epilogue, added)
            store_vector(k, result, image * (c.result.stride // lanes) + at, finals)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"channel_lengths": lower_lengths, "response_norm": lower_norm}
"""Family of a kernel -> its lowering."""
