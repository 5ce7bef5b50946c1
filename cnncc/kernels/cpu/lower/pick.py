"""The pick kernel: vectors of the result are put together from the vectors that have their channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import tirx
from tvm.tirx import IntImm, PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.pick import KEPT, ZERO, PickConfig
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled

Vector = tuple[int, int]
"""A source, ZERO or, behind them, the result; and which vector of its channels."""

MOST_VECTORS = 4
"""A vector of the result whose channels lie in more vectors than these is moved number by number: each further one
takes a shuffle of two vectors, three instructions without AVX-512."""


def lower(c: PickConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = KernelBuilder()
    kind = ELEMENTS[c.element]
    sources = [k.operand(f"source{i}", n * c.block * c.pixels, kind) for i, n in enumerate(c.sources)]
    result = k.operand("result", len(c.places) * c.pixels, kind)
    with k.units() as u:
        start = k.let(u * c.band)
        count = c.band if c.pixels % c.band == 0 else k.let(tirx.min(c.band, c.pixels - start))
        for block in range(0, len(c.places), c.block):
            vectors = [at for at in range(block, block + c.block, c.lanes) if not _stays(c, at)]
            with k.loop(count if vectors else 0) as i:
                pixel = k.let((start + i) * c.block)
                for at in vectors:
                    _move(k, c, (*sources, result), pixel, at)
    return k.finish(symbol)


def _stays(c: PickConfig, at: int) -> bool:
    """Whether a vector of the result lies there already."""
    return all(source == KEPT for source, _ in c.places[at : at + c.lanes])


def _move(k: KernelBuilder, c: PickConfig, buffers: Sequence[Buffer], pixel: Expr, at: int) -> None:
    """One vector of the result, of the channels from `at` on; `buffers` are the sources and the result."""
    *sources, result = buffers
    to = pixel + _offset(c, at)
    places = [(len(sources) if source == KEPT else source, channel) for source, channel in c.places[at : at + c.lanes]]
    vectors = list(dict.fromkeys(_vector(c, place) for place in places))
    if len(vectors) <= MOST_VECTORS:
        loaded = [_load(k, c, buffers, pixel, vector) for vector in vectors]
        lanes = [(vectors.index(_vector(c, place)), place[1] % c.lanes) for place in places]
        result.store(to, _shuffled(k, c, loaded, lanes), c.lanes)
        return
    for lane, (source, channel) in enumerate(places):
        value = filled(0, 1, result.kind) if source == ZERO else buffers[source].load(pixel + _offset(c, channel))
        result.store(to + lane, value)


def _vector(c: PickConfig, place: tuple[int, int]) -> Vector:
    return (ZERO, 0) if place[0] == ZERO else (place[0], place[1] // c.lanes)


def _offset(c: PickConfig, channel: int) -> int:
    """Where a channel of a pixel lies, from the same pixel of the first block on."""
    return channel // c.block * c.block * c.pixels + channel % c.block


def _load(k: KernelBuilder, c: PickConfig, buffers: Sequence[Buffer], pixel: Expr, vector: Vector) -> Expr:
    if vector[0] == ZERO:
        return k.let(filled(0, c.lanes, ELEMENTS[c.element]))
    return k.let(buffers[vector[0]].load(pixel + _offset(c, vector[1] * c.lanes), c.lanes))


def _shuffled(k: KernelBuilder, c: PickConfig, vectors: Sequence[Expr], lanes: Sequence[tuple[int, int]]) -> Expr:
    """A vector of the lanes of others, each given as (vector, lane): those of the first, then each further one put into
    that."""
    first = [lane if vector == 0 else i for i, (vector, lane) in enumerate(lanes)]
    value = vectors[0]
    if len(vectors) == 1 and first != list(range(c.lanes)):
        value = k.let(tirx.Shuffle([value], [IntImm("int32", lane) for lane in first]))
    for n, other in enumerate(vectors[1:], start=1):
        before = first if n == 1 else range(c.lanes)
        mask = [c.lanes + lane if vector == n else before[i] for i, (vector, lane) in enumerate(lanes)]
        value = k.let(tirx.Shuffle([value, other], [IntImm("int32", lane) for lane in mask]))
    return value


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"pick": lower}
"""Family of a kernel -> its lowering."""
