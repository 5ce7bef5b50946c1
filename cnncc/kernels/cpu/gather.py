"""Rows at computed places."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnncc.kernels.shared.spec import Call, Kernel, Selection, Site


@dataclass(frozen=True)
class GatherConfig:
    """`channels` of `math.prod(sizes)` rows of `width` floats each, of which `places` are read."""

    channels: int
    sizes: tuple[int, ...]
    places: int
    width: int
    wrap: bool


@dataclass(frozen=True)
class ScatterConfig:
    """Rows as in `GatherConfig`, of which `places` are written; `zeros` where there is no image to begin with."""

    rows: GatherConfig
    reduction: str
    zeros: bool


def select_gather(site: Site) -> Selection | None:
    """gather (a row of the result per unit), scatter and unpool (a channel per unit)."""
    node, attrs = site.node, site.node.attrs
    if node.op not in ("gather", "scatter", "unpool"):
        return None
    _, channels, height, width = site.type().shape
    if node.op == "unpool":
        rows = GatherConfig(channels, (math.prod(attrs["size"]),), height * width, 1, False)
    else:
        sizes = attrs["sizes"] or (height,)
        rows = GatherConfig(channels, tuple(sizes), site.type(1).shape[2], width, attrs["wrap"])
    if node.op == "gather":
        kernel = Kernel("gather", f"gather_f32_{site.target.isa}", rows, channels * rows.places, 0)
        return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "a row at a time")
    config = ScatterConfig(rows, attrs.get("reduction", "replace"), zeros=node.op == "unpool")
    kernel = Kernel("scatter", f"{node.op}_f32_{site.target.isa}", config, channels, 0)
    names = node.inputs[::-1] if node.op == "unpool" else node.inputs
    call = Call(node.name, kernel, site.values(names), site.result)
    return Selection((call,), (), "one row after the other: places may be equal")
