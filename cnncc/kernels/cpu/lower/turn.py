"""Squares of floats turned in registers: rows become columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tvm import tirx

from cnncc.kernels.shared.arithmetic import vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder

# Each step is one instruction of x86 on two vectors; lanes of the second one count from 8 on.
Order = tuple[int, ...]
_LANES: tuple[Order, Order] = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
_PAIRS: tuple[Order, Order] = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
_HALVES: tuple[Order, Order] = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)


def turned(k: KernelBuilder, rows: Sequence[Expr]) -> list[Expr]:
    """The columns of a square of 4 or 8 rows."""
    side = len(rows)
    pairs = [_both(k, side, (rows[i], rows[i + 1]), _LANES) for i in range(0, side, 2)]
    columns: list[Expr] = []
    for i in range(0, side // 2, 2):
        for half in range(2):
            columns += _both(k, side, (pairs[i][half], pairs[i + 1][half]), _PAIRS)
    if side == 4:
        return columns
    ends = [_both(k, side, (columns[i], columns[i + 4]), _HALVES) for i in range(4)]
    return [end[half] for half in range(2) for end in ends]


def _both(k: KernelBuilder, side: int, pair: tuple[Expr, Expr], orders: tuple[Order, Order]) -> list[Expr]:
    return [_shuffled(k, *pair, order, side) for order in orders]


def _shuffled(k: KernelBuilder, a: Expr, b: Expr, order: Order, side: int) -> Expr:
    """Lanes of two vectors of 8; of two vectors of 4 the first half of the order."""
    lanes = [lane if lane < 8 else lane - 8 + side for lane in order[:side]]
    return k.let(tirx.Shuffle([a, b], [tirx.IntImm("int32", lane) for lane in lanes]))


@contextmanager
def overlapping(k: KernelBuilder, total: int, side: int, band: tuple[Expr, int] = (0, 1)) -> Iterator[Expr]:
    """A loop over the first places of runs of `side` that cover so many; the last run overlaps the one before. Of
    several bands of runs only one: (number, how many)."""
    runs = -(-total // side)
    number, bands = band
    first = k.let(number * runs // bands)
    extent = runs if bands == 1 else k.let((number + 1) * runs // bands - first)
    with k.loop(extent, start=first) as i:
        if total % side == 0:
            yield k.let(i * side)
        else:
            yield min(i * side, total - side) if isinstance(i, int) else k.let(vmin(i * side, total - side))


def turn(k: KernelBuilder, side: int, load: Callable[[int], Expr], store: Callable[[int, Expr], None]) -> None:
    """One square: `load` of the number of a row, `store` of that of a column."""
    for i, column in enumerate(turned(k, [k.let(load(i)) for i in range(side)])):
        store(i, column)
