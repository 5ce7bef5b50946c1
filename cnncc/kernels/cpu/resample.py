"""Kernels that take each output pixel from one input pixel or none: crop, pad, upsampling by nearest pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnncc.kernels.cpu.resize import resize
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.modes import ResampleMode
from cnncc.kernels.shared.resample import SETTINGS, label, settings
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks
from cnncc.ops import complete


@dataclass(frozen=True)
class ResampleConfig:
    """`mode` is `crop`, `constant`, `edge`, `reflect`, `wrap` or `nearest`; `offset` is the crop's or the padding's
    corner, `scale` the upsampling factor."""

    mode: ResampleMode
    channel_blocks: int
    block: int
    lanes: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    scale: tuple[int, int] = (1, 1)
    value: float = 0.0
    """As it is stored."""
    element: str = "float32"


def select_resample(site: CpuSite) -> Selection:
    """crop, pad and upsample; a row of one channel block per unit."""
    node, source, target = site.node, site.type(), site.target
    given = settings(node)
    aligned = given.pop("align_corners", False)
    if given["mode"] == "bilinear":
        place = "align_corners" if aligned else "half_pixel"
        attrs = complete("resize", {"size": node.type.chw[1:], "mode": "linear", "place": place})
        return resize(site, label(node, "bilinear"), attrs)
    planes = blocks(source.shape[1], target.block)
    out_size = node.type.chw[1:]
    config = ResampleConfig("crop", planes, target.block, target.lanes, source.chw[1:], out_size)
    config = replace(config, **given, element=site.element.name)
    name = f"{label(node, config.mode)}_{site.element.short}_nchw{target.block}c_{target.isa}"
    kernel = Kernel("resample", name, config, planes * out_size[0], 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "one pass over the output")


RULES: Mapping[str, tuple[CpuRule, ...]] = dict.fromkeys(SETTINGS, (select_resample,))
"""Op -> its selectors."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
