"""Pixels fetched ahead: while products keep the multipliers busy, memory brings what the transforms will touch."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.kernels.cpu.winograd import WinogradConfig
from cnncc.kernels.shared.arithmetic import quotient, remainder, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder

LINE = 16
"""Floats of a cache line."""


def first(c: WinogradConfig, number: Expr, axis: int) -> Expr:
    """The first row (or column) of the output in a row of tiles."""
    d = c.dilation[axis]
    return number * c.m if d == 1 else number // d * (c.m * d) + number % d


@dataclass(frozen=True)
class Region:
    """The m x m pixels under each tile of a unit, of which `tile` is the first, in `planes` channel blocks from `plane`
    on; of the image, tiles begin `shift` pixels later, since the unit before has read what they share with it. Of m x m
    pixels side by side whole lines are fetched, of others the first line."""

    buffer: Buffer
    extent: tuple[int, int]
    plane: Expr
    planes: int
    tile: Expr
    shift: int
    write: bool
    part: Expr = 0
    parts: int = 1
    """Fetched during the products of so many panels, of which this is one."""

    def rows(self, c: WinogradConfig) -> int:
        """Rows of pixels of all its tiles: what is fetched in one go."""
        return self.planes * c.m * c.tiles


@dataclass(frozen=True)
class Coming:
    """What one pass over the channels prefetches: weights of the next point, in every step, and a share of the regions,
    in every channel block."""

    weights: Expr
    """Where the weights of the next point begin that this pass fetches."""
    lines: int
    """Cache lines of them in each step."""
    regions: list[Region]
    share: Expr
    """The regions are cut into so many `shares` for all passes of a panel; this pass begins with the share of this
    number."""
    shares: int


def fetch_share(k: KernelBuilder, c: WinogradConfig, region: Region, share: Expr, shares: int) -> None:
    """Asks for one of `shares` parts of a region."""
    rows = region.rows(c)
    each = -(-rows // (shares * region.parts))
    share = k.let(region.part * shares + share)
    with k.when(share * each < rows):
        for i in range(each):
            _fetch_row(k, c, region, k.let(share * each + i))


def _fetch_row(k: KernelBuilder, c: WinogradConfig, region: Region, row: Expr) -> None:
    """One row of pixels of one tile. Rows below the image count as its last; addresses need not be exact."""
    height, width = region.extent
    tile, place = k.let(region.tile + row % c.tiles), k.let(row // c.tiles)
    y = k.let(vmin(first(c, quotient(tile, c.grid[1]), 0) + place % c.m * c.dilation[0] + region.shift, height - 1))
    x = k.let(first(c, remainder(tile, c.grid[1]), 1) + region.shift)
    at = k.let((((region.plane + place // c.m) * height + y) * width + x) * c.block)
    apart = LINE if c.dilation[1] == 1 else c.dilation[1] * c.block
    for line in range(c.m * c.block // LINE):
        region.buffer.prefetch(at + line * apart, write=region.write)
