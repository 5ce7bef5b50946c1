"""What each window of a plain image sees, as channels (im2col)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection

Pair = tuple[int, int]


@dataclass(frozen=True)
class UnfoldConfig:
    """Windows of `kernel` taps, `dilation` apart, on `channels` images of `size`; `offset` is the padding above and
    to the left, `out` the number of windows."""

    channels: int
    size: Pair
    out: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    offset: Pair

    @property
    def units(self) -> int:
        return self.channels * math.prod(self.kernel) * self.out[0]


def select_unfold(site: CpuSite) -> Selection:
    """unfold; a row of one tap per unit."""
    node = site.node
    a, (channels, *size) = node.attrs, site.type().shape[1:]
    out = node.type.shape[2:]
    config = UnfoldConfig(
        channels, (size[0], size[1]), (out[0], out[1]), a["kernel"], a["stride"], a["dilation"], a["pad"][:2]
    )
    kernel = Kernel("unfold", f"unfold_f32_{site.target.isa}", config, config.units, 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "a row of a tap at a time")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "unfold": (select_unfold,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
