"""Group norm: statistics of each group, then one multiply-add a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection


@dataclass(frozen=True)
class GroupNormConfig:
    """`groups` of `channels` planes of `pixels`, in logical order."""

    groups: int
    channels: int
    pixels: int
    lanes: int
    eps: float
    affine: bool


def select_group_norm(site: CpuSite) -> Selection:
    """group_norm; a group per unit."""
    node = site.node
    shape, attrs = node.type.shape, node.attrs
    groups = attrs["groups"]
    config = GroupNormConfig(
        groups, shape[1] // groups, math.prod(shape[2:]), site.target.lanes, float(attrs["eps"]), attrs["affine"]
    )
    packed = []
    for slot in node.weights:
        constant = site.constant(slot)
        assert constant is not None
        packed.append(Packed(f"{node.name}.{slot}", constant.map(constant.shape, lambda v: v)))
    kernel = Kernel("group_norm", f"group_norm_f32_nchw_{site.target.isa}", config, groups, 0)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    why = "three passes over a group: mean, variance, result"
    return Selection((Call(node.name, kernel, operands, site.result),), tuple(packed), why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "group_norm": (select_group_norm,),
}
"""Op -> its selectors."""
