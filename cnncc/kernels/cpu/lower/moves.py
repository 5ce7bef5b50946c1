"""Moving numbers: copies and fills in whole vectors, and windows of an image between values for what lies outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from cnncc.base.dim import largest, smallest
from cnncc.base.elements import Element
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled


def vector_runs(total: Expr, widths: tuple[int, ...] = (16, 8, 4, 1)) -> list[tuple[int, Expr, Expr]]:
    """Cuts `total` numbers into as many vectors of each width as fit, the widest first: (lanes, start, how many)."""
    runs: list[tuple[int, Expr, Expr]] = []
    start: Expr = 0
    for lanes in widths:
        count = (total - start) // lanes
        runs.append((lanes, start, count))
        start += count * lanes
    return runs


def widths_of(kind: Element) -> tuple[int, ...]:
    """Lanes of vectors of up to 64 bytes, the widest first."""
    return tuple(lanes for lanes in (64, 32, 16, 8, 4, 1) if kind.bytes(lanes) <= 64)


def copy_numbers(k: KernelBuilder, source: Buffer, at: Expr, target: Buffer, to: Expr, count: Expr) -> None:
    """Copies `count` numbers from index `at` of `source` to index `to` of `target`: as they are stored, or from halves
    to float32."""
    for lanes, start, runs in vector_runs(count, widths_of(target.kind)):
        with k.loop(runs) as i:
            here, there = at + i * lanes + start, to + i * lanes + start
            if source.kind == target.kind:
                target.put(there, source.bits(here, lanes), lanes)
            else:
                target.store(there, source.load(here, lanes), lanes)


def fill_numbers(k: KernelBuilder, target: Buffer, to: Expr, count: int, value: float = 0.0) -> None:
    """Stores `value` in `count` numbers from index `to`."""
    for lanes, start, runs in vector_runs(count, widths_of(target.kind)):
        with k.loop(runs) as i:
            target.store(to + i * lanes + start, filled(value, lanes, target.kind), lanes)


@dataclass(frozen=True)
class ImageWindow:
    """The shape of a window on some channel blocks of an image. Sizes in rows and columns, of `block` numbers each."""

    planes: int
    block: int
    image: tuple[int, int]
    size: tuple[int, int]
    left: int
    """Column of the image under the window's first; negative where the window begins in the padding."""
    outside: float
    """What the window holds where there is no image."""


@dataclass(frozen=True, eq=False)
class Corner:
    """What of an image lies under the first row of a window: the first channel block, and the row of the image, which
    may lie outside."""

    block: Expr
    row: Expr


def gather_rows(
    k: KernelBuilder, image: Buffer, to: Buffer, window: ImageWindow, corner: Corner, start: Expr = 0
) -> None:
    """Copies a window, of the image from its corner on, to index `start`."""
    width, outside = window.image[1], window.outside

    def fill(at: Expr, count: int) -> None:
        fill_numbers(k, to, at, count, outside)

    def copy(row: Expr, column: int, at: Expr, pixels: int) -> None:
        source = k.let((row * width + column) * window.block)
        copy_numbers(k, image, source, to, k.let(at), pixels * window.block)

    each_row(k, window, corner, fill, copy, start)


def each_row(
    k: KernelBuilder,
    window: ImageWindow,
    corner: Corner,
    fill: Callable[[Expr, int], None],
    copy: Callable[[Expr, int, Expr, int], None],
    start: Expr = 0,
) -> None:
    """The rows of a window, one after the other. `fill` is given an index of the window, and how many numbers lie
    outside the image from there on; `copy` a row of all blocks of the image, a column, the index they go to, and how
    many pixels."""
    (height, width), (rows, columns), block = window.image, window.size, window.block
    begin = smallest(columns, max(0, -window.left))
    end = largest(begin, smallest(columns, width - window.left))
    with k.loop(window.planes) as b, k.loop(rows) as r:
        y = k.let(corner.row + r)
        at = k.let(start + (b * rows + r) * (columns * block))
        with k.when(tirx.all(y >= 0, y < height)):
            fill(at, begin * block)
            copy((corner.block + b) * height + y, begin + window.left, at + begin * block, end - begin)
            fill(k.let(at + end * block), (columns - end) * block)
        with k.otherwise():
            fill(at, columns * block)
