"""Kernels that take each output pixel from one input pixel or a few: crop, pad, upsampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnncc.base.elements import Element
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.modes import ResampleMode
from cnncc.kernels.shared.resample import SETTINGS, label, settings
from cnncc.kernels.shared.spec import Call, Selection


@dataclass(frozen=True)
class GpuResampleConfig:
    """`mode` is `crop`, `constant`, `edge`, `reflect`, `nearest` or `bilinear`; `offset` is the crop's or the padding's
    corner, `scale` the upsampling factor."""

    mode: ResampleMode
    batch: int
    source: View
    result: View
    threads: int
    offset: tuple[int, int] = (0, 0)
    scale: tuple[int, int] = (1, 1)
    align_corners: bool = False
    value: float = 0.0
    """As it is stored."""

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers // self.result.block


def select_resample(site: GpuSite) -> Selection:
    """crop, pad and upsample; a vector of channels of an output pixel per thread."""
    node = site.node
    source, result = site.view(node.inputs[0]), site.view(node.name)
    total = site.batch * result.numbers // result.block
    config = GpuResampleConfig("crop", site.batch, source, result, threads_for(total, site.target))
    config = replace(config, **settings(node))
    grid = grid_of(total, config.threads)
    flops = 8 * total * result.block if config.mode == "bilinear" else 0
    work = LaunchWork(flops, site.bytes_of(node.name, *node.inputs))
    name = f"{label(node, config.mode)}_{result.label}"
    kernel = GpuKernel("resample", name, config, grid[0], 0, grid, config.threads, work)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), "one pass over the output")


RULES: Mapping[str, tuple[GpuRule, ...]] = dict.fromkeys(SETTINGS, (select_resample,))
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, MOVED)
"""Op -> the types of numbers that its kernels take and give."""
