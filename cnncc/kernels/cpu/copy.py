"""Kernels that only move values: layout changes, channel slices and concat arms that cannot be views."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnncc.ir import TensorType
from cnncc.kernels.cpu.pick import pick_call
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.arms import copied_arms
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks


@dataclass(frozen=True)
class CopyConfig:
    """`channels` channels from `from_channel` of one image to `to_channel` of another, each in its own layout.

    Then `zeros` channels after them are cleared: the lanes that fill up the last block.
    """

    channels: int
    pixels: int
    from_channel: int
    from_block: int
    from_channels: int
    to_channel: int
    to_block: int
    to_channels: int
    zeros: int
    lanes: int
    element: str = "float32"

    @property
    def whole_blocks(self) -> bool:
        """Whether block moves to block as it is: a part of one would carry channels along that belong to others."""
        starts = self.from_channel % self.from_block == self.to_channel % self.to_block == 0
        return self.from_block == self.to_block > 1 and starts and self.channels % self.to_block == 0

    @property
    def units(self) -> int:
        return blocks(self.channels, self.to_block) if self.whole_blocks else self.channels + self.zeros


def copy_channels(site: CpuSite, source: str, start: int, channels: int, to: int) -> Call:
    """The call that copies channels [start, start + channels) of `source` to channel `to` of the node's value."""
    have, want = _plane(site.graph[source].type), _plane(site.node.type)
    padded = blocks(want.shape[1], want.block) * want.block
    config = CopyConfig(
        channels=channels,
        pixels=math.prod(want.shape[2:]),
        from_channel=start,
        from_block=have.block,
        from_channels=blocks(have.shape[1], have.block) * have.block,
        to_channel=to,
        to_block=want.block,
        to_channels=padded,
        zeros=padded - to - channels if to + channels == want.shape[1] else 0,
        lanes=site.target.lanes,
        element=site.element.name,
    )
    name = f"copy_{site.element.short}_c{have.block}_to_c{want.block}_{site.target.isa}"
    return Call(site.node.name, Kernel("copy", name, config, config.units, 0), site.values([source]), site.result)


def _plane(kind: TensorType) -> TensorType:
    """A vector, or anything stored without blocks, as so many channels of one row."""
    if len(kind.shape) == 4:
        return kind
    return replace(kind, shape=(kind.shape[0], math.prod(kind.shape[1:]), 1, 1))


def select_slice(site: CpuSite) -> Selection:
    """A slice that is no view."""
    start, stop = site.node.attrs["start"], site.node.attrs["stop"]
    if len(site.node.type.shape) == 4 and site.node.type.block > 1:
        call = pick_call(site, site.node.inputs, range(start, stop))
        return Selection((call,), (), f"channels that are no whole blocks of {site.node.type.block}")
    call = copy_channels(site, site.node.inputs[0], start, stop - start, 0)
    return Selection((call,), (), "channels that do not start a block")


def select_regrouping(site: CpuSite) -> Selection:
    """flatten and reshape, where they are no views."""
    node = site.node
    count = math.prod(node.type.stored_shape[1:])
    config = CopyConfig(count, 1, 0, 1, count, 0, 1, count, 0, site.target.lanes, site.element.name)
    kernel = Kernel("copy", f"copy_{site.element.short}_{site.target.isa}", config, config.units, 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "values as they lie")


def select_concat(site: CpuSite) -> Selection:
    """Arms that are not written in place: all at once where some start inside a block."""
    node, block = site.node, site.node.type.block
    copied = list(copied_arms(site, site.copies))
    why = f"{len(node.inputs) - len(copied)} arms written in place, {len(copied)} copied"
    ragged = any(at % block or channels % block for _, channels, at in copied)
    if ragged and len(node.type.shape) == 4 and block > 1:
        call = pick_call(site, [arm for arm, _, _ in copied], _copied_channels(site, copied))
        return Selection((call,), (), f"{why}: they are no whole blocks of {block}")
    return Selection(tuple(copy_channels(site, arm, 0, channels, at) for arm, channels, at in copied), (), why)


def _copied_channels(site: CpuSite, copied: Sequence[tuple[str, int, int]]) -> list[int | None]:
    """For each channel of a concat, which one of the copied arms it is, counted through all of them; None if it was
    written in its place."""
    found: list[int | None] = [None] * site.node.type.shape[1]
    count = 0
    for _, channels, at in copied:
        found[at : at + channels] = range(count, count + channels)
        count += channels
    return found


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "slice": (select_slice,),
    "concat": (select_concat,),
    "flatten": (select_regrouping,),
    "reshape": (select_regrouping,),
}
"""Op -> its selectors."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
