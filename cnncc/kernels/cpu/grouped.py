"""Convolutions of narrow groups, which do not fill blocks of channels: what the kernel must know, and its weights.

The sums of one vector are outputs of one or a few neighbouring groups. Where a group has at least as many outputs as a
vector has lanes, each input channel of these groups is broadcast, as in a dense convolution of just these channels.
Where groups are narrower, the rows that a unit reads are spread first: copy number j of them has, in each lane, input
channel j of the group that the lane's output belongs to. Either way only the stored weights are multiplied, and zeros
where a vector reaches into another group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cnncc.base.dim import above
from cnncc.kernels.cpu.micro import Micro
from cnncc.kernels.shared.convolution import ConvGeometry
from cnncc.kernels.shared.spec import blocks

UNROLLED_TAPS = 9
"""Taps of the largest window that is unrolled, and of the longest row of taps whose weights are kept in registers."""


@dataclass(frozen=True)
class GroupedTile:
    """`rows` x `columns` output pixels times `vectors` of outputs."""

    rows: int
    columns: int
    vectors: int
    halves: bool = False
    """Whether vectors have half of the unit's lanes: groups that fill these need no rows spread."""

    @property
    def pixels(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class Panel:
    """Outputs that are computed together, from `first` to `end`, and the groups they belong to."""

    first: int
    end: int
    first_group: int
    groups: int


@dataclass(frozen=True)
class GroupedConfig:
    """One grouped convolution of one image."""

    geometry: ConvGeometry
    """Channels are the stored ones, groups those of the node."""
    micro: Micro
    tile: GroupedTile
    rows: int
    """Output rows of one unit."""
    panels: int
    """Panels of one unit, each of the tile's vectors."""
    rounds: str = ""
    """The instruction of a unit for bfloat16, which comes with one that rounds; empty for none."""

    @property
    def block(self) -> int:
        return self.micro.block

    @property
    def lanes(self) -> int:
        return self.micro.lanes

    @property
    def group_in(self) -> int:
        return self.geometry.in_channels // self.geometry.groups

    @property
    def group_out(self) -> int:
        return self.geometry.out_channels // self.geometry.groups

    @property
    def taps(self) -> int:
        return self.geometry.kernel[0] * self.geometry.kernel[1]

    @property
    def held_taps(self) -> int:
        """Taps of a row whose weights lie in registers together, so that each value is loaded once for all of them."""
        width = self.geometry.kernel[1]
        return width if width <= UNROLLED_TAPS else 1

    @property
    def registers(self) -> int:
        """Registers of a tile's sums, of the weights it keeps, and of one value."""
        return (self.tile.pixels + self.held_taps) * self.tile.vectors + 1

    @property
    def in_blocks(self) -> int:
        return blocks(self.geometry.in_channels, self.geometry.in_block)

    @property
    def out_floats(self) -> int:
        """Outputs up to whole blocks: what is stored of each pixel."""
        return blocks(self.geometry.out_channels, self.block) * self.block

    @property
    def width(self) -> int:
        """Outputs of a panel."""
        return self.tile.vectors * self.lanes

    @property
    def panel_count(self) -> int:
        return self.out_floats // self.width

    @property
    def row_units(self) -> int:
        return -(-self.geometry.grid[0] // self.rows)

    @property
    def units(self) -> int:
        return self.row_units * blocks(self.panel_count, self.panels)

    @property
    def spread(self) -> bool:
        """Whether groups are narrower than a vector, so that rows are spread over its lanes."""
        return self.group_out < self.lanes

    @property
    def aligned(self) -> bool:
        """Whether no panel reaches into a second group."""
        return self.group_out % self.width == 0

    @property
    def period(self) -> int:
        """Outputs after which a panel and a group begin together again."""
        return math.lcm(self.width, self.group_out)

    def panel(self, number: int, count: int = 1) -> Panel:
        """The outputs of some successive panels. Those behind the last channel count to the last group."""
        first, end = number * self.width, (number + count) * self.width
        last_group = self.geometry.groups - 1
        begin = min(first // self.group_out, last_group)
        return Panel(first, end, begin, min((end - 1) // self.group_out, last_group) - begin + 1)

    @property
    def gathers(self) -> bool:
        """Whether rows are copied to scratch: some tap falls outside the image, or they are spread."""
        g = self.geometry
        return self.spread or any(g.origin[a] < 0 or above(g.origin[a] + g.window[a], g.in_size[a]) for a in (0, 1))

    @property
    def window(self) -> tuple[int, int]:
        """Input rows and columns that one unit reads."""
        g = self.geometry
        rows = (self.rows - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1
        return rows, g.window[1]

    @property
    def planes(self) -> int:
        """Blocks of the image that a unit reads, at most."""
        size, most = self.geometry.in_block, 0
        for unit in range(blocks(self.panel_count, self.panels)):
            p = self.panel(unit * self.panels, min(self.panels, self.panel_count - unit * self.panels))
            begin, end = p.first_group * self.group_in, (p.first_group + p.groups) * self.group_in
            most = max(most, (end - 1) // size - begin // size + 1)
        return most

    @property
    def scratch_floats(self) -> int:
        if not self.gathers:
            return 0
        area = self.window[0] * self.window[1]
        if self.spread:
            return self.group_in * area * self.lanes + 2 * self.lanes
        return self.planes * self.geometry.in_block * area

    @property
    def runs(self) -> int:
        """Groups of which a vector has outputs, at most, where rows are spread."""
        if self.lanes % self.group_out == 0:
            return self.lanes // self.group_out
        return (self.lanes - 2) // self.group_out + 2

    @property
    def shuffled(self) -> int:
        """Input channels of a vector of outputs, if they lie side by side in one block, so that shuffles spread them;
        else 0."""
        if self.lanes % self.group_out or self.geometry.in_block == 1:
            return 0
        channels = self.lanes // self.group_out * self.group_in
        return channels if self.geometry.in_block % channels == 0 else 0

    @property
    def weight_rows(self) -> int:
        """Products of all panels, of one tap: what each reads of a vector's weights."""
        return sum(self.depth(p) for p in range(self.panel_count))

    def depth(self, number: int) -> int:
        """Products of one output of a panel, of one tap: the stored ones, and zeros of other groups."""
        return self.group_in * (1 if self.spread else self.panel(number).groups)

    @property
    def weight_numbers(self) -> int:
        return self.weight_rows * self.taps * self.width


def pack_grouped(weight: np.ndarray, c: GroupedConfig) -> np.ndarray:
    """(o, i / groups, kh, kw) to the order of the kernel, flat: for every panel [channel][tap][output of the panel]."""
    full = np.zeros((c.out_floats, c.group_in, c.taps), weight.dtype)
    full[: len(weight)] = weight.reshape(len(weight), c.group_in, c.taps)
    packed = []
    for number in range(c.panel_count):
        p = c.panel(number)
        mine = full[p.first : p.end]
        if not c.spread and p.groups > 1:
            mine = _apart(mine, np.arange(p.first, p.end) // c.group_out - p.first_group, p.groups)
        packed.append(mine.transpose(1, 2, 0).ravel())
    return np.concatenate(packed)


def _apart(rows: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """(outputs, i, taps) to (outputs, groups x i, taps): zeros but for the channels of an output's own group."""
    wide = np.zeros((len(rows), groups, *rows.shape[1:]), rows.dtype)
    inside = group < groups
    wide[inside, group[inside]] = rows[inside]
    return wide.reshape(len(rows), groups * rows.shape[1], rows.shape[2])
