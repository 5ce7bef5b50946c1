"""The pick kernel: vectors of the result are put together from the vectors that have their channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import tirx
from tvm.tirx import IntImm, PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.pick_blocks import Block, Move, Read, repeats
from cnncc.kernels.cpu.pick import ZERO, PickConfig
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled


def lower(c: PickConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration. Blocks that are made alike are a loop over them."""
    k = KernelBuilder()
    kind = ELEMENTS[c.element]
    sources = [k.operand(f"source{i}", n * c.block * c.pixels, kind) for i, n in enumerate(c.sources)]
    result = k.operand("result", len(c.places) * c.pixels, kind)
    with k.units() as u:
        start = k.let(u * c.band)
        count = c.band if c.pixels % c.band == 0 else k.let(tirx.min(c.band, c.pixels - start))
        for repeat in repeats(c):
            with k.loop(repeat.times if any(map(any, repeat.pattern)) else 0) as turn:
                for i, block in enumerate(repeat.pattern):
                    at = repeat.first + i + turn * len(repeat.pattern)
                    with k.loop(count if any(block) else 0) as j:
                        pixel = k.let((start + j) * c.block)
                        _store(k, c, (*sources, result), block, (pixel, pixel + at * (c.block * c.pixels)), turn)
    return k.finish(symbol)


def _store(
    k: KernelBuilder, c: PickConfig, buffers: Sequence[Buffer], block: Block, at: tuple[Expr, Expr], turn: Expr
) -> None:
    """One pixel of a block of the result. `buffers` are the sources and the result, `at` says where the pixel lies in
    the first block of a source and in that of the result, `turn` how often the pattern came before."""
    pixel, to = at

    def load(read: Read, lanes: int) -> Expr:
        if read.source == ZERO:
            return k.let(filled(0, lanes, ELEMENTS[c.element]))
        start = pixel + _offset(c, read.channel) + turn * (read.step * c.pixels)
        return k.let(buffers[read.source].load(start, lanes))

    def store(move: Move, to: Expr) -> None:
        if move.lanes:
            loaded = [load(read, c.lanes) for read in move.reads]
            buffers[-1].store(to, _shuffled(k, c, loaded, move.lanes), c.lanes)
            return
        for lane, read in enumerate(move.reads):
            buffers[-1].store(to + lane, load(read, 1))

    for i, move in enumerate(block):
        if move:
            store(move, to + i * c.lanes)


def _offset(c: PickConfig, channel: int) -> int:
    """Where a channel of a pixel lies, from the same pixel of the first block on."""
    return channel // c.block * c.block * c.pixels + channel % c.block


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
