"""The largest values of each position, or their channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.dim import least_of
from cnncc.kernels.cpu.matmul import vector_width
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks


@dataclass(frozen=True)
class TopkConfig:
    """`k` of `channels` at each of `pixels`, in logical order; `lanes` positions a unit, of which the last ones
    overlap."""

    channels: int
    pixels: int
    k: int
    largest: bool
    indices: bool
    last: bool
    lanes: int

    @property
    def units(self) -> int:
        return blocks(self.pixels, self.lanes)


def select_topk(site: CpuSite) -> Selection:
    """topk; a vector of positions per unit."""
    node = site.node
    shape, attrs = site.type().shape, node.attrs
    pixels = math.prod(shape[2:])
    lanes = vector_width(least_of(pixels), site.target.lanes)
    config = TopkConfig(shape[1], pixels, attrs["k"], attrs["largest"], attrs["indices"], attrs["last"], lanes)
    kernel = Kernel("topk", f"topk_f32_{site.target.isa}", config, config.units, 0)
    why = "one pass over the channels, with the best so far in order"
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "topk": (select_topk,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
