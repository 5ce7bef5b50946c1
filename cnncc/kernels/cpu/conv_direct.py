"""Direct convolution on NCHWc, and 1x1 convolutions as matrix products: what the kernel must know, and its weights.

The sum runs over (channel block, kernel row, kernel column, channel in block); weights are packed in just that order
for each panel of output blocks, so that a micro-kernel reads them as one stream. Padding is gathered into scratch, a
few rows at a time, or the image is copied between zeros once (`PadConfig`); without padding the image is read where it
lies, a strided 1x1 simply steps over it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from cnncc.base.dim import above
from cnncc.base.elements import ELEMENTS, FLOAT32
from cnncc.kernels.cpu.micro import Micro
from cnncc.kernels.cpu.tiles import Tile, even_tiles
from cnncc.kernels.shared.convolution import ConvGeometry


@dataclass(frozen=True)
class ConvConfig:
    """One convolution of one image."""

    geometry: ConvGeometry
    """Its channels are those of whole blocks; of a padded image, sizes are those between the zeros."""
    tile: Tile
    rows: int
    """Output rows of one unit."""
    prefetch: bool
    """Whether each tile asks for a part of the next panel's weights, which its first cache does not hold."""
    sections: int
    """Parts into which the output blocks of a group are cut; a unit computes one."""
    micro: Micro
    padded: bool
    """Whether the image was copied between zeros by a call of its own. A tile then reads a tap if the tap lies in that
    copy for all of its pixels. There are zeros for taps that see the image from some pixels of a tile only."""
    rounds: str = field(default="", kw_only=True)
    """The instruction of a unit for bfloat16, which comes with one that rounds; empty for none."""

    @property
    def block(self) -> int:
        return self.micro.block

    @property
    def lanes(self) -> int:
        return self.micro.lanes

    @property
    def in_blocks(self) -> int:
        return self.geometry.in_channels // self.geometry.in_block

    @property
    def out_blocks(self) -> int:
        return self.geometry.out_channels // self.block

    @property
    def group_in_blocks(self) -> int:
        return self.in_blocks // self.geometry.groups

    @property
    def group_out_blocks(self) -> int:
        return self.out_blocks // self.geometry.groups

    @property
    def words(self) -> int:
        """Steps of a block of channels of one pixel, and numbers as the steps read them: a float, or as many bytes as
        an instruction multiplies."""
        return self.geometry.in_block // self.micro.unit.depth

    @property
    def taps(self) -> int:
        return self.geometry.kernel[0] * self.geometry.kernel[1]

    @property
    def reduction(self) -> int:
        return self.group_in_blocks * self.geometry.in_block * self.taps

    @property
    def window(self) -> tuple[int, int]:
        """Input rows and columns that one unit reads."""
        g = self.geometry
        rows = (self.rows - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1
        return rows, g.window[1]

    @property
    def gathers(self) -> bool:
        """Whether some tap falls outside the image, so that rows are copied to scratch between zeros."""
        return not self.padded and self._reaches_out

    @property
    def skips(self) -> bool:
        """Whether some tap falls outside the image between zeros: a tile does not multiply it."""
        return self.padded and self._reaches_out

    @property
    def _reaches_out(self) -> bool:
        g = self.geometry
        return self.taps > 0 and any(g.origin[a] < 0 or above(g.origin[a] + g.window[a], g.in_size[a]) for a in (0, 1))

    @property
    def share(self) -> float:
        """Of the products of all taps, those that are not skipped."""
        return math.prod(self._axis_share(a, largest) for a, largest in enumerate((self.tile.rows, self.tile.columns)))

    def _axis_share(self, axis: int, largest: int) -> float:
        g = self.geometry
        if not self.skips:
            return 1.0
        stride, kept = g.stride[axis], 0
        for tap in range(g.kernel[axis]):
            at = g.origin[axis] + tap * g.dilation[axis]
            first, last = -(at // stride), (g.in_size[axis] - 1 - at) // stride  # pixels from which it sees the copy
            for start, size, count in even_tiles(g.grid[axis], largest):
                begin = max(0, -((start - first) // size))
                kept += size * max(0, min(count, (last + 1 - start) // size) - begin)
        return kept / (g.grid[axis] * g.kernel[axis])

    @property
    def scratch_words(self) -> int:
        """Floats, or what else of 4 bytes a step reads of a pixel."""
        rows, columns = self.window
        return self.group_in_blocks * self.words * rows * columns if self.gathers else 0

    @property
    def weight_bytes(self) -> int:
        return self.micro.stored.bytes(self.reduction * self.out_blocks * self.block)

    @property
    def image_bytes(self) -> int:
        """Of the image that it reads."""
        g, unit = self.geometry, ELEMENTS[self.micro.unit.element]
        element = ELEMENTS[g.element] if unit == FLOAT32 else unit
        return element.bytes(g.in_channels * g.in_size[0] * g.in_size[1])

    @property
    def row_units(self) -> int:
        return -(-self.geometry.grid[0] // self.rows)

    @property
    def section_runs(self) -> tuple[tuple[int, int, int], ...]:
        """Runs of equal panels in one section: (first output block, blocks of a panel, panels)."""
        return even_tiles(self.group_out_blocks // self.sections, self.tile.blocks)

    @property
    def weight_order(self) -> tuple[int, ...]:
        """What decides the order of packed weights: how many output blocks run together, from the first to the last."""
        return tuple(size for _, size, count in self.section_runs for _ in range(count)) * self.sections


@dataclass(frozen=True)
class PadConfig:
    """The channel blocks of an image, copied into a window that begins at pixel `origin`, with zeros where that lies
    outside the image. `block` is the words of 4 bytes of one pixel. A unit is one block."""

    planes: int
    block: int
    in_size: tuple[int, int]
    size: tuple[int, int]
    origin: tuple[int, int]

    @property
    def floats(self) -> int:
        """Of the result."""
        return self.planes * self.block * self.size[0] * self.size[1]


def pack_conv(weight: np.ndarray, config: ConvConfig) -> np.ndarray:
    """(o, i / groups, kh, kw) to the stream order of the kernel, flat: for every run of output blocks
    [channel block][kh][kw][channel][run of blocks][lane], zeros where blocks are not full."""
    block, in_block = config.block, config.geometry.in_block
    full = np.zeros(
        (config.out_blocks * block, config.group_in_blocks * in_block, *config.geometry.kernel), weight.dtype
    )
    full[: weight.shape[0], : weight.shape[1]] = weight
    split = full.reshape(len(full), config.group_in_blocks, in_block, *config.geometry.kernel)
    rows = split.transpose(0, 1, 3, 4, 2).reshape(len(full), config.reduction)
    packed = []
    per_section = config.group_out_blocks // config.sections
    for section in range(config.geometry.groups * config.sections):
        for start, size, count in config.section_runs:
            for panel in range(count):
                first = (section * per_section + start + panel * size) * block
                packed.append(config.micro.pack(rows[first : first + size * block], size).ravel())
    return np.concatenate(packed)
