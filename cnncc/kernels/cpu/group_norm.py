"""Group norm: the statistics of each group, then one multiply-add a value. Large groups are shared out in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from cnncc.base.dim import typical
from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.layer_norm import Channels, columns
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.elementwise import label
from cnncc.kernels.shared.operands import Operand, Workspace
from cnncc.kernels.shared.spec import Call, Epilogue, Kernel, Packed, Selection, blocks

SMALL = 4096
"""Values up to which one thread does a group at once: sharing them out would take longer."""
CACHED = 32768
"""Values of a group that one thread may read three times: they stay in its second cache."""
WANTED_UNITS = 32
MOST_PARTS = 16


@dataclass(frozen=True)
class Groups:
    """An image of `count` groups of channels. Its blocks are of any width: 1 in logical order, all channels of a
    vector."""

    image: Channels
    count: int

    @property
    def channels(self) -> int:
        """Of a group."""
        return self.image.count // self.count

    @property
    def values(self) -> int:
        """Of a group."""
        return self.channels * self.image.pixels

    @property
    def contiguous(self) -> bool:
        """Whether the values of a group follow each other in memory, with nothing between them."""
        image = self.image
        return image.width == 1 or (image.width, image.pixels) == (image.count, 1) or self.channels % image.width == 0

    @property
    def at_once(self) -> bool:
        """Whether a unit is a whole group."""
        values = typical(self.values)
        return self.contiguous and (values <= SMALL or (self.count >= WANTED_UNITS // 4 and values <= CACHED))


@dataclass(frozen=True)
class GroupNormConfig:
    """Statistics and result at once; a unit is a group."""

    groups: Groups
    eps: float
    weights: tuple[str, ...]
    epilogue: Epilogue


@dataclass(frozen=True)
class MomentsConfig:
    """The mean, and the sum of squares around it, of parts: `size` values of a group or, where groups cut blocks, of
    each channel."""

    groups: Groups
    size: int

    @property
    def total(self) -> int:
        """Values of all parts of an item."""
        return self.groups.values if self.groups.contiguous else self.groups.image.pixels

    @property
    def parts(self) -> int:
        return blocks(self.total, self.size)

    @property
    def items(self) -> int:
        """Groups, or channels with those that fill up the last block: what a part has a mean of."""
        image = self.groups.image
        return self.groups.count if self.groups.contiguous else image.planes * image.width

    @property
    def units(self) -> int:
        return self.parts * (self.groups.count if self.groups.contiguous else self.groups.image.planes)

    @property
    def floats(self) -> int:
        """Means, [part][item], then the sums of squares; whole vectors."""
        return blocks(2 * self.parts * self.items, 16) * 16


@dataclass(frozen=True)
class ScalesConfig:
    """From the moments of all parts to a mean and a factor for each channel, which follow them in memory; a unit is a
    group."""

    moments: MomentsConfig
    eps: float
    weights: tuple[str, ...]


@dataclass(frozen=True)
class NormedConfig:
    """The result; a unit is a part of a channel block. The means begin at `start`, the factors follow."""

    groups: Groups
    start: int
    parts: int
    weights: tuple[str, ...]
    epilogue: Epilogue


def select_group_norm(site: CpuSite) -> Selection:
    """group_norm of an image in any order; a group per unit, or three calls with parts of them."""
    groups = _groups(site)
    packed = columns(site, groups.image)
    if not groups.at_once:
        return _in_parts(site, groups, packed)
    node = site.node
    config = GroupNormConfig(groups, float(node.attrs["eps"]), tuple(node.weights), node.attrs["epilogue"])
    name = f"{label('group_norm', config.epilogue)}_f32_{site.target.isa}"
    kernel = Kernel("group_norm", name, config, groups.count, 0)
    operands = (*site.values(node.inputs[:1]), *(p.operand for p in packed), *site.values(node.inputs[1:]))
    why = "a group at a time, read again while it is in the cache"
    return Selection((Call(node.name, kernel, operands, site.result),), packed, why)


def _in_parts(site: CpuSite, groups: Groups, packed: tuple[Packed, ...]) -> Selection:
    """The moments of parts, then of groups, then the result."""
    node, image, weights = site.node, groups.image, tuple(site.node.weights)
    moments = MomentsConfig(groups, _part_size(typical(groups)))
    scales = ScalesConfig(moments, float(node.attrs["eps"]), weights)
    parts = max(1, min(blocks(typical(image.pixels), 16), blocks(WANTED_UNITS, image.planes)))
    normed = NormedConfig(groups, moments.floats, parts, weights, node.attrs["epilogue"])
    floats = moments.floats + 2 * image.planes * image.width
    between, isa = Workspace(node.name), site.target.isa
    source, added = site.values(node.inputs[:1]), site.values(node.inputs[1:])
    by_slot: dict[str, Operand] = {slot: p.operand for slot, p in zip(weights, packed, strict=True)}
    weight, bias = ([by_slot[slot]] if slot in by_slot else [] for slot in ("weight", "bias"))
    name = f"{label('group_norm', normed.epilogue)}_f32_{isa}"
    calls = (
        (Kernel("group_moments", f"group_moments_f32_{isa}", moments, moments.units, 0), source, between),
        (Kernel("group_scales", f"group_scales_f32_{isa}", scales, groups.count, 0), (between, *weight), between),
        (Kernel("group_normed", name, normed, image.planes * parts, 0), (*source, between, *bias, *added), site.result),
    )
    why = f"{moments.units} parts have their mean and squares, then groups, then the result"
    return Selection(
        tuple(Call(node.name, *call, workspace_bytes=FLOAT32.bytes(floats)) for call in calls), packed, why
    )


def _part_size(groups: Groups) -> int:
    """Values of a part: enough parts for all threads, that stay in a cache while they are read twice."""
    image = groups.image
    rows, total = (groups.count, groups.values) if groups.contiguous else (image.planes, image.pixels)
    floats = total * (1 if groups.contiguous else image.width)
    parts = max(blocks(floats, CACHED // 2), min(blocks(WANTED_UNITS, rows), floats // (SMALL // 2)))
    size = blocks(total, max(1, min(MOST_PARTS, parts)))
    return blocks(size, 64) * 64 if groups.contiguous else size


def _groups(site: CpuSite) -> Groups:
    kind = site.node.type
    pixels = prod(kind.shape[2:])
    # One pixel in logical order is a vector.
    width = kind.shape[1] if pixels == 1 and kind.block == 1 else kind.block
    return Groups(Channels(kind.shape[1], width, pixels, site.target.lanes), site.node.attrs["groups"])


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "group_norm": (select_group_norm,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
