"""Group norm: sums by a tree over the threads of a block; moments of parts are combined as Chan et al. (1979) do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.group_norm import (
    SCALE_THREADS,
    GpuGroupNormConfig,
    GpuGroups,
    GpuMomentsConfig,
    GpuNormedConfig,
    GpuScalesConfig,
)
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, rounds, store_vector
from cnncc.kernels.gpu.lower.epilogue import applied
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.builder import Expr, i32, splat


def add(a: Expr, b: Expr) -> Expr:
    return a + b


class _Part:
    """Vectors from `first` to `end` of an item of an image, whose vectors begin at `base`."""

    def __init__(self, k: CudaBuilder, groups: GpuGroups, source: Array, base: Expr, first: Expr, end: Expr) -> None:
        self.k, self.groups, self.source = k, groups, source
        self.base, self.first, self.end = base, first, end

    def sums(self, shared: Array, of: Callable[[int, Expr], Expr]) -> list[Any]:
        """What `of` makes of each lane of each vector, added up: all together, or lane by lane."""
        k, lanes, block = self.k, self.groups.lanes, self.groups.image.block
        mine = k.local(lanes)
        for lane in range(lanes):
            mine.store(lane, splat(0.0, 1))
        with rounds(k, self.end, k.thread, k.threads, self.first) as vector:
            values = load_vector(k, self.source, self.base + vector, block)
            for lane in range(block):
                to = lane % lanes
                mine.store(to, mine.load(to) + of(to, k.let(values.load(lane))))
        for lane in range(lanes):
            shared.store(lane * k.threads + k.thread, mine.load(lane))
        k.fold(shared, lanes, add)
        return [k.let(shared.load(lane * k.threads)) for lane in range(lanes)]

    def moments(self, shared: Sequence[Array], share: Expr) -> tuple[list[Any], list[Any]]:
        """Means, of sums times `share`, and the sums of squares around them."""
        k = self.k
        means = [k.let(total * share) for total in self.sums(shared[0], lambda lane, x: x)]

        def square(lane: int, x: Expr) -> Expr:
            away = k.let(x - means[lane])
            return away * away

        return means, self.sums(shared[1], square)


def lower_at_once(c: GpuGroupNormConfig, symbol: str) -> PrimFunc:
    """Statistics and result of a group."""
    groups = c.groups
    view, block = groups.image, groups.image.block
    k = CudaBuilder(c.grid, c.threads)
    source = k.operand("image", groups.batch * view.numbers)
    weights = {slot: k.operand(slot, view.blocks * block) for slot in c.weights}
    extras = [k.images(f"extra{i}", c.result, groups.batch) for i in range(len(c.extras))]
    result = k.images("result", c.result, groups.batch)
    shared = [k.shared(k.threads) for _ in range(2)]
    image, group = image_of(k, k.block(0), groups.batch, groups.count)
    first = k.let(group * groups.vectors)
    base = k.let(image * (view.stride // block))
    share = splat(1.0 / (groups.vectors * block), 1)
    part = _Part(k, groups, source, base + first, 0, groups.vectors)
    (mean,), (squares,) = part.moments(shared, share)
    factor = k.let(splat(1.0, 1) / tirx.sqrt(squares * share + splat(c.eps, 1)))
    with rounds(k, groups.vectors, k.thread, k.threads) as vector:
        at = k.let(first + vector)
        plane, _ = divmod_(k, at, view.pixels)
        values = load_vector(k, source, base + at, block)
        scale, shift = (load_vector(k, weights[s], plane, block) if s in weights else None for s in ("weight", "bias"))
        normed = [k.let((values.load(lane) - mean) * factor) for lane in range(block)]
        normed = [x if scale is None else x * scale.load(i) for i, x in enumerate(normed)]
        normed = [x if shift is None else x + shift.load(i) for i, x in enumerate(normed)]
        added = [load_vector(k, e, image * (s // block) + at, block) for e, s in zip(extras, c.extras, strict=True)]
        finals = applied(k, normed, c.epilogue, added)
        store_vector(k, result, image * (c.result.stride // block) + at, finals)
    return k.finish(symbol)


def lower_moments(c: GpuMomentsConfig, symbol: str) -> PrimFunc:
    """Mean and squares of a part of an item."""
    groups = c.groups
    view, block, lanes = groups.image, groups.image.block, groups.lanes
    k = CudaBuilder(c.grid, c.threads)
    source = k.operand("image", groups.batch * view.numbers)
    result = k.operand("moments", groups.batch * c.floats)
    shared = [k.shared(lanes * k.threads) for _ in range(2)]
    rest, part = divmod_(k, k.block(0), c.parts)
    image, item = image_of(k, rest, groups.batch, groups.items)
    base = k.let(image * (view.stride // block) + item * groups.vectors)
    first: Expr = k.let(part * c.size)
    end: Expr = k.let(tirx.min(first + c.size, i32(groups.vectors))) if c.parts > 1 else groups.vectors
    share = k.let(splat(1.0, 1) / tirx.Cast("float32", i32((end - first) * groups.numbers)))
    means, squares = _Part(k, groups, source, base, first, end).moments(shared, share)
    to = k.let(image * c.floats + (item * c.parts + part) * lanes)
    with k.when(k.thread < 1):
        for lane in range(lanes):
            result.store(to + lane, means[lane])
            result.store(to + (c.means + lane), squares[lane])
    return k.finish(symbol)


def lower_scales(c: GpuScalesConfig, symbol: str) -> PrimFunc:
    """Mean and factor of a group's channels: sums over its parts, each counted as often as it has numbers."""
    moments, groups = c.moments, c.moments.groups
    view, channels = groups.image, groups.channels
    padded = view.blocks * view.block
    k = CudaBuilder(c.grid, SCALE_THREADS)
    source = k.operand("moments", groups.batch * moments.floats)
    weight = k.operand("weight", padded) if c.weighted else None
    result = k.operand("scales", groups.batch * 2 * padded)
    shared = [k.shared(k.threads) for _ in range(2)]
    image, group = image_of(k, k.block(0), groups.batch, groups.count)
    base = k.let(image * moments.floats)
    means = (1 if groups.whole else channels) * moments.parts
    total = channels * view.pixels

    def summed(to: Array, of: Callable[[Expr, Expr], Expr]) -> Expr:
        """`of` the place of each mean, and of how many numbers it is."""
        mine = k.local(1)
        mine.store(0, splat(0.0, 1))
        with rounds(k, means, k.thread, k.threads) as number:
            item, part = divmod_(k, number, moments.parts)
            here = k.let(group if groups.whole else group * channels + item)
            plane, lane = divmod_(k, here, groups.lanes)
            at = k.let(base + (plane * moments.parts + part) * groups.lanes + lane)
            last = groups.vectors - (moments.parts - 1) * moments.size
            vectors = tirx.Select(part < moments.parts - 1, i32(moments.size), i32(last)) if moments.parts > 1 else last
            mine.store(0, mine.load(0) + of(at, k.let(tirx.Cast("float32", i32(vectors * groups.numbers)))))
        to.store(k.thread, mine.load(0))
        k.fold(to, 1, add)
        return k.let(to.load(0))

    share = splat(1.0 / total, 1)
    mean = k.let(summed(shared[0], lambda at, count: count * source.load(at)) * share)

    def square(at: Expr, count: Expr) -> Expr:
        away = k.let(source.load(at) - mean)
        return source.load(at + moments.means) + count * away * away

    factor = k.let(splat(1.0, 1) / tirx.sqrt(summed(shared[1], square) * share + splat(c.eps, 1)))
    to = k.let(image * (2 * padded))
    with rounds(k, channels, k.thread, k.threads) as i:
        channel = k.let(group * channels + i)
        result.store(to + channel, mean)
        result.store(to + padded + channel, factor if weight is None else factor * weight.load(channel))
    for filling in range(view.channels, padded):
        with k.when(tirx.all(group == groups.count - 1, k.thread == filling - view.channels)):
            result.store(to + filling, splat(0.0, 1))
            result.store(to + padded + filling, splat(0.0, 1))
    return k.finish(symbol)


def lower_normed(c: GpuNormedConfig, symbol: str) -> PrimFunc:
    """The result."""
    lanes, padded = c.source.block, c.source.blocks * c.source.block
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    scales = k.operand("scales", c.batch * 2 * padded)
    bias = k.operand("bias", padded) if c.biased else None
    extras = [k.images(f"extra{i}", c.result, c.batch) for i in range(len(c.extras))]
    result = k.images("result", c.result, c.batch)
    with k.each(c.total) as index:
        image, vector = image_of(k, index, c.batch, c.result.numbers // lanes)
        plane, _ = divmod_(k, vector, c.source.pixels)
        values = load_vector(k, source, image * (c.source.stride // lanes) + vector, lanes)
        means = load_vector(k, scales, image * (2 * padded // lanes) + plane, lanes)
        factors = load_vector(k, scales, image * (2 * padded // lanes) + (padded // lanes + plane), lanes)
        shift = load_vector(k, bias, plane, lanes) if bias is not None else None
        normed = [k.let((values.load(i) - means.load(i)) * factors.load(i)) for i in range(lanes)]
        normed = [x if shift is None else x + shift.load(i) for i, x in enumerate(normed)]
        added = [load_vector(k, e, image * (s // lanes) + vector, lanes) for e, s in zip(extras, c.extras, strict=True)]
        finals = applied(k, normed, c.epilogue, added)
        store_vector(k, result, image * (c.result.stride // lanes) + vector, finals)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "group_norm": lower_at_once,
    "group_moments": lower_moments,
    "group_scales": lower_scales,
    "group_normed": lower_normed,
}
"""Family of a kernel -> its lowering."""
