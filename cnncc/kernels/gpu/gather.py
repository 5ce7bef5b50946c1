"""Rows at computed places: read, written, and put back where a pool found them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.spec import Call, Selection, blocks

SCATTER_THREADS = 256
OWNED = 4
"""Numbers of the result that a thread of a scatter has."""
AT_ONCE = 256
"""Places whose rows are in shared memory at a time."""


@dataclass(frozen=True)
class Rows:
    """Of each channel `math.prod(sizes)` rows of `width` numbers, of which `places` are named."""

    channels: int
    sizes: tuple[int, ...]
    places: int
    width: int
    wrap: bool

    @property
    def count(self) -> int:
        """Of a channel."""
        return math.prod(self.sizes)


@dataclass(frozen=True)
class GpuGatherConfig:
    """A number of the result per thread."""

    rows: Rows
    batch: int
    source: View
    places: View
    result: View
    threads: int

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers


@dataclass(frozen=True)
class GpuScatterConfig:
    """A part of a channel per block: each thread owns some numbers and looks at all places in their order, so that
    equal ones follow each other. `source` is None where the result begins as zeros."""

    rows: Rows
    batch: int
    source: View | None
    places: View
    updates: View
    result: View
    reduction: str

    @property
    def threads(self) -> int:
        return SCATTER_THREADS

    @property
    def parts(self) -> int:
        """Of a channel."""
        return blocks(self.rows.count * self.rows.width, OWNED * self.threads)

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.batch * self.rows.channels * self.parts, 1, 1)


def select_gather(site: GpuSite) -> Selection:
    """gather."""
    node, rows = site.node, _rows(site)
    result = site.view(node.name)
    total = site.batch * result.numbers
    views = [site.view(name) for name in node.inputs]
    config = GpuGatherConfig(rows, site.batch, views[0], views[1], result, threads_for(total, site.target))
    grid = grid_of(total, config.threads)
    work = LaunchWork(0, 8 * total + site.bytes_of(node.inputs[1]))
    kernel = GpuKernel("gather", "gather_f32", config, grid[0], 0, grid, config.threads, work)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), "a number per thread")


def select_scatter(site: GpuSite) -> Selection:
    """scatter."""
    source, places, updates = site.node.inputs
    return _scattered(site, _rows(site), site.node.attrs["reduction"], source, (places, updates))


def select_unpool(site: GpuSite) -> Selection:
    """Values scattered into zeros: its arms are in the other order."""
    values, places = site.node.inputs
    channels, height, width = site.type().chw
    rows = Rows(channels, (math.prod(site.node.attrs["size"]),), height * width, 1, False)
    return _scattered(site, rows, "replace", None, (places, values))


def _rows(site: GpuSite) -> Rows:
    attrs, (channels, height, width) = site.node.attrs, site.type().chw
    return Rows(channels, tuple(attrs["sizes"] or (height,)), site.type(1).shape[2], width, attrs["wrap"])


def _scattered(site: GpuSite, rows: Rows, reduction: str, source: str | None, others: tuple[str, str]) -> Selection:
    node = site.node
    read = () if source is None else (source,)
    places, updates = map(site.view, others)
    begin = None if source is None else site.view(source)
    config = GpuScatterConfig(rows, site.batch, begin, places, updates, site.view(node.name), reduction)
    comparisons = site.batch * rows.channels * rows.count * rows.width * rows.places
    work = LaunchWork(2 * comparisons, site.bytes_of(node.name, *node.inputs))
    kernel = GpuKernel("scatter", f"{node.op}_f32", config, config.grid[0], 0, config.grid, config.threads, work)
    call = Call(node.name, kernel, site.values((*read, *others)), site.result, True)
    return Selection((call,), (), "each number looks at all places in order: they may be equal")


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "gather": (select_gather,),
    "scatter": (select_scatter,),
    "unpool": (select_unpool,),
}
"""Op -> its selectors."""
