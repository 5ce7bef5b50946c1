"""How a kernel covers pixels with tiles, where their number is known only when it runs."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from cnncc.base.dim import Dim, Extent, values_of
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.shared.builder import Expr, KernelBuilder, i32

Run = tuple[Expr, int, Expr]
"""Where equal tiles begin, the pixels of each, and how many there are."""


def tile_runs(k: KernelBuilder, total: Extent, largest: int) -> Sequence[Run]:
    """As `even_tiles`: the fewest tiles of at most `largest` pixels, all but equal. Of a number that depends on the
    size there is a run for each size of tile that occurs, mostly empty: so each size of the image is covered as in a
    kernel that was made for it."""
    if isinstance(total, int):
        return even_tiles(total, largest)
    if largest == 1:
        return [(0, 1, total)]
    tiles = (total + (largest - 1)) // largest
    small = k.at_start(tirx.truncdiv(_known(k, total), _known(k, tiles)))
    extra = k.at_start(_known(k, total) - small * tiles)
    return [
        (
            k.at_start(tirx.Select(small == size, extra * (small + 1), i32(0))),
            size,
            k.at_start(tirx.Select(small == size, tiles - extra, tirx.Select(small + 1 == size, extra, i32(0)))),
        )
        for size in _sizes(total, largest)
    ]


def _sizes(total: Dim, largest: int) -> list[int]:
    """The pixels of the tiles that occur, the most first."""
    found = {size for number in values_of(total) for _, size, _ in even_tiles(number, largest)}
    return sorted(found, reverse=True)


def _known(k: KernelBuilder, extent: Extent) -> Expr:
    return k.extent(extent) if isinstance(extent, Dim) else i32(extent)
