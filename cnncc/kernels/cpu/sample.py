"""Sampling an image at computed places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.modes import SampleMode
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks


@dataclass(frozen=True)
class SampleConfig:
    """`sizes` are the image's width and height (and depth); the modes are those of the op."""

    channel_blocks: int
    block: int
    lanes: int
    sizes: tuple[int, ...]
    out_size: tuple[int, int]
    mode: SampleMode
    outside: str
    place: str


def select_sample(site: CpuSite) -> Selection:
    """sample; a row of the result per unit, so that a place is looked at once for all channels."""
    node, target = site.node, site.target
    attrs, source, axes = node.attrs, site.type(), site.type(1).shape[1]
    _, h, w = source.chw
    sizes = (w, h) if axes == 2 else (w, h // attrs["depth"], attrs["depth"])
    how = (attrs["mode"], attrs["outside"], attrs["place"])
    planes, out_size = blocks(source.shape[1], target.block), node.type.chw[1:]
    config = SampleConfig(planes, target.block, target.lanes, sizes, out_size, *how)
    kernel = Kernel("sample", f"sample_{attrs['mode']}_f32_nchw{target.block}c_{target.isa}", config, out_size[0], 0)
    call = Call(node.name, kernel, site.values(node.inputs), site.result)
    return Selection((call,), (), "places once for all channels")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "sample": (select_sample,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
