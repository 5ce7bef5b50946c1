"""Non-maximum suppression: each class by itself, then all rows one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.dim import smallest
from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Kernel, Selection


@dataclass(frozen=True)
class NmsConfig:
    """At most `most` of `boxes` for each of `classes` of `images`."""

    images: int
    classes: int
    boxes: int
    most: int
    iou: float
    score: float
    center: bool


@dataclass(frozen=True)
class NmsRowsConfig:
    """Lists of up to `most` boxes, ended by -1, of all `classes` of all `images`."""

    images: int
    classes: int
    most: int


def select_nms(site: CpuSite) -> Selection:
    """nms; a class per unit."""
    node, attrs = site.node, site.node.attrs
    _, images, classes, count = site.type(1).shape
    most = smallest(attrs["most"], count)
    how = (float(attrs["iou"]), float(attrs["score"]), attrs["center"])
    config, rows = NmsConfig(images, classes, count, most, *how), NmsRowsConfig(images, classes, most)
    lists = Workspace(node.name)
    size = FLOAT32.bytes(images * classes * most)
    find = Kernel("nms", f"nms_f32_{site.target.isa}", config, images * classes, FLOAT32.bytes(count))
    join = Kernel("nms_rows", f"nms_rows_f32_{site.target.isa}", rows, 1, 0)
    calls = (
        Call(node.name, find, site.values(node.inputs), lists, workspace_bytes=size),
        Call(node.name, join, (lists,), site.result, workspace_bytes=size),
    )
    return Selection(calls, (), "one pass over the boxes for each that is found")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "nms": (select_nms,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
