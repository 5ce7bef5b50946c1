"""Kernels that read a plain image at strides: axes in another order, values repeated or taken at steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.dim import least_of, typical
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks
from cnncc.kernels.shared.strided import READ, merged, row_major

SMALL, LARGE = 256, 4096
"""Floats that a unit moves at least, and up to which it takes further rows while there are units enough."""
WANTED_UNITS = 16


@dataclass(frozen=True)
class Walk:
    """Steps along an axis: how many, and by how many floats each moves in the source and in the result; 0 in the source
    where values repeat."""

    size: int
    source: int
    result: int


@dataclass(frozen=True)
class StridedConfig:
    """Rows of the result, along `row`, from their places in the source.

    Where the source follows another axis, `across`, squares of `side` x `side` floats are turned; 0 for none. Of the
    other axes the first `split` are counted by units, and so are the `bands` of `across`.
    """

    source: int
    """Numbers of the source image."""
    start: int
    """Where the first of them lies."""
    outer: tuple[Walk, ...]
    row: Walk
    across: Walk
    side: int
    bands: int
    split: int
    element: str = "float32"

    @property
    def units(self) -> int:
        return math.prod(a.size for a in self.outer[: self.split]) * self.bands

    @property
    def numbers(self) -> int:
        """Of the result."""
        return math.prod(a.size for a in (*self.outer, self.row, self.across))


NO_WALK = Walk(1, 0, 0)


def select_strided(site: CpuSite) -> Selection:
    """A copy that reads rows at strides."""
    node, old = site.node, site.type().shape[1:]
    sizes, strides, start = READ[node.op](node, old)
    config = strided_config(*merged(sizes, strides), (math.prod(old), start), site.target.lanes, site.element.name)
    kernel = Kernel("strided", f"{node.op}_{site.element.short}_{site.target.isa}", config, config.units, 0)
    why = f"turned in squares of {config.side}" if config.side else "rows read at strides"
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), why)


def strided_config(
    sizes: tuple[int, ...], strides: tuple[int, ...], source: tuple[int, int], lanes: int, element: str = "float32"
) -> StridedConfig:
    """How a result of these sizes is read at these strides; `source` has so many numbers, and a start."""
    axes = [Walk(*axis) for axis in zip(sizes, strides, row_major(sizes), strict=True)]
    row = axes.pop()
    across = next((a for a in axes if a.source == 1), NO_WALK) if row.source not in (0, 1) else NO_WALK
    side = turned_side(min(least_of(row.size), least_of(across.size)), lanes) if element == "float32" else 0
    if side:
        axes.remove(across)
    else:
        across = NO_WALK
    sizes = typical(tuple(a.size for a in axes))
    bands = min(blocks(typical(across.size), side), blocks(WANTED_UNITS, math.prod(sizes))) if side else 1
    split = _split(list(sizes), typical(row.size * across.size) // bands)
    return StridedConfig(*source, tuple(axes), row, across, side, bands, split, element)


def turned_side(size: int, lanes: int) -> int:
    """The side of squares that are turned in registers, where the shorter of two axes has this size; 0 for none."""
    return next((side for side in (8, 4) if side <= min(size, lanes)), 0)


def _split(sizes: list[int], work: int) -> int:
    """How many of these axes units count, if along the others and within they move `work` floats at least."""
    split = len(sizes)
    while split and (work < SMALL or (work < LARGE and math.prod(sizes[: split - 1]) >= WANTED_UNITS)):
        split -= 1
        work *= sizes[split]
    return split


RULES: Mapping[str, tuple[CpuRule, ...]] = dict.fromkeys(READ, (select_strided,))
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
