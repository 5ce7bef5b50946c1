"""Rows at computed places as code of a kernel: which row a place names, and what is written there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm import tirx

from cnncc.kernels.shared.arithmetic import nan_max, nan_min, real
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat

COMBINE: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "replace": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": nan_max,
    "min": nan_min,
}
"""What becomes of an old value and a new one, by the reduction."""


def named_row(k: KernelBuilder, sizes: tuple[int, ...], wrap: bool, places: Buffer, at: Expr) -> tuple[Expr, Expr]:
    """The row that a place names, of rows counted along axes of these sizes, and whether it exists; `at` is the index
    of the place's first number. With `wrap` negative numbers count from the end."""
    row: Expr = 0
    exists: Expr = None
    for axis, size in enumerate(sizes):
        number = k.let(places.load(at + axis))
        # Compared as a float: what is no number, or too large for an integer, does not exist.
        known = k.let(tirx.all(number > real(-size - 1 if wrap else -1), number < real(size)))
        index = k.let(tirx.Cast("int32", tirx.Select(known, number, splat(0.0, 1))))
        if wrap:
            index = k.let(tirx.Select(index < 0, index + size, index))
        row = k.let(row * size + index)
        exists = known if exists is None else k.let(tirx.all(exists, known))
    return row, exists
