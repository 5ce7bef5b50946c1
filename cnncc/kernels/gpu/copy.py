"""Kernels that only move values: changes of layout, channel slices and concat arms that cannot be views."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import Element
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.arms import copied_arms
from cnncc.kernels.shared.spec import Call, Selection


@dataclass(frozen=True)
class GpuCopyConfig:
    """`channels` channels from `from_channel` of one image to `to_channel` of another, each in its own layout; then
    `zeros` channels after them are cleared. A vector of the result per thread, or one number of it."""

    batch: int
    source: View
    result: View
    channels: int
    from_channel: int
    to_channel: int
    zeros: int
    threads: int

    @property
    def lanes(self) -> int:
        """Numbers a thread writes: whole vectors of the result, or one."""
        whole = self.to_channel % self.result.block == 0 and (self.channels + self.zeros) % self.result.block == 0
        return self.result.block if whole else 1

    @property
    def whole_blocks(self) -> bool:
        """Whether vectors move as they are."""
        even = self.from_channel % self.source.block == 0 and self.channels % self.source.block == 0
        return self.lanes > 1 and self.source.block == self.result.block and even

    @property
    def per_image(self) -> int:
        return (self.channels + self.zeros) * self.result.pixels // self.lanes


def select_relayout(site: GpuSite) -> Selection:
    """The same values in another order."""
    node = site.node
    return Selection((_copy(site, node.inputs[0], 0, node.type.shape[1], 0),), (), "between layouts")


def select_slice(site: GpuSite) -> Selection:
    """A slice that is no view."""
    start, stop = site.node.attrs["start"], site.node.attrs["stop"]
    call = _copy(site, site.node.inputs[0], start, stop - start, 0)
    return Selection((call,), (), "channels that start no block")


def select_concat(site: GpuSite) -> Selection:
    calls = [_copy(site, arm, 0, channels, at) for arm, channels, at in copied_arms(site, site.copies)]
    why = f"{len(site.node.inputs) - len(calls)} arms written in place, {len(calls)} copied"
    return Selection(tuple(calls), (), why)


def select_regrouping(site: GpuSite) -> Selection:
    """A plain value as so many channels of one pixel."""
    floats = math.prod(site.node.type.stored_shape[1:])
    views = [View(floats, 1, 1, 1, site.view(n).stride, site.element) for n in (site.node.inputs[0], site.node.name)]
    return Selection((_call(site, site.node.inputs[0], views[0], views[1], (floats, 0, 0)),), (), "values as they lie")


def _copy(site: GpuSite, source: str, start: int, channels: int, to: int) -> Call:
    """The call that copies channels [start, start + channels) of `source` to channel `to` of the node's value."""
    return _call(site, source, site.view(source), site.view(site.node.name), (channels, start, to))


def _call(site: GpuSite, name: str, source: View, result: View, what: tuple[int, int, int]) -> Call:
    channels, start, to = what
    zeros = result.blocks * result.block - to - channels if to + channels == result.channels else 0
    config = GpuCopyConfig(site.batch, source, result, channels, start, to, zeros, 256)
    total = site.batch * config.per_image
    config = GpuCopyConfig(site.batch, source, result, channels, start, to, zeros, threads_for(total, site.target))
    grid = grid_of(total, config.threads)
    moved = source.element.itemsize + result.element.itemsize
    work = LaunchWork(0, moved * site.batch * channels * result.pixels)
    label = f"copy_{source.label}_to_{result.label}"
    kernel = GpuKernel("copy", label, config, grid[0], 0, grid, config.threads, work)
    return Call(site.node.name, kernel, site.values([name]), site.result, True)


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "relayout": (select_relayout,),
    "slice": (select_slice,),
    "concat": (select_concat,),
    "flatten": (select_regrouping,),
    "reshape": (select_regrouping,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, MOVED)
"""Op -> the types of numbers that its kernels take and give."""
