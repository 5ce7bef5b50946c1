"""Resizing and bilinear upsampling: tables of taps for rows and columns, computed at compile time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.base.elements import FLOAT32
from cnncc.ir import Constant
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection, blocks
from cnncc.ops.resize import axes_taps


@dataclass(frozen=True)
class ResizeConfig:
    """Sizes in rows and columns, of `block` numbers each; `taps` along both axes."""

    channel_blocks: int
    block: int
    lanes: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    taps: tuple[int, int]
    element: str = "float32"
    """Integers are only moved: they have one tap."""

    @property
    def rows_first(self) -> bool:
        """Whether whole rows of the image are blended before columns are: it takes fewer products."""
        down, across = self.taps
        return down > 1 and self.in_size[1] * down + self.out_size[1] * across < self.out_size[1] * down * across

    @property
    def scratch_floats(self) -> int:
        """A blended row."""
        return blocks(self.in_size[1] * self.block, 16) * 16 if self.rows_first else 0

    @property
    def scratch_bytes(self) -> int:
        return FLOAT32.bytes(self.scratch_floats)


def select_resize(site: CpuSite) -> Selection:
    """resize; a row of one channel block per unit."""
    return resize(site, f"resize_{site.node.attrs['mode']}", site.node.attrs)


def resize(site: CpuSite, label: str, attrs: Mapping[str, Any]) -> Selection:
    """What an op `resize` with these attributes would do to the first input of the node."""
    node, target = site.node, site.target
    source = site.type()
    tables = axes_taps(source.shape, attrs)
    taps = (tables[0][0].shape[1], tables[1][0].shape[1])
    planes, out_size = blocks(source.shape[1], target.block), node.type.chw[1:]
    config = ResizeConfig(planes, target.block, target.lanes, source.chw[1:], out_size, taps, site.element.name)
    packed = [
        _packed(f"{node.name}.{axis}.{kind}", values)
        for axis, table in zip(("rows", "columns"), tables, strict=True)
        for kind, values in zip(("from", "share"), table, strict=True)
    ]
    name = f"{label}_{site.element.short}_nchw{target.block}c_{target.isa}"
    kernel = Kernel("resize", name, config, planes * out_size[0], config.scratch_bytes)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    why = f"{taps[0]}x{taps[1]} taps from tables{', rows first' if config.rows_first else ''}"
    return Selection((Call(node.name, kernel, operands, site.result),), tuple(packed), why)


def _packed(name: str, values: np.ndarray) -> Packed:
    flat = values.astype(np.float32).reshape(-1)
    return Packed(name, Constant(flat.shape, lambda: flat))


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "resize": (select_resize,),
}
"""Op -> its selectors."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
