"""How a kernel covers pixels with tiles, where their number is known only when it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from tvm import tirx

from cnncc.base.dim import Dim, Extent, Undecided, values_of
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.shared.builder import Expr, KernelBuilder, i32

Run = tuple[Expr, int, Expr]
"""Where equal tiles begin, the pixels of each, and how many there are."""

ALL_SIZES = 6
"""Up to so many pixels there is code for tiles of each number."""
LEAST, STARTED = 4, 1
"""Pixels that a tile takes the time of, however few it has, and those that starting it takes."""


def tile_runs(k: KernelBuilder, total: Extent, largest: int) -> Sequence[Run]:
    """As `even_tiles`: tiles of at most `largest` pixels. Of a number that depends on the size there is a run for each
    of a few sizes of tiles, mostly empty. Tiles of the largest size come first; the last pixels, one to two times as
    many as those of such a tile, are cut into the sizes that take the least time."""
    if not isinstance(total, Dim):
        return even_tiles(total, largest) if isinstance(total, int) else [(0, 1, total)]
    if largest == 1:
        return [(0, 1, total)]
    rests = {rest: _cut(rest, largest) for rest in _rests(total, largest)}
    known = k.extent(total)
    whole = k.at_start(tirx.max(tirx.truncdiv(known, i32(largest)) - 1, i32(0)))
    rest = k.at_start(known - whole * largest)
    runs: list[Run] = []
    start: Expr = 0
    for size in sorted({s for cut in rests.values() for s in cut} | {largest}, reverse=True):
        count = _count(rest, {number: cut[size] for number, cut in rests.items() if size in cut})
        if size == largest:
            count = whole + count
        count = k.at_start(count)
        runs.append((start, size, count))
        start = k.at_start(start + count * size)
    return runs


def _rests(total: Dim, largest: int) -> Iterable[int]:
    """The numbers that may be left; all below two of the largest tiles, where there are too many totals to look at."""
    try:
        return sorted({_rest(number, largest) for number in values_of(total)})
    except Undecided:
        return range(1, 2 * largest)


def _rest(total: int, largest: int) -> int:
    """What is left where as many of the largest tiles are taken as leave one more."""
    return total - max(total // largest - 1, 0) * largest


def _count(rest: Expr, counts: Mapping[int, int]) -> Expr:
    """The number of tiles of a size by what is left."""
    count: Expr = i32(0)
    for number, tiles in counts.items():
        count = tirx.Select(rest == number, i32(tiles), count)
    return count


@cache
def _cut(total: int, largest: int) -> Mapping[int, int]:
    """The tiles, how many of each size, that cover so many pixels in the least time."""
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for number in range(1, total + 1):
        options = [(size, best[number - size]) for size in _sizes(largest) if size <= number]
        best.append(min((cost + max(size, LEAST) + STARTED, (*cut, size)) for size, (cost, cut) in options))
    sizes = best[total][1]
    return {size: sizes.count(size) for size in sorted(set(sizes), reverse=True)}


def _sizes(largest: int) -> Sequence[int]:
    """The sizes that there is code for."""
    if largest <= ALL_SIZES:
        return range(1, largest + 1)
    half = -(-largest // 2)
    return sorted({1, 2, -(-largest // 4), half, half + 1, -(-3 * largest // 4), largest})
