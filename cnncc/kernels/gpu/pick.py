"""Channels from several images in blocks to one, in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import Element
from cnncc.ir import Constant
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.spec import Call, Packed, Selection

ZERO = -1
"""Channel of what fills up the last vector."""


@dataclass(frozen=True)
class GpuPickConfig:
    """A vector of channels of a pixel per thread. A table has the channel of each, counted through all sources."""

    batch: int
    sources: tuple[View, ...]
    result: View
    threads: int

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers // self.result.block


def select_pick(site: GpuSite) -> Selection:
    """pick: the channels are a table, so that a kernel's code does not depend on them."""
    node, result = site.node, site.view(site.node.name)
    filled = (*node.attrs["channels"], *[ZERO] * (result.blocks * result.block - result.channels))
    table = np.array(filled, np.float32)
    packed = Packed(f"{node.name}.channels", Constant(table.shape, lambda: table))
    total = site.batch * result.numbers // result.block
    config = GpuPickConfig(site.batch, tuple(map(site.view, node.inputs)), result, threads_for(total, site.target))
    grid = grid_of(total, config.threads)
    work = LaunchWork(0, 2 * site.bytes_of(node.name))
    kernel = GpuKernel("pick", f"pick_{result.label}", config, grid[0], 0, grid, config.threads, work)
    call = Call(node.name, kernel, (*site.values(node.inputs), packed.operand), site.result, True)
    return Selection((call,), (packed,), f"channels of {len(node.inputs)} values from a table")


RULES: Mapping[str, tuple[GpuRule, ...]] = {"pick": (select_pick,)}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, MOVED)
"""Op -> the types of numbers that its kernels take and give."""
