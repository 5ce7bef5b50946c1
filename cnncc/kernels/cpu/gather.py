"""Rows at computed places."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection


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


def select_gather(site: CpuSite) -> Selection:
    """A row of the result per unit."""
    node, rows = site.node, _rows(site)
    kernel = Kernel("gather", f"gather_f32_{site.target.isa}", rows, rows.channels * rows.places, 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "a row at a time")


def select_scatter(site: CpuSite) -> Selection:
    """A channel per unit."""
    config = ScatterConfig(_rows(site), site.node.attrs["reduction"], zeros=False)
    return _scattered(site, config, site.node.inputs)


def select_unpool(site: CpuSite) -> Selection:
    """Values scattered into zeros: its arms are in the other order."""
    _, channels, height, width = site.type().shape
    rows = GatherConfig(channels, (math.prod(site.node.attrs["size"]),), height * width, 1, False)
    return _scattered(site, ScatterConfig(rows, "replace", zeros=True), site.node.inputs[::-1])


def _rows(site: CpuSite) -> GatherConfig:
    attrs, (_, channels, height, width) = site.node.attrs, site.type().shape
    return GatherConfig(channels, tuple(attrs["sizes"] or (height,)), site.type(1).shape[2], width, attrs["wrap"])


def _scattered(site: CpuSite, config: ScatterConfig, names: tuple[str, ...]) -> Selection:
    kernel = Kernel("scatter", f"{site.node.op}_f32_{site.target.isa}", config, config.rows.channels, 0)
    call = Call(site.node.name, kernel, site.values(names), site.result)
    return Selection((call,), (), "one row after the other: places may be equal")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "gather": (select_gather,),
    "scatter": (select_scatter,),
    "unpool": (select_unpool,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
