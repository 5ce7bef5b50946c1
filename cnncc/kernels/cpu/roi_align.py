"""Regions brought to one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.modes import RoiMode
from cnncc.kernels.shared.spec import Call, Kernel, Selection


@dataclass(frozen=True)
class RoiAlignConfig:
    """`regions` of `images` images of `channels` each, all in logical order; `samples` 0 is as many as pixels."""

    images: int
    channels: int
    in_size: tuple[int, int]
    regions: int
    out_size: tuple[int, int]
    mode: RoiMode
    scale: float
    samples: int
    half_pixel: bool
    chosen: bool
    """Whether each region names its image."""


def select_roi_align(site: CpuSite) -> Selection:
    """roi_align; a row of bins of a region per unit."""
    node, attrs = site.node, site.node.attrs
    (_, channels, h, w), regions = site.type().shape, site.type(1).shape[1]
    images, size, half = attrs["images"], attrs["size"], attrs["place"] == "half_pixel"
    how = (attrs["mode"], float(attrs["scale"]), attrs["samples"], half, len(node.inputs) == 3)
    config = RoiAlignConfig(images, channels // images, (h, w), regions, size, *how)
    name = f"roi_align_{attrs['mode']}_f32_{site.target.isa}"
    kernel = Kernel("roi_align", name, config, regions * size[0], FLOAT32.bytes(config.channels))
    call = Call(node.name, kernel, site.values(node.inputs), site.result)
    return Selection((call,), (), "samples once for all channels")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "roi_align": (select_roi_align,),
}
"""Op -> its selectors."""
