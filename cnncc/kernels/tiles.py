"""The register tile of a convolution or matrix product: the pixels and output blocks a micro-kernel keeps in registers.

The model counts, for one step of the reduction, the cycles a tile needs of each resource and takes the largest
(the port-bound view of a dense loop nest; no measurement enters).
"""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.targets import Target


@dataclass(frozen=True)
class Tile:
    """`rows` x `columns` output pixels times `groups` output blocks."""

    rows: int
    columns: int
    groups: int

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
    vectors = target.vectors
    return tile.pixels * tile.groups * vectors + tile.groups * vectors + 1 <= target.registers


def step_cycles(tile: Tile, target: Target, weights_in_l1: bool) -> float:
    """Cycles of one reduction step of one tile: fused multiply-adds, loads, or the latency of the chain."""
    vectors = tile.groups * target.vectors
    multiply = tile.pixels * vectors / target.fma_ports
    # Weights that come from L2 hold a load slot about twice as long.
    load = (tile.pixels + vectors * (1 if weights_in_l1 else 2)) / 2
    return max(multiply, load, float(target.fma_latency))


def choose_tile(height: int, width: int, out_blocks: int, reduction: int, target: Target) -> Tile:
    """The tile with the least predicted cycles over a `height` x `width` image of `out_blocks` blocks.

    `reduction` is the length of the sum. Ties go to fewer distinct tile sizes (less code), then to wider tiles.
    """
    candidates = [
        Tile(rows, columns, groups)
        for groups in (1, 2, 3, 4, 6, 8)
        if groups <= out_blocks
        for rows in range(1, min(height, 4) + 1)
        for columns in range(1, min(width, 28) + 1)
        if (rows == 1 or columns == width) and fits_registers(Tile(rows, columns, groups), target)
    ]

    def cost(tile: Tile) -> tuple[float, int, int]:
        cycles, variants = total_cycles(tile, height, width, out_blocks, reduction, target)
        return round(cycles * (1 + 0.01 * (variants - 1)), 3), variants, -tile.columns

    return min(candidates, key=cost)


def total_cycles(
    tile: Tile, height: int, width: int, out_blocks: int, reduction: int, target: Target
) -> tuple[float, int]:
    """Cycles of one reduction step of the whole image on one core, and how many distinct tile sizes that takes."""
    cycles, variants = 0.0, 0
    for _, rows, row_runs in even_tiles(height, tile.rows):
        for _, columns, column_runs in even_tiles(width, tile.columns):
            for _, groups, group_runs in even_tiles(out_blocks, tile.groups):
                in_l1 = reduction * groups * target.block * 4 <= target.l1_bytes // 2
                cycles += row_runs * column_runs * group_runs * step_cycles(Tile(rows, columns, groups), target, in_l1)
                variants += 1
    return cycles, variants
