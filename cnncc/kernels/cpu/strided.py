"""Kernels that read a plain image at strides: axes in another order, values repeated or taken at steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cnncc.base.dim import least_of, typical
from cnncc.ir import Node
from cnncc.ir.rules import Shape
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks
from cnncc.ops.parts import places

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


def merged(sizes: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same places with as few axes as possible: those of 1 go, those that continue each other are one."""
    axes: list[tuple[int, int]] = []
    for size, stride in zip(sizes, strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == stride * size:
            axes[-1] = (axes[-1][0] * size, stride)
        else:
            axes.append((size, stride))
    axes = axes or [(1, 1)]
    return tuple(a for a, _ in axes), tuple(b for _, b in axes)


def row_major(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an array in logical order."""
    return tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))


def permuted(node: Node, old: Shape) -> tuple[Shape, Shape, int]:
    split, axes = node.attrs["split"], node.attrs["axes"]
    steps = row_major(split)
    return tuple(split[a] for a in axes), tuple(steps[a] for a in axes), 0


def expanded(node: Node, old: Shape) -> tuple[Shape, Shape, int]:
    steps = tuple(0 if size == 1 else step for size, step in zip(old, row_major(old), strict=True))
    return node.type.shape[1:], steps, 0


def sliced(node: Node, old: Shape) -> tuple[Shape, Shape, int]:
    steps, taken = row_major(old), places(node.attrs)
    strides = tuple(step * along.step for step, along in zip(steps, taken, strict=True))
    start = sum(step * along.start for step, along in zip(steps, taken, strict=True))
    return node.type.shape[1:], strides, start


READ: Mapping[str, Callable[[Node, Shape], tuple[Shape, Shape, int]]] = {
    "permute": permuted,
    "expand": expanded,
    "strided_slice": sliced,
}
"""Op -> sizes, strides and start of what it reads, by the node and the shape of one image of its input."""


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
