"""Channels from several images in blocks to one: permutations, and slices and concats that start inside a block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnncc.base.dim import typical
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks

ZERO = -1
"""Source of what fills up the last block."""
KEPT = -2
"""Source of what lies in the result already; its channel is that of the result."""


@dataclass(frozen=True)
class PickConfig:
    """Each channel of the result comes from one of the sources. A unit is `band` pixels of all channels."""

    sources: tuple[int, ...]
    """Channel blocks of each."""
    places: tuple[tuple[int, int], ...]
    """For each channel of the result, with those that fill up its last block, its source and the channel there."""
    pixels: int
    band: int
    block: int
    lanes: int
    element: str = "float32"


UNIT_NUMBERS = 8192
"""Numbers that a unit writes, about: some thousand cycles."""


def pick_call(site: CpuSite, names: Sequence[str], channels: Sequence[int | None]) -> Call:
    """The call that makes the node's value of the listed channels of the named values, counted through all of them;
    None is a channel that lies there already."""
    types = [site.graph[name].type for name in names]
    assert all(t.block == site.node.type.block > 1 for t in types), "pick reads and writes blocks"
    block, pixels = site.node.type.block, math.prod(site.node.type.shape[2:])
    every = [(i, channel) for i, t in enumerate(types) for channel in range(t.shape[1])]
    places = [(KEPT, i) if channel is None else every[channel] for i, channel in enumerate(channels)]
    places += [(ZERO, 0)] * (-len(places) % block)
    moved = sum(source != KEPT for source, _ in places)
    usual = typical(pixels)
    units = max(1, min(usual, moved * usual // UNIT_NUMBERS))
    band = -(-usual // units)
    sources = tuple(blocks(t.shape[1], block) for t in types)
    config = PickConfig(sources, tuple(places), pixels, band, block, min(block, site.target.lanes), site.element.name)
    kernel = Kernel("pick", f"pick_{site.element.short}_nchw{block}c_{site.target.isa}", config, -(-pixels // band), 0)
    return Call(site.node.name, kernel, site.values(names), site.result)


def select_pick(site: CpuSite) -> Selection:
    """Channels in another order."""
    node = site.node
    why = f"channels of {len(node.inputs)} values in another order"
    return Selection((pick_call(site, node.inputs, node.attrs["channels"]),), (), why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {"pick": (select_pick,)}
"""Op -> its selectors."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = {"pick": True}
"""Op -> whether its kernels compute images of any size of a range."""
