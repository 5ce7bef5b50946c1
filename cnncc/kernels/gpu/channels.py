"""Kernels that look across channels or over whole planes: LRN, softmax, global pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnncc.base.elements import Element
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import FLOATS, VECTOR, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.modes import GLOBAL_POOLS, PoolMode
from cnncc.kernels.shared.spec import Call, Selection


@dataclass(frozen=True)
class GpuLrnConfig:
    """Local response normalisation across channels: a vector of channels of a pixel per thread."""

    batch: int
    source: View
    result: View
    window: int
    alpha: float
    beta: float
    k: float
    threads: int

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers // VECTOR

    @property
    def grid(self) -> tuple[int, int, int]:
        return grid_of(self.total, self.threads)


@dataclass(frozen=True)
class GpuSoftmaxConfig:
    """Softmax over channels: a pixel per thread (`shared` false), or per block, whose threads share its channels.

    A row in logical order is the channels of a pixel, and each image has `rows` of them.
    """

    batch: int
    source: View
    result: View
    shared: bool
    threads: int
    rows: int = 1

    @property
    def grid(self) -> tuple[int, int, int]:
        pixels = self.batch * self.rows * self.result.pixels
        return (pixels, 1, 1) if self.shared else grid_of(pixels, self.threads)


@dataclass(frozen=True)
class GpuGlobalPoolConfig:
    """`mode` (`avg`, `max` or `sum`) over all pixels: a block of channels per block of threads. Those of the result may
    be smaller."""

    mode: PoolMode
    batch: int
    source: View
    result: View
    threads: int

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.batch * self.source.blocks, 1, 1)


Config = GpuLrnConfig | GpuSoftmaxConfig | GpuGlobalPoolConfig


def _selection(site: GpuSite, family: str, name: str, config: Config, flops: int, why: str) -> Selection:
    work = LaunchWork(flops, site.bytes_of(site.node.name, *site.node.inputs))
    kernel = GpuKernel(family, name, config, config.grid[0], 0, config.grid, config.threads, work)
    return Selection((Call(site.node.name, kernel, site.values(site.node.inputs), site.result, True),), (), why)


def select_lrn(site: GpuSite) -> Selection:
    """LRN; neighbouring threads read neighbouring pixels, and the blocks of channels around theirs."""
    node, attrs = site.node, site.node.attrs
    source, result = site.view(node.inputs[0]), site.view(node.name)
    total = site.batch * result.numbers // VECTOR
    shape = (float(attrs["alpha"]), float(attrs["beta"]), float(attrs["k"]))
    config = GpuLrnConfig(site.batch, source, result, attrs["size"], *shape, threads_for(total, site.target))
    name = f"lrn_{result.label}_{attrs['size']}"
    flops = total * VECTOR * (attrs["size"] * 2 + 40)
    return _selection(site, "lrn", name, config, flops, "one pass, neighbours from L1")


def select_softmax(site: GpuSite) -> Selection:
    """Softmax of a vector, or of every pixel of an image."""
    node = site.node
    source, result = site.view(node.inputs[0]), site.view(node.name)
    shared = result.pixels == 1
    threads = _sharing(result.channels) if shared else 128
    config = GpuSoftmaxConfig(site.batch, source, result, shared, threads)
    flops = 40 * site.batch * result.channels * result.pixels
    why = "a block of threads per vector" if shared else "a thread per pixel"
    return _selection(site, "softmax", f"softmax_{result.label}", config, flops, why)


def select_softmax_rows(site: GpuSite) -> Selection:
    """Softmax of every row of an image in logical order."""
    node = site.node
    source, result = (replace(site.view(name), channels=site.view(name).width, height=1, width=1)
                      for name in (node.inputs[0], node.name))  # fmt: skip
    channels, height, width = node.type.chw
    config = GpuSoftmaxConfig(site.batch, source, result, True, _sharing(width), channels * height)
    flops = 40 * site.batch * channels * height * width
    return _selection(site, "softmax", "softmax_rows_f32", config, flops, "a block of threads per row")


def _sharing(count: int) -> int:
    """Threads of a block that share so many things."""
    return min(256, max(32, 1 << (count - 1).bit_length()))


def select_global_pool(site: GpuSite) -> Selection:
    """gap, gmp and gsum."""
    node = site.node
    source, result = site.view(node.inputs[0]), site.view(node.name)
    threads = _sharing(source.pixels)
    config = GpuGlobalPoolConfig(GLOBAL_POOLS[node.op], site.batch, source, result, threads)
    name = f"global_{config.mode}pool_{source.label}"
    flops = site.batch * source.numbers
    return _selection(site, "global_pool", name, config, flops, "threads share a plane, a tree adds up")


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "lrn": (select_lrn,),
    "softmax": (select_softmax,),
    "softmax_rows": (select_softmax_rows,),
    **dict.fromkeys(GLOBAL_POOLS, (select_global_pool,)),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(GLOBAL_POOLS, FLOATS)
"""Op -> the types of numbers that its kernels take and give."""
