"""Norms and pools across the channels of each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import Element
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import FLOATS, GpuKernel, GpuRule, GpuSite, View
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.elementwise import label
from cnncc.kernels.shared.modes import CHANNEL_POOLS, PoolMode
from cnncc.kernels.shared.spec import Call, Epilogue, Packed, Selection, blocks

THREADS = 256
PIXELS = 8
"""Of a block: a vector of channels of so many pixels is a line of the cache."""


@dataclass(frozen=True)
class Columns:
    """A block has `pixels` pixels of the batch; `share` threads share out the vectors of channels of each. They are
    counted pixel by pixel, so that neighbouring threads read neighbouring pixels."""

    batch: int
    source: View
    result: View
    pixels: int
    share: int

    @property
    def threads(self) -> int:
        return self.pixels * self.share

    @property
    def total(self) -> int:
        """Pixels of the batch."""
        return self.batch * self.source.pixels

    @property
    def grid(self) -> tuple[int, int, int]:
        return (blocks(self.total, self.pixels), 1, 1)


@dataclass(frozen=True)
class GpuChannelNormConfig:
    """layernorm (`centred`: the mean is taken off first) or rmsnorm; `weights` are its slots."""

    columns: Columns
    centred: bool
    eps: float
    weights: tuple[str, ...]
    extras: tuple[int, ...]
    epilogue: Epilogue


@dataclass(frozen=True)
class GpuChannelPoolConfig:
    """`mode` over the channels of each pixel."""

    columns: Columns
    mode: PoolMode


def select_layernorm(site: GpuSite) -> Selection:
    """By mean and variance."""
    return _norm(site, centred=True)


def select_rmsnorm(site: GpuSite) -> Selection:
    """By the mean of squares."""
    return _norm(site, centred=False)


def _norm(site: GpuSite, centred: bool) -> Selection:
    node, columns = site.node, _columns(site)
    epilogue, extras = node.attrs["epilogue"], tuple(site.view(name).stride for name in node.inputs[1:])
    config = GpuChannelNormConfig(columns, centred, float(node.attrs["eps"]), tuple(node.weights), extras, epilogue)
    packed = per_channel(site, columns.source)
    name = f"{label(node.op, epilogue)}_{columns.source.label}_{columns.pixels}x{columns.share}"
    operands = (*site.values(node.inputs[:1]), *(p.operand for p in packed), *site.values(node.inputs[1:]))
    kernel = _kernel(site, "channel_norm", name, config, 8)
    return Selection((Call(node.name, kernel, operands, site.result, True),), packed, _why(columns))


def select_channel_pool(site: GpuSite) -> Selection:
    """channel_mean, channel_max and channel_sum."""
    node, columns = site.node, _columns(site)
    config = GpuChannelPoolConfig(columns, CHANNEL_POOLS[node.op])
    name = f"{node.op}_{columns.source.label}_{columns.pixels}x{columns.share}"
    kernel = _kernel(site, "channel_pool", name, config, 1)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), _why(columns))


def _columns(site: GpuSite) -> Columns:
    source = site.view(site.node.inputs[0])
    pixels = PIXELS if source.pixels > 1 else 1
    share = 32 // pixels
    while share < THREADS // pixels and share < source.blocks:
        share *= 2
    return Columns(site.batch, source, site.view(site.node.name), pixels, share)


def _kernel(
    site: GpuSite, family: str, name: str, config: GpuChannelNormConfig | GpuChannelPoolConfig, flops: int
) -> GpuKernel:
    columns = config.columns
    numbers = columns.batch * columns.source.channels * columns.source.pixels
    work = LaunchWork(flops * numbers, site.bytes_of(site.node.name, *site.node.inputs))
    return GpuKernel(family, name, config, columns.grid[0], 0, columns.grid, columns.threads, work)


def _why(columns: Columns) -> str:
    return f"{columns.pixels} pixels a block, {columns.share} threads share the channels of each"


def per_channel(site: GpuSite, view: View) -> tuple[Packed, ...]:
    """The constants of the node, of a number per channel, with zeros up to whole vectors."""
    floats = view.blocks * view.block
    found = {slot: site.graph.constants[name] for slot, name in site.node.weights.items()}
    return tuple(
        Packed(f"{site.node.name}.{slot}", constant.map((floats,), lambda v: pad_channels(v, floats)))
        for slot, constant in found.items()
    )


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "layernorm": (select_layernorm,),
    "rmsnorm": (select_rmsnorm,),
    **dict.fromkeys(CHANNEL_POOLS, (select_channel_pool,)),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(("layernorm", "rmsnorm"), FLOATS)
"""Op -> the types of numbers that its kernels take and give."""
