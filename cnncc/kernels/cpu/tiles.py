"""The register tile of a convolution or matrix product: the pixels and output blocks a micro-kernel keeps in registers.

The model counts, for one step of the reduction, the cycles a tile needs of each resource and takes the largest
(the port-bound view of a dense loop nest; no measurement enters).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

from cnncc.kernels.cpu.micro import Micro, byte_micro_of, micro_of
from cnncc.machines.targets import Target


@dataclass(frozen=True)
class Tile:
    """`rows` x `columns` output pixels times `blocks` output blocks."""

    rows: int
    columns: int
    blocks: int

    @property
    def pixels(self) -> int:
        return self.rows * self.columns


def even_tiles(total: int, largest: int) -> tuple[tuple[int, int, int], ...]:
    """Covers `total` with the fewest tiles of at most `largest`, all but equal: (start, size, how many) of each size.

    27 in tiles of 14 gives one of 14 and one of 13: no tile computes what is thrown away.
    """
    tiles = -(-total // largest)
    small, extra = divmod(total, tiles)
    runs = ((0, small + 1, extra), (extra * (small + 1), small, tiles - extra))
    return tuple(run for run in runs if run[2])


def fits_registers(tile: Tile, target: Target) -> bool:
    """Accumulators, one step's weights and one broadcast value all stay in registers."""
    return micro_of(target).fits(tile.pixels, tile.blocks)


@dataclass(frozen=True)
class Problem:
    """What a tile is chosen for: output pixels, output blocks, the length of the sum, and the taps it is made of."""

    height: int
    width: int
    out_blocks: int
    reduction: int
    taps: int
    unrolled: tuple[int, int] | None = None
    """Kernel width and stride where LLVM sees all taps of a row at once, each a neighbour's too: see `held_pixels`."""
    bytes: bool = False
    """Whether it is the micro-kernel for int8 that computes it. The sum is then as long as the steps of that."""
    own: Micro | None = None
    """The micro-kernel that computes it otherwise, where it is not that for float32 weights."""

    def micro(self, target: Target) -> Micro:
        """What computes the steps."""
        return byte_micro_of(target) if self.bytes else self.own or micro_of(target)

    def fits(self, tile: Tile, target: Target) -> bool:
        """Whether all that a tile keeps lies in registers."""
        return self.micro(target).fits(tile.pixels, tile.blocks, max(1, self.held_pixels(tile)))

    def held_pixels(self, tile: Tile) -> int:
        """Pixels that several taps of a tile's row read. Where taps are unrolled LLVM loads each only once and keeps
        it: with 14 pixels x 2 blocks, a 3x3 on 3 channels spilled accumulators and took twice the time of 8 x 2."""
        if self.unrolled is None:
            return 0
        kernel, stride = self.unrolled
        uses = Counter(p * stride + tap for p in range(tile.columns) for tap in range(kernel))
        return tile.rows * sum(count > 1 for count in uses.values())

    def loose(self) -> Problem:
        """The same without heed of pixels held: LLVM spills those before it spills accumulators."""
        return replace(self, unrolled=None)

    def working_set(self, blocks: int, target: Target) -> int:
        """Bytes that successive tiles read again: the weights of `blocks` blocks, and a unit's part of the image."""
        image = 4 * self.height * self.width * self.reduction // self.taps
        micro = self.micro(target)
        weights = micro.stored.itemsize * micro.unit.depth * self.reduction * blocks * target.block
        return weights + min(image, target.l2_bytes // 4)


def step_cycles(
    tile: Tile, target: Target, working_set: int, taps: int = 1, sharpness: float = math.inf, micro: Micro | None = None
) -> float:
    """Cycles of one reduction step of one tile, which reads a working set of so many bytes again and again. A pixel is
    fetched once for all taps; see `Micro.cycles` for `sharpness`. The micro-kernel is that for float32 unless another
    is given."""
    bandwidth = cache_bandwidth(working_set, target)
    return (micro or micro_of(target)).cycles(tile.pixels, tile.blocks, bandwidth, taps, sharpness)


def cache_bandwidth(working_set: int, target: Target) -> float:
    """Bytes per cycle at which a core reads so many bytes again and again."""
    if working_set <= target.l1_bytes // 2:
        return 4.0 * target.lanes * 2
    if working_set <= target.l2_bytes // 2:
        return 32.0
    return target.l3_bytes_per_cycle


def choose_tile(problem: Problem, target: Target) -> Tile:
    """The tile with the least predicted cycles.

    Ties go to fewer distinct tile sizes (less code), then to wider tiles. The output blocks must divide evenly among
    tiles, so that they can be shared out among threads.
    """
    return ranked_tiles(problem, target)[0]


@cache
def ranked_tiles(problem: Problem, target: Target) -> tuple[Tile, ...]:
    """Every tile that fits, by rising predicted cycles. Kept, since networks repeat their layers."""
    candidates = _fitting(problem, target)
    micro = problem.micro(target)
    needed = micro.in_flight
    if not any(micro.sums(tile.pixels, tile.blocks) >= needed for tile in candidates):
        # Better to load pixels again than to wait for each sum; but no more of them than that takes.
        loose = _fitting(problem.loose(), target)
        candidates = [tile for tile in loose if micro.sums(tile.pixels, tile.blocks) <= 2 * needed]

    def cost(tile: Tile) -> tuple[float, int, int]:
        cycles, variants = total_cycles(tile, problem, target)
        return round(cycles * (1 + 0.01 * (variants - 1)), 3), variants, -tile.columns

    return tuple(sorted(candidates, key=cost))


def sums(tile: Tile, target: Target) -> int:
    """Vectors that a tile adds up."""
    return micro_of(target).sums(tile.pixels, tile.blocks)


def _fitting(problem: Problem, target: Target) -> list[Tile]:
    """Every tile whose values lie in registers."""
    return [
        Tile(rows, columns, blocks)
        for blocks in (1, 2, 3, 4, 6, 8)
        if problem.out_blocks % blocks == 0
        for rows in range(1, min(problem.height, 4) + 1)
        for columns in range(1, min(problem.width, 28) + 1)
        if (rows == 1 or columns == problem.width) and problem.fits(Tile(rows, columns, blocks), target)
    ]


BROADCAST = 0.05
"""Cycles that a pixel costs beside its load: with AVX-512, 14 pixels x 2 blocks took 2 to 10 % longer than 6 x 4 in 1x1
layers of 28 pixels a side and more, and no longer in smaller ones."""


def total_cycles(tile: Tile, problem: Problem, target: Target) -> tuple[float, int]:
    """Cycles of one reduction step of the whole image on one core, and how many distinct tile sizes that takes."""
    cycles, variants = 0.0, 0
    for _, rows, row_runs in even_tiles(problem.height, tile.rows):
        for _, columns, column_runs in even_tiles(problem.width, tile.columns):
            for _, blocks, block_runs in even_tiles(problem.out_blocks, tile.blocks):
                tile_of_run, micro = Tile(rows, columns, blocks), problem.micro(target)
                read = problem.working_set(blocks, target)
                step = step_cycles(tile_of_run, target, read, problem.taps, micro=micro)
                cycles += row_runs * column_runs * block_runs * (step + BROADCAST * rows * columns)
                variants += 1
    return cycles, variants
