"""Resizing: tables of taps for rows and columns, computed at compile time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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


def select_resize(site: CpuSite) -> Selection:
    """resize; a row of one channel block per unit."""
    node, target = site.node, site.target
    source = site.type()
    tables = axes_taps(source.shape, node.attrs)
    taps = (tables[0][0].shape[1], tables[1][0].shape[1])
    planes, out_size = blocks(source.shape[1], target.block), node.type.chw[1:]
    config = ResizeConfig(planes, target.block, target.lanes, source.chw[1:], out_size, taps, site.element.name)
    packed = [
        _packed(f"{node.name}.{axis}.{kind}", values)
        for axis, table in zip(("rows", "columns"), tables, strict=True)
        for kind, values in zip(("from", "share"), table, strict=True)
    ]
    name = f"resize_{node.attrs['mode']}_{site.element.short}_nchw{target.block}c_{target.isa}"
    kernel = Kernel("resize", name, config, planes * out_size[0], 0)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    why = f"{taps[0]}x{taps[1]} taps from tables"
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
