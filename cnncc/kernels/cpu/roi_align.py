"""Regions brought to one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.modes import RoiMode
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks


@dataclass(frozen=True)
class RoiAlignConfig:
    """`regions` of `images` images of `channels` each, in blocks of `block`, `lanes` at a time; several images have
    blocks of one. `samples` 0 is as many as pixels."""

    images: int
    channels: int
    block: int
    lanes: int
    in_size: tuple[int, int]
    regions: int
    out_size: tuple[int, int]
    mode: RoiMode
    scale: float
    samples: int
    half_pixel: bool
    chosen: bool
    """Whether each region names its image."""

    @property
    def channel_blocks(self) -> int:
        return blocks(self.channels, self.block)


def select_roi_align(site: CpuSite) -> Selection:
    """roi_align; a row of bins of a region per unit."""
    node, attrs = site.node, site.node.attrs
    source, regions = site.type(), site.type(1).shape[1]
    channels, (_, h, w) = source.shape[1] // attrs["images"], source.chw
    size, half = attrs["size"], attrs["place"] == "half_pixel"
    how = (attrs["mode"], float(attrs["scale"]), attrs["samples"], half, len(node.inputs) == 3)
    block, lanes = source.block, min(source.block, site.target.lanes)
    config = RoiAlignConfig(attrs["images"], channels, block, lanes, (h, w), regions, size, *how)
    name = f"roi_align_{attrs['mode']}_f32_{f'nchw{block}c' if block > 1 else 'nchw'}_{site.target.isa}"
    line = FLOAT32.bytes(config.channel_blocks * block)
    kernel = Kernel("roi_align", name, config, regions * size[0], line)
    call = Call(node.name, kernel, site.values(node.inputs), site.result)
    return Selection((call,), (), "samples once for all channels")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "roi_align": (select_roi_align,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
