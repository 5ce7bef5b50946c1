"""Sampling an image at computed places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import VECTOR, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.modes import SampleMode
from cnncc.kernels.shared.spec import Call, Selection, blocks

STRIP = 4
"""Vectors of channels for which a thread looks at a place once, where there are threads enough."""


@dataclass(frozen=True)
class GpuSampleConfig:
    """An output pixel and `strip` vectors of channels per thread. `sizes` are the image's width and height (and depth);
    the modes are those of the op."""

    batch: int
    source: View
    places: View
    result: View
    sizes: tuple[int, ...]
    mode: SampleMode
    outside: str
    place: str
    strip: int
    threads: int

    @property
    def strips(self) -> int:
        return blocks(self.result.blocks, self.strip)

    @property
    def total(self) -> int:
        """Threads that have work."""
        return self.batch * self.strips * self.result.pixels


def select_sample(site: GpuSite) -> Selection:
    """sample."""
    node, attrs = site.node, site.node.attrs
    source, places = (site.view(name) for name in node.inputs)
    result = site.view(node.name)
    sizes: tuple[int, ...] = (source.width, source.height)
    if places.channels > len(sizes):
        sizes = (source.width, source.height // attrs["depth"], attrs["depth"])
    how = (attrs["mode"], attrs["outside"], attrs["place"])
    vectors = site.batch * result.blocks * result.pixels
    strip = STRIP if vectors >= STRIP * 1024 * site.target.multiprocessors else 1
    total = site.batch * blocks(result.blocks, strip) * result.pixels
    threads = threads_for(total, site.target)
    config = GpuSampleConfig(site.batch, source, places, result, sizes, *how, strip, threads)
    grid = grid_of(total, threads)
    taps = {"nearest": 1, "linear": 2, "cubic": 4}[attrs["mode"]] ** len(sizes)
    work = LaunchWork(2 * taps * VECTOR * vectors + 40 * total, site.bytes_of(node.name, *node.inputs))
    name = f"sample_{attrs['mode']}_{result.label}"
    kernel = GpuKernel("sample", name, config, grid[0], 0, grid, threads, work)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), f"places once for {strip} vectors of channels")


RULES: Mapping[str, tuple[GpuRule, ...]] = {"sample": (select_sample,)}
"""Op -> its selectors."""
