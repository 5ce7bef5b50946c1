"""Global response norm: the lengths of all channels' planes, then the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import FLOAT32
from cnncc.kernels.gpu.channel_norm import per_channel
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import GpuKernel, GpuRule, GpuSite, View
from cnncc.kernels.shared.elementwise import label
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Epilogue, Selection, blocks

THREADS = 256
STRIP = 4
"""Vectors of a thread: all threads of a block add up the lengths first, which a longer strip does less often."""


@dataclass(frozen=True)
class GpuLengthsConfig:
    """The length of each channel's plane: `share` threads for a vector of channels, several of these in a block."""

    batch: int
    source: View
    share: int
    threads: int = THREADS

    @property
    def grid(self) -> tuple[int, int, int]:
        return (blocks(self.batch * self.source.blocks, self.threads // self.share), 1, 1)


@dataclass(frozen=True)
class GpuResponseNormConfig:
    """x + weight x length / (mean length + eps) + bias; `per_image` blocks of threads for each image."""

    batch: int
    source: View
    result: View
    eps: float
    extras: tuple[int, ...]
    epilogue: Epilogue
    threads: int = THREADS

    @property
    def vectors(self) -> int:
        """Of an image."""
        return self.result.numbers // self.result.block

    @property
    def per_image(self) -> int:
        return blocks(self.vectors, STRIP * self.threads)

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.batch * self.per_image, 1, 1)


def select_grn(site: GpuSite) -> Selection:
    """grn in two launches."""
    node, source = site.node, site.view(site.node.inputs[0])
    share = min(THREADS, 1 << (source.pixels - 1).bit_length())
    lengths_config = GpuLengthsConfig(site.batch, source, share)
    epilogue, extras = node.attrs["epilogue"], tuple(site.view(name).stride for name in node.inputs[1:])
    config = GpuResponseNormConfig(site.batch, source, site.view(node.name), float(node.attrs["eps"]), extras, epilogue)
    packed, lengths = per_channel(site, source), Workspace(node.name)
    floats, read = site.batch * source.numbers, site.bytes_of(node.inputs[0])
    first = GpuKernel(
        "channel_lengths", f"channel_lengths_{source.label}", lengths_config, lengths_config.grid[0], 0,
        lengths_config.grid, THREADS, LaunchWork(2 * floats, read, products=False),
    )  # fmt: skip
    name = f"{label(node.op, epilogue)}_{source.label}"
    work = LaunchWork(6 * floats, site.bytes_of(node.name, *node.inputs))
    second = GpuKernel("response_norm", name, config, config.grid[0], 0, config.grid, THREADS, work, loads=STRIP)
    by_slot = {slot: p.operand for slot, p in zip(node.weights, packed, strict=True)}
    weights = (by_slot["weight"], by_slot["bias"])
    operands = (*site.values(node.inputs[:1]), lengths, *weights, *site.values(node.inputs[1:]))
    size = FLOAT32.bytes(source.blocks * source.block)
    calls = (
        Call(node.name, first, site.values(node.inputs[:1]), lengths, True, size),
        Call(node.name, second, operands, site.result, True, size),
    )
    return Selection(calls, packed, "the lengths of all channels come first")


RULES: Mapping[str, tuple[GpuRule, ...]] = {"grn": (select_grn,)}
"""Op -> its selectors."""
