"""The largest values of each position, or their channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection


@dataclass(frozen=True)
class TopkConfig:
    """`k` of `channels` at each of `pixels`, in logical order."""

    channels: int
    pixels: int
    k: int
    largest: bool
    indices: bool
    last: bool


def select_topk(site: CpuSite) -> Selection:
    """topk; a position per unit."""
    node = site.node
    shape, attrs = site.type().shape, node.attrs
    config = TopkConfig(shape[1], math.prod(shape[2:]), attrs["k"], attrs["largest"], attrs["indices"], attrs["last"])
    kernel = Kernel("topk", f"topk_f32_{site.target.isa}", config, config.pixels, 0)
    why = "one pass over the channels for each value"
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "topk": (select_topk,),
}
"""Op -> its selectors."""
