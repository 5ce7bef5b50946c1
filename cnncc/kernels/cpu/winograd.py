"""Winograd convolution F(m x m, r x r): fewer multiplications, paid for with transforms and some accuracy.

Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4; the matrices follow Cook and
Toom: with a = m + r - 1, a - 1 finite points p and the point at infinity, y = A' [(G g G') * (B' d B)] A for a tile d
of a x a pixels. The points decide the error; those used here were chosen for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cnncc.base.dim import Dim, Undecided, smallest, values_of
from cnncc.kernels.cpu.micro import Micro
from cnncc.kernels.cpu.tiles import Tile, even_tiles
from cnncc.kernels.shared.spec import Epilogue
from cnncc.kernels.shared.winograd import matrices


@dataclass(frozen=True)
class WinogradConfig:
    """One convolution of `taps` x `taps` with stride 1 of one image.

    A unit computes `tiles` output tiles (in raster order) for one of the `sections` of the output blocks of a group.
    With `shared` the transformed input of the whole image is an operand, made by a call of its own; without, each unit
    transforms its own tiles into scratch.

    With dilation d, pixels d apart are an image of their own, convolved without dilation; there are d such phases along
    an axis. The pixels of a tile, of the input as of the output, are then d apart.
    """

    m: int
    taps: int
    groups: int
    in_blocks: int
    """Of a group, as `out_blocks`."""
    in_size: tuple[int, int]
    out_blocks: int
    out_size: tuple[int, int]
    pad: tuple[int, int]
    dilation: tuple[int, int]
    micro: Micro
    bias: bool
    epilogue: Epilogue
    tiles: int
    sections: int
    tile: Tile
    """Register tile: `columns` Winograd tiles x `blocks` output blocks."""
    shared: bool
    element: str = "float32"
    """Of the image and of the result; all between is float32."""
    rounds: str = ""
    """The instruction of a unit for bfloat16, which comes with one that rounds; empty for none."""

    @property
    def block(self) -> int:
        return self.micro.block

    @property
    def lanes(self) -> int:
        return self.micro.lanes

    @property
    def in_planes(self) -> int:
        """Channel blocks of the image."""
        return self.groups * self.in_blocks

    @property
    def out_planes(self) -> int:
        """Channel blocks of the result."""
        return self.groups * self.out_blocks

    @property
    def edge(self) -> int:
        """Side of an input tile."""
        return self.m + self.taps - 1

    @property
    def points(self) -> int:
        """Products per tile and pair of channels."""
        return self.edge**2

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles. They begin in each of the first d of every m * d rows: one for each phase."""
        rows, columns = (
            size // (self.m * d) * d + smallest(size % (self.m * d), d)
            for size, d in zip(self.out_size, self.dilation, strict=True)
        )
        return rows, columns

    def counts(self, axis: int) -> tuple[int, ...]:
        """How many rows (or columns) of a tile may lie in the result, the most first."""
        d, found = self.dilation[axis], set[int]()
        try:
            sizes = values_of(self.out_size[axis])
        except Undecided:  # too many to look at: what is left of them may be anything
            sizes = range(1, 2 * self.m * d)
        for size in sizes:
            whole, rest = divmod(size, self.m * d)
            least, more = divmod(rest, d)
            found |= {self.m * bool(whole), (least + 1) * bool(more), least}
        return tuple(sorted(found - {0}, reverse=True))

    @property
    def total(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def tile_units(self) -> int:
        return -(-self.total // self.tiles)

    @property
    def held_tiles(self) -> int:
        """Tiles that scratch has room for: those of a unit, or of an image of any size that has fewer."""
        return smallest(self.tiles, self.total) if isinstance(self.total, Dim) else self.tiles

    @property
    def data_tiles(self) -> int:
        """Tiles the transformed input holds: all of them, of one size in whole units, or those of one unit."""
        if not self.shared:
            return self.held_tiles
        return self.total if isinstance(self.total, Dim) else self.tile_units * self.tiles

    @property
    def data_blocks(self) -> int:
        """Channel blocks that the transformed input holds: all of them, or those of one group."""
        return self.in_planes if self.shared else self.in_blocks

    @property
    def data_floats(self) -> int:
        return self.points * self.data_step

    @property
    def workspace_floats(self) -> int:
        """Of each image, between the two kernels."""
        return self.data_floats if self.shared else 0

    @property
    def data_step(self) -> int:
        """Floats from one point of the transformed input to the next: an odd number of lines, against aliasing."""
        return _odd_lines(self.data_blocks * self.data_tiles * self.block)

    @property
    def product_step(self) -> int:
        """Floats from one point of the products to the next."""
        return _odd_lines(self.held_tiles * self.tile.blocks * self.block)

    @property
    def section_runs(self) -> tuple[tuple[int, int, int], ...]:
        """Runs of equal panels in one section: (first output block, blocks of a panel, panels)."""
        return even_tiles(self.out_blocks // self.sections, self.tile.blocks)

    @property
    def scratch_floats(self) -> int:
        """Of the products' kernel."""
        own = 0 if self.shared else self.data_floats
        return own + self.points * self.product_step + self.pixel_floats

    @property
    def pixel_floats(self) -> int:
        """One vector of channels of an output tile, in between."""
        return self.m**2 * self.lanes

    @property
    def weight_floats(self) -> int:
        """Of all filters as they are stored."""
        return self.points * self.in_blocks * self.block * self.out_planes * self.block


def _odd_lines(floats: int) -> int:
    lines = -(-floats // 16)
    return 16 * (lines + 1 - lines % 2)


def pack_winograd(weight: np.ndarray, config: WinogradConfig) -> np.ndarray:
    """(o, i / groups, r, r) to transformed weights in the order the kernel reads them, flat:
    [panel][point][channel block][channel][block][lane]. Transformed in float64, then rounded once."""
    g = np.array([[float(x) for x in row] for row in matrices(config.m, config.taps).filter])
    both = np.kron(g, g)  # rows and columns of a filter at once: one matrix product, its result in the wanted order
    block, channels, taps = config.block, config.in_blocks * config.block, config.taps**2
    packed = np.empty(config.weight_floats, np.float32)
    done = 0
    per_section = config.out_blocks // config.sections
    for section in range(config.groups * config.sections):
        for start, size, count in config.section_runs:
            for panel in range(count):
                first = (section * per_section + start + panel * size) * block
                filters = weight[first : first + size * block].astype(np.float64)
                rows = np.zeros((taps, len(filters), channels))
                rows[:, :, : filters.shape[1]] = filters.reshape(*filters.shape[:2], taps).transpose(2, 0, 1)
                points = both @ np.stack([config.micro.pack(tap, size).ravel() for tap in rows])
                packed[done : done + points.size] = points.ravel()
                done += points.size
    return packed
