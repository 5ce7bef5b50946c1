"""Group norm: the statistics of each group, then one multiply-add a value. Large groups are shared out in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import FLOAT32
from cnncc.kernels.gpu.channel_norm import per_channel
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.elementwise import label
from cnncc.kernels.shared.operands import Operand, Workspace
from cnncc.kernels.shared.spec import Call, Epilogue, Packed, Selection, blocks

AT_ONCE = 4096
"""Vectors of a group that a block reads three times, each time from the cache."""
MOST_PARTS = 32
SCALE_THREADS = 32
"""Of a block that combines the parts of a group."""


@dataclass(frozen=True)
class GpuGroups:
    """`count` groups of channels of each image of a batch."""

    batch: int
    image: View
    count: int

    @property
    def channels(self) -> int:
        """Of a group."""
        return self.image.channels // self.count

    @property
    def whole(self) -> bool:
        """Whether a group is whole vectors that follow each other in memory."""
        return self.channels % self.image.block == 0

    @property
    def items(self) -> int:
        """Of an image: groups or, where these cut vectors, vectors of channels, each of whose lanes is counted by
        itself."""
        return self.count if self.whole else self.image.blocks

    @property
    def vectors(self) -> int:
        """Of an item."""
        return self.channels // self.image.block * self.image.pixels if self.whole else self.image.pixels

    @property
    def lanes(self) -> int:
        """Means of an item: one, or one for each lane."""
        return 1 if self.whole else self.image.block

    @property
    def numbers(self) -> int:
        """That each mean of an item is of, for each of its vectors."""
        return self.image.block if self.whole else 1


@dataclass(frozen=True)
class GpuGroupNormConfig:
    """Statistics and result at once: a group per block."""

    groups: GpuGroups
    result: View
    eps: float
    weights: tuple[str, ...]
    extras: tuple[int, ...]
    epilogue: Epilogue
    threads: int

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.groups.count * self.groups.batch, 1, 1)


@dataclass(frozen=True)
class GpuMomentsConfig:
    """The mean, and the sum of squares around it, of parts of `size` vectors of an item: [image][item][part][lane],
    means and then squares."""

    groups: GpuGroups
    size: int
    threads: int

    @property
    def parts(self) -> int:
        return blocks(self.groups.vectors, self.size)

    @property
    def means(self) -> int:
        """Of an image."""
        return self.groups.items * self.parts * self.groups.lanes

    @property
    def floats(self) -> int:
        """Of an image."""
        return 2 * self.means

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.parts * self.groups.items * self.groups.batch, 1, 1)


@dataclass(frozen=True)
class GpuScalesConfig:
    """From the moments of all parts to a mean and a factor for each channel, [image][2][channel]: a group per block."""

    moments: GpuMomentsConfig
    eps: float
    weighted: bool

    @property
    def grid(self) -> tuple[int, int, int]:
        groups = self.moments.groups
        return (groups.count * groups.batch, 1, 1)


@dataclass(frozen=True)
class GpuNormedConfig:
    """(x - mean) factor + bias: a vector per thread."""

    batch: int
    source: View
    result: View
    biased: bool
    extras: tuple[int, ...]
    epilogue: Epilogue
    threads: int

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers // self.result.block


def select_group_norm(site: GpuSite) -> Selection:
    """A group per block, or three launches with parts of them."""
    groups = GpuGroups(site.batch, site.view(site.node.inputs[0]), site.node.attrs["groups"])
    packed = per_channel(site, groups.image)
    enough = groups.count * groups.batch >= site.target.multiprocessors
    if groups.whole and groups.vectors <= (AT_ONCE if enough else AT_ONCE // 4):
        return _at_once(site, groups, packed)
    return _in_parts(site, groups, packed)


def _at_once(site: GpuSite, groups: GpuGroups, packed: tuple[Packed, ...]) -> Selection:
    node, extras = site.node, _extras(site)
    epilogue, weights = node.attrs["epilogue"], tuple(node.weights)
    result, threads = site.view(node.name), _sharing(groups.vectors)
    config = GpuGroupNormConfig(groups, result, float(node.attrs["eps"]), weights, extras, epilogue, threads)
    name = f"{label('group_norm', epilogue)}_{groups.image.label}"
    work = LaunchWork(8 * site.batch * groups.image.numbers, site.bytes_of(node.name, *node.inputs))
    kernel = GpuKernel("group_norm", name, config, config.grid[0], 0, config.grid, config.threads, work)
    operands = (*site.values(node.inputs[:1]), *(p.operand for p in packed), *site.values(node.inputs[1:]))
    call = Call(node.name, kernel, operands, site.result, True)
    return Selection((call,), packed, "a group per block, read again while it is in the cache")


def _in_parts(site: GpuSite, groups: GpuGroups, packed: tuple[Packed, ...]) -> Selection:
    """The moments of parts, then of groups, then the result."""
    node, image = site.node, groups.image
    moments = GpuMomentsConfig(groups, _part_size(site, groups), _sharing(_part_size(site, groups)))
    scales = GpuScalesConfig(moments, float(node.attrs["eps"]), "weight" in node.weights)
    extras, epilogue, result = _extras(site), node.attrs["epilogue"], site.view(node.name)
    total = site.batch * result.numbers // result.block
    normed = GpuNormedConfig(
        site.batch, image, result, "bias" in node.weights, extras, epilogue, threads_for(total, site.target)
    )
    # Whole vectors of both, so that a vector of scales begins at a multiple of its size.
    before, after = blocks(moments.floats, 4) * 4, 2 * image.blocks * image.block
    between = Workspace(node.name)
    factors = Workspace(node.name, FLOAT32.bytes(site.batch * before))
    by_slot: dict[str, Operand] = {slot: p.operand for slot, p in zip(node.weights, packed, strict=True)}
    weight, bias = ([by_slot[slot]] if slot in by_slot else [] for slot in ("weight", "bias"))
    source, added = site.values(node.inputs[:1]), site.values(node.inputs[1:])
    floats, read, grid = site.batch * image.numbers, site.bytes_of(node.inputs[0]), grid_of(total, normed.threads)
    kernels = (
        GpuKernel(
            "group_moments", f"group_moments_{image.label}", moments, moments.grid[0], 0, moments.grid,
            moments.threads, LaunchWork(6 * floats, read, products=False),
        ),
        GpuKernel(
            "group_scales", f"group_scales_{image.label}", scales, scales.grid[0], 0, scales.grid, SCALE_THREADS,
            LaunchWork(8 * site.batch * moments.means, 4 * site.batch * (before + after), products=False),
        ),
        GpuKernel(
            "group_normed", f"{label('group_norm', epilogue)}_{image.label}", normed, grid[0], 0, grid,
            normed.threads, LaunchWork(2 * floats, site.bytes_of(node.name, *node.inputs)),
        ),
    )  # fmt: skip
    operands = (source, (between, *weight), (*source, factors, *bias, *added))
    size = FLOAT32.bytes(before + after)
    calls = tuple(
        Call(node.name, kernel, read, written, True, size)
        for kernel, read, written in zip(kernels, operands, (between, factors, site.result), strict=True)
    )
    return Selection(calls, packed, f"{moments.parts} parts of {groups.items} have their mean and squares, then groups")


def _extras(site: GpuSite) -> tuple[int, ...]:
    return tuple(site.view(name).stride for name in site.node.inputs[1:])


def _sharing(vectors: int) -> int:
    """Threads of a block that share so many vectors."""
    return min(256, max(32, 1 << (vectors - 1).bit_length()))


def _part_size(site: GpuSite, groups: GpuGroups) -> int:
    """Vectors of a part: a few for each thread, and enough parts for all multiprocessors."""
    wanted = blocks(2 * site.target.multiprocessors, groups.items * groups.batch)
    parts = max(1, min(MOST_PARTS, blocks(groups.vectors, 1024), wanted), blocks(groups.vectors, 4 * AT_ONCE))
    return blocks(groups.vectors, parts)


RULES: Mapping[str, tuple[GpuRule, ...]] = {"group_norm": (select_group_norm,)}
"""Op -> its selectors."""
