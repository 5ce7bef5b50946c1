"""Regions brought to one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.modes import RoiMode
from cnncc.kernels.shared.spec import Call, Selection

GUESSED_SAMPLES = 4
"""Of a bin, where the op leaves their number to the size of the region: for the prediction only."""


@dataclass(frozen=True)
class GpuRoiAlignConfig:
    """A bin of a channel of a region per thread. `images` of `channels` each lie in the source, one below the other;
    `samples` 0 is as many as pixels, `chosen` whether each region names its image."""

    batch: int
    source: View
    regions: View
    choices: View | None
    result: View
    images: int
    channels: int
    out_size: tuple[int, int]
    mode: RoiMode
    scale: float
    samples: int
    half_pixel: bool
    threads: int

    @property
    def in_size(self) -> tuple[int, int]:
        return self.source.height, self.source.width

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers


def select_roi_align(site: GpuSite) -> Selection:
    """roi_align."""
    node, attrs = site.node, site.node.attrs
    source, regions, *choices = (site.view(name) for name in node.inputs)
    result = site.view(node.name)
    config = GpuRoiAlignConfig(
        batch=site.batch,
        source=source,
        regions=regions,
        choices=choices[0] if choices else None,
        result=result,
        images=attrs["images"],
        channels=source.channels // attrs["images"],
        out_size=attrs["size"],
        mode=attrs["mode"],
        scale=float(attrs["scale"]),
        samples=attrs["samples"],
        half_pixel=attrs["place"] == "half_pixel",
        threads=threads_for(site.batch * result.numbers, site.target),
    )
    grid = grid_of(config.total, config.threads)
    samples = (attrs["samples"] or GUESSED_SAMPLES) ** 2
    work = LaunchWork(30 * samples * config.total, site.bytes_of(node.name, *node.inputs))
    name = f"roi_align_{attrs['mode']}_{source.label}"
    kernel = GpuKernel("roi_align", name, config, grid[0], 0, grid, config.threads, work)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), "a bin of a channel per thread")


RULES: Mapping[str, tuple[GpuRule, ...]] = {"roi_align": (select_roi_align,)}
"""Op -> its selectors."""
