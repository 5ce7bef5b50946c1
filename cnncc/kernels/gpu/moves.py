"""Kernels that move numbers of a plain image: axes in another order, positions taken or repeated, windows unfolded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import Element
from cnncc.ir import Constant
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.spec import Call, Packed, Selection, blocks
from cnncc.kernels.shared.strided import READ, merged, row_major

Pair = tuple[int, int]

SIDE = 32
"""Of a square that a block turns: a warp reads a row of it at once, and writes another."""
TURN_THREADS = 256


@dataclass(frozen=True)
class StridedPlaces:
    """The number at (i, j, ..) of an array of these sizes lies at start + i strides[0] + j strides[1] + .."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class ListedPlaces:
    """`count` positions of an axis of `size`, named by a table; `inner` numbers belong to each."""

    size: int
    count: int
    inner: int


@dataclass(frozen=True)
class WindowPlaces:
    """What each window sees, tap by tap: `out` windows of `kernel` taps, `dilation` apart, on an image of `size`;
    `offset` is the padding above and to the left, which is zeros."""

    size: Pair
    out: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    offset: Pair


Places = StridedPlaces | ListedPlaces | WindowPlaces
"""Where numbers of a result come from."""


@dataclass(frozen=True)
class GpuMoveConfig:
    """Where each number of the result comes from, a number per thread."""

    places: Places
    batch: int
    source: View
    result: View
    threads: int

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers


@dataclass(frozen=True)
class TurnedAxis:
    """Steps along an axis: how many, and by how many numbers each moves in the source and in the result."""

    size: int
    source: int
    result: int


@dataclass(frozen=True)
class GpuTurnConfig:
    """Squares of two axes, read along `across`, where the source is contiguous, and written along `row`, where the
    result is. `outer` are the other axes."""

    batch: int
    source: View
    result: View
    start: int
    outer: tuple[TurnedAxis, ...]
    across: TurnedAxis
    row: TurnedAxis
    threads: int = TURN_THREADS

    @property
    def squares(self) -> Pair:
        """Along both axes."""
        return blocks(self.across.size, SIDE), blocks(self.row.size, SIDE)

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.batch * math.prod(a.size for a in self.outer) * math.prod(self.squares), 1, 1)


def select_strided(site: GpuSite) -> Selection:
    """permute, expand and strided_slice."""
    node, old = site.node, site.type().shape[1:]
    sizes, strides, start = READ[node.op](node, old)
    places = StridedPlaces(*merged(sizes, strides), start)
    turned = _turned(site, places)
    if turned is None:
        return _moved(site, places, "a number per thread")
    work = LaunchWork(0, site.bytes_of(node.name, *node.inputs))
    name = f"{node.op}_turn_{site.element.short}"
    kernel = GpuKernel("turn", name, turned, turned.grid[0], 0, turned.grid, turned.threads, work, loads=4)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), f"squares of {SIDE} turned in shared memory")


def _turned(site: GpuSite, places: StridedPlaces) -> GpuTurnConfig | None:
    """How axes change places, if neighbours in the source are far apart in the result, and enough of them."""
    axes = [TurnedAxis(*axis) for axis in zip(places.sizes, places.strides, row_major(places.sizes), strict=True)]
    *outer, row = axes
    across = next((a for a in outer if a.source == 1), None)
    if across is None or row.source <= 1 or min(across.size, row.size) < SIDE // 4:
        return None
    views = site.view(site.node.inputs[0]), site.view(site.node.name)
    rest = tuple(a for a in outer if a is not across)
    return GpuTurnConfig(site.batch, *views, places.start, rest, across, row)


def select_take(site: GpuSite) -> Selection:
    """take: the places are a table, so that a kernel's code does not depend on them."""
    node = site.node
    old, axis = site.type().shape[1:], node.attrs["axis"]
    table = np.array(node.attrs["indices"], np.float32)
    packed = Packed(f"{node.name}.places", Constant(table.shape, lambda: table))
    places = ListedPlaces(old[axis], len(table), math.prod(old[axis + 1 :]))
    return _moved(site, places, "places from a table", (packed,))


def select_unfold(site: GpuSite) -> Selection:
    """unfold (im2col)."""
    node = site.node
    a, (_, height, width), (_, rows, columns) = node.attrs, site.type().chw, node.type.chw
    places = WindowPlaces((height, width), (rows, columns), a["kernel"], a["stride"], a["dilation"], a["pad"][:2])
    return _moved(site, places, "a tap of a window per thread")


def _moved(site: GpuSite, places: Places, why: str, packed: tuple[Packed, ...] = ()) -> Selection:
    node = site.node
    source, result = site.view(node.inputs[0]), site.view(node.name)
    total = site.batch * result.numbers
    config = GpuMoveConfig(places, site.batch, source, result, threads_for(total, site.target))
    grid = grid_of(total, config.threads)
    work = LaunchWork(0, (moved := site.element.bytes(total)) + min(moved, site.bytes_of(*node.inputs)))
    kernel = GpuKernel("move", f"{node.op}_{site.element.short}", config, grid[0], 0, grid, config.threads, work)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    return Selection((Call(node.name, kernel, operands, site.result, True),), packed, why)


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    **dict.fromkeys(READ, (select_strided,)),
    "take": (select_take,),
    "unfold": (select_unfold,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys((*READ, "take"), MOVED)
"""Op -> the types of numbers that its kernels take and give."""
