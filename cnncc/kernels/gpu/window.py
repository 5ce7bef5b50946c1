"""Kernels that slide a window over each channel by itself: depthwise convolution, max and average pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import Element
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import FLOATS, MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.modes import WINDOW_POOLS, WindowMode
from cnncc.kernels.shared.spec import Call, Epilogue, Selection


@dataclass(frozen=True)
class GpuWindowConfig:
    """One block of channels and `strip` output rows of a column per thread. `mode` is `depthwise`, `max` or `avg`."""

    mode: WindowMode
    batch: int
    source: View
    result: View
    extras: tuple[int, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]
    count_include_pad: bool
    bias: bool
    epilogue: Epilogue
    strip: int
    threads: int
    added: Element | None = None
    """The type of what the epilogue adds, where it is not that of the result."""

    @property
    def strips(self) -> int:
        return -(-self.result.height // self.strip)

    @property
    def total(self) -> int:
        """Threads that have work."""
        return self.batch * self.result.blocks * self.strips * self.result.width


def configure(site: GpuSite, mode: WindowMode, epilogue: Epilogue = (), bias: bool = False) -> GpuWindowConfig:
    """How the node is shared out among threads."""
    node, attrs = site.node, site.node.attrs
    source, result = site.view(node.inputs[0]), site.view(node.name)
    extras = tuple(site.view(name).stride for name in node.inputs[1:])
    columns = site.batch * result.blocks * result.width
    # A longer strip reads each row fewer times; it pays while all multiprocessors keep their threads.
    wanted = site.target.multiprocessors * 1024
    strip = max((s for s in (1, 2, 4) if s == 1 or columns * -(-result.height // s) >= wanted), default=1)
    total = columns * -(-result.height // strip)
    return GpuWindowConfig(
        mode=mode,
        batch=site.batch,
        source=source,
        result=result,
        extras=extras,
        kernel=attrs["kernel"],
        stride=attrs["stride"],
        dilation=attrs.get("dilation", (1, 1)),
        pad=attrs["pad"],
        count_include_pad=attrs.get("count_include_pad", False),
        bias=bias,
        epilogue=epilogue,
        strip=strip,
        threads=threads_for(total, site.target),
        added=site.added,
    )


def window_kernel(config: GpuWindowConfig, site: GpuSite) -> GpuKernel:
    """The kernel of a configuration."""
    kind = {"depthwise": "depthwise", "max": "maxpool", "avg": "avgpool"}[config.mode]
    size = "x".join(map(str, config.kernel))
    grid = grid_of(config.total, config.threads)
    taps = config.kernel[0] * config.kernel[1]
    flops = (2 if config.mode == "depthwise" else 1) * taps * config.batch * config.result.channels
    weights = config.source.element.bytes(taps * config.result.channels) if config.mode == "depthwise" else 0
    work = LaunchWork(flops * config.result.pixels, weights + site.bytes_of(site.node.name, *site.node.inputs))
    name = f"{kind}_{config.result.label}_{size}_{config.strip}"
    loads = config.kernel[1]  # the taps of a row are unrolled: none waits for another
    return GpuKernel("window", name, config, grid[0], 0, grid, config.threads, work, loads=loads)


def select_pool(site: GpuSite) -> Selection:
    """Max and average pooling with any window."""
    config = configure(site, WINDOW_POOLS[site.node.op])
    call = Call(site.node.name, window_kernel(config, site), site.values(site.node.inputs), site.result, True)
    return Selection((call,), (), f"{config.strip} rows a thread, bound by memory")


@dataclass(frozen=True)
class GpuArgmaxConfig:
    """Where a window's largest values lie: a vector of channels of an output pixel per thread."""

    batch: int
    source: View
    result: View
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    threads: int

    @property
    def total(self) -> int:
        """Threads that have work."""
        return self.batch * self.result.blocks * self.result.pixels


def select_argmaxpool(site: GpuSite) -> Selection:
    """argmaxpool."""
    node, a = site.node, site.node.attrs
    source, result = site.view(node.inputs[0]), site.view(node.name)
    total = site.batch * result.blocks * result.pixels
    window = (a["kernel"], a["stride"], a["dilation"], a["pad"][:2])
    config = GpuArgmaxConfig(site.batch, source, result, *window, threads_for(total, site.target))
    grid = grid_of(total, config.threads)
    taps = a["kernel"][0] * a["kernel"][1]
    work = LaunchWork(2 * taps * site.batch * result.numbers, site.bytes_of(node.name, *node.inputs))
    name = f"argmaxpool_{result.label}"
    kernel = GpuKernel("argmaxpool", name, config, grid[0], 0, grid, config.threads, work)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), "a vector of channels of a window per thread")


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    **dict.fromkeys(WINDOW_POOLS, (select_pool,)),
    "argmaxpool": (select_argmaxpool,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = {**dict.fromkeys(WINDOW_POOLS, FLOATS), "maxpool": MOVED}
"""Op -> the types of numbers that its kernels take and give."""
