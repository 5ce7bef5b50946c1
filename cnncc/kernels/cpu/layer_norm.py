"""Norms and pools across the channels of each pixel, and global response norm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.dim import typical
from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.elementwise import label
from cnncc.kernels.shared.modes import CHANNEL_POOLS, PoolMode
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Epilogue, Kernel, Packed, Selection, blocks

FEWEST = 16
"""Pixels of a unit, unless the image has fewer: sharing out a unit costs about as much as a pixel."""
MOST_UNITS = 64


@dataclass(frozen=True)
class Channels:
    """An image as channel norms see it: `pixels` of `count` channels in blocks of `width`. A vector is one pixel of one
    block of any width."""

    count: int
    width: int
    pixels: int
    lanes: int

    @property
    def planes(self) -> int:
        return blocks(self.count, self.width)

    @property
    def floats(self) -> int:
        """Of the image, and of a value per channel."""
        return self.planes * self.width * self.pixels


@dataclass(frozen=True)
class ChannelNormConfig:
    """Each pixel is normed by itself, `per_unit` of them in a unit."""

    image: Channels
    per_unit: int
    centred: bool
    """Whether the mean is taken off first: layer norm, else rms norm."""
    eps: float
    weights: tuple[str, ...]
    epilogue: Epilogue


@dataclass(frozen=True)
class ChannelPoolConfig:
    """Each pixel's channels become one, `per_unit` pixels in a unit."""

    image: Channels
    mode: PoolMode
    per_unit: int


@dataclass(frozen=True)
class LengthsConfig:
    """The length of each channel's plane, as a vector: a channel block per unit."""

    image: Channels


@dataclass(frozen=True)
class ResponseNormConfig:
    """Each channel times 1 + weight * its length / the mean length; `parts` units for each channel block."""

    image: Channels
    parts: int
    eps: float
    epilogue: Epilogue


def select_layernorm(site: CpuSite) -> Selection:
    """By mean and variance."""
    return _channel_norm(site, centred=True)


def select_rmsnorm(site: CpuSite) -> Selection:
    """By the mean of squares."""
    return _channel_norm(site, centred=False)


def _channel_norm(site: CpuSite, centred: bool) -> Selection:
    """Some pixels per unit."""
    node, image = site.node, _image(site)
    per_unit = _per_unit(image)
    epilogue = node.attrs["epilogue"]
    config = ChannelNormConfig(image, per_unit, centred, float(node.attrs["eps"]), tuple(node.weights), epilogue)
    packed = columns(site, image)
    name = f"{label(node.op, epilogue)}_f32_{site.target.isa}"
    kernel = Kernel("channel_norm", name, config, blocks(image.pixels, per_unit), 0)
    operands = (*site.values(node.inputs[:1]), *(p.operand for p in packed), *site.values(node.inputs[1:]))
    why = "a pixel's channels at a time, read again while they are in the cache"
    return Selection((Call(node.name, kernel, operands, site.result),), packed, why)


def select_channel_pool(site: CpuSite) -> Selection:
    """channel_mean, channel_max and channel_sum; some pixels per unit."""
    node, source = site.node, site.type()
    image = Channels(source.shape[1], source.block, math.prod(source.shape[2:]), site.target.lanes)
    config = ChannelPoolConfig(image, CHANNEL_POOLS[node.op], _per_unit(image))
    kernel = Kernel(
        "channel_pool", f"{node.op}_f32_{site.target.isa}", config, blocks(image.pixels, config.per_unit), 0
    )
    call = Call(node.name, kernel, site.values(node.inputs), site.result)
    return Selection((call,), (), "a pixel's channels at a time")


def _per_unit(image: Channels) -> int:
    pixels = typical(image.pixels)
    return min(pixels, max(FEWEST, blocks(pixels, MOST_UNITS)))


def select_grn(site: CpuSite) -> Selection:
    """grn in two calls: the lengths of all planes, then the result."""
    node, image = site.node, _image(site)
    size = FLOAT32.bytes(image.planes * image.width)
    lengths = Workspace(node.name)
    name = f"channel_lengths_f32_{site.target.isa}"
    first = Kernel("channel_lengths", name, LengthsConfig(image), image.planes, 0)
    parts = max(1, min(blocks(typical(image.pixels), MOST_UNITS), blocks(FEWEST, image.planes)))
    config = ResponseNormConfig(image, parts, float(node.attrs["eps"]), node.attrs["epilogue"])
    name = f"{label(node.op, config.epilogue)}_f32_{site.target.isa}"
    second = Kernel("response_norm", name, config, image.planes * parts, 0)
    packed = columns(site, image)
    operands = (*site.values(node.inputs[:1]), lengths, *(p.operand for p in packed), *site.values(node.inputs[1:]))
    calls = (
        Call(node.name, first, site.values(node.inputs[:1]), lengths, workspace_bytes=size),
        Call(node.name, second, operands, site.result, workspace_bytes=size),
    )
    return Selection(calls, packed, "the lengths of all channels come first")


def _image(site: CpuSite) -> Channels:
    shape = site.node.type.shape
    width = site.node.type.block if len(shape) > 2 else shape[1]
    return Channels(shape[1], width, math.prod(shape[2:]), site.target.lanes)


def columns(site: CpuSite, image: Channels) -> tuple[Packed, ...]:
    """The constants of the node, with zeros up to whole blocks: the lanes that fill up the last block stay finite."""
    floats = image.planes * image.width
    found = {slot: site.graph.constants[name] for slot, name in site.node.weights.items()}
    return tuple(
        Packed(f"{site.node.name}.{slot}", constant.map((floats,), lambda v: pad_channels(v, floats)))
        for slot, constant in found.items()
    )


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "layernorm": (select_layernorm,),
    "rmsnorm": (select_rmsnorm,),
    "grn": (select_grn,),
    **dict.fromkeys(CHANNEL_POOLS, (select_channel_pool,)),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
