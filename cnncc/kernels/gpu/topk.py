"""The largest values of each position, or their channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.spec import Call, Selection

ENOUGH = 16
"""Pixels for each multiprocessor from which on a thread for each keeps the device busy."""
IN_REGISTERS = 8
"""Values that a thread keeps in order while it passes over the channels."""


@dataclass(frozen=True)
class GpuTopkConfig:
    """`k` of the channels at each pixel, in logical order. Either each number counts those that come before it, which
    is its place (`ranked`), or a thread has a pixel and keeps the best so far."""

    batch: int
    source: View
    result: View
    largest: bool
    indices: bool
    last: bool
    ranked: bool
    threads: int

    @property
    def total(self) -> int:
        """Threads that have work."""
        return self.batch * (self.source.numbers if self.ranked else self.source.pixels)


def select_topk(site: GpuSite) -> Selection:
    """topk: ranks, unless few are wanted of each of many pixels."""
    node, attrs = site.node, site.node.attrs
    source, result = site.view(node.inputs[0]), site.view(node.name)
    enough = site.batch * source.pixels >= ENOUGH * site.target.multiprocessors
    ranked = attrs["k"] > IN_REGISTERS or not enough
    total = site.batch * (source.numbers if ranked else source.pixels)
    how = (attrs["largest"], attrs["indices"], attrs["last"], ranked)
    config = GpuTopkConfig(site.batch, source, result, *how, threads_for(total, site.target))
    grid = grid_of(total, config.threads)
    flops = 2 * site.batch * source.numbers * (source.channels if ranked else attrs["k"])
    work = LaunchWork(flops, site.bytes_of(node.name, *node.inputs))
    name = f"topk_{'ranks' if ranked else 'best'}_f32"
    kernel = GpuKernel("topk", name, config, grid[0], 0, grid, config.threads, work)
    why = (
        "each number counts those before it" if ranked else "one pass over the channels, with the best so far in order"
    )
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result, True),), (), why)


RULES: Mapping[str, tuple[GpuRule, ...]] = {"topk": (select_topk,)}
"""Op -> its selectors."""
