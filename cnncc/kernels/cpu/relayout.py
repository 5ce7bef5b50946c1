"""An image in blocks from one in logical order, or the other way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.dim import above, least_of, typical
from cnncc.kernels.cpu.copy import copy_channels
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.cpu.strided import WANTED_UNITS, turned_side
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks


@dataclass(frozen=True)
class RelayoutConfig:
    """`channels` x `pixels` from planes of channels `to_blocks` of them, or back, in squares of `side`; 0 for value by
    value. A unit is one of `bands` of the pixels of a block."""

    channels: int
    pixels: int
    block: int
    to_blocks: bool
    side: int
    bands: int

    @property
    def planes(self) -> int:
        return blocks(self.channels, self.block)

    @property
    def ragged(self) -> bool:
        """Whether the last block has lanes that are no channels."""
        return above(self.channels % self.block, 0)


def select_relayout(site: CpuSite) -> Selection:
    """The same values in another order."""
    node, have, want = site.node, site.type(), site.node.type
    if have.block == want.block or site.element.name != "float32":
        return Selection((copy_channels(site, node.inputs[0], 0, want.shape[1], 0),), (), "channel by channel")
    block, pixels = max(have.block, want.block), math.prod(want.shape[2:])
    assert min(have.block, want.block) == 1, "blocks of two sizes meet nowhere"
    side = turned_side(min(block, least_of(pixels)), site.target.lanes)
    bands = min(blocks(least_of(pixels), max(1, side)), blocks(WANTED_UNITS, blocks(typical(want.shape[1]), block)))
    config = RelayoutConfig(want.shape[1], pixels, block, want.block > 1, side, bands)
    kernel = Kernel(
        "relayout", f"relayout_f32_c{have.block}_to_c{want.block}_{site.target.isa}", config, config.planes * bands, 0
    )
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "between layouts")


RULES: Mapping[str, tuple[CpuRule, ...]] = {"relayout": (select_relayout,)}
"""Op -> its selectors."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = {"relayout": True}
"""Op -> whether its kernels compute images of any size of a range."""
