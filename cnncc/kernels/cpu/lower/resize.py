"""The resizing kernel: a weighted sum of taps, columns within rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.moves import copy_numbers
from cnncc.kernels.cpu.resize import ResizeConfig, TapsConfig
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat

MOST_WRITTEN = 4
"""Taps along an axis that are written out; more are a loop."""


def lower(c: ResizeConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one output row of one channel block."""
    return _Resize(c).build(symbol)


class _Taps:
    """Where one result reads along an axis: indices and shares, which are read at once if they are few."""

    def __init__(self, owner: _Resize, axis: int, at: Expr) -> None:
        self.k, self.lanes, self.count = owner.k, owner.c.lanes, owner.c.taps[axis]
        self.tables, self.start = owner.tables[axis], owner.k.let(at * self.count)
        self.known = [self.read(i) for i in range(self.count)] if self.count <= MOST_WRITTEN else []

    def read(self, number: Expr) -> tuple[Expr, Expr]:
        index, share = (table.load(self.start + number) for table in self.tables)
        return self.k.let(tirx.Cast("int32", index)), self.k.let(splat(self.k.let(share), self.lanes))

    def sum(self, load: Callable[[Expr], Expr]) -> Expr:
        """The weighted sum of what `load` gives for each index."""
        if self.known:
            index, share = self.known[0]
            total = load(index) * share
            for index, share in self.known[1:]:
                total = total + load(index) * share
            return total
        k, lanes = self.k, self.lanes
        acc = k.registers(lanes)
        acc.store(0, splat(0.0, lanes), lanes)
        with k.loop(self.count) as i:
            index, share = self.read(i)
            acc.store(0, acc.load(0, lanes) + load(index) * share, lanes)
        return acc.load(0, lanes)


class _Resize:
    def __init__(self, config: ResizeConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        kind = ELEMENTS[c.element]
        self.source = k.operand("source", c.channel_blocks * math.prod(c.in_size) * c.block, kind)
        self.tables = [
            [k.operand(f"{axis}_{kind}", c.out_size[i] * c.taps[i]) for kind in ("from", "share")]
            for i, axis in enumerate(("rows", "columns"))
        ]
        self.result = k.operand("result", c.channel_blocks * math.prod(c.out_size) * c.block, kind)
        self.blended = k.scratch(c.scratch_floats) if c.rows_first else None

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        height = c.out_size[0]
        with k.units() as u:
            plane, y = k.let((u // height) * c.in_size[0]), k.let(u % height)
            rows = _Taps(self, 0, y)
            if ELEMENTS[c.element].whole:
                self.move(plane, rows, u)
            else:
                self.blend(plane, rows)
                self.columns(plane, rows, u)
        return k.finish(symbol)

    def columns(self, plane: Expr, rows: _Taps, unit: Expr) -> None:
        """All pixels of a row of the result."""
        k, c = self.k, self.c
        with k.loop(c.out_size[1]) as x:
            columns = _Taps(self, 1, x)
            for v in range(0, c.block, c.lanes):
                value = columns.sum(partial(self.column, plane, rows, v))
                self.result.store((unit * c.out_size[1] + x) * c.block + v, value, c.lanes)

    def move(self, plane: Expr, rows: _Taps, unit: Expr) -> None:
        """Each pixel as the one pixel of the image that it is."""
        k, c = self.k, self.c
        row, _ = rows.known[0]
        with k.loop(c.out_size[1]) as x:
            column, _ = _Taps(self, 1, x).known[0]
            at = k.let(((plane + row) * c.in_size[1] + column) * c.block)
            copy_numbers(k, self.source, at, self.result, k.let((unit * c.out_size[1] + x) * c.block), c.block)

    def blend(self, plane: Expr, rows: _Taps) -> None:
        """The whole row of the image between its taps, into scratch."""
        k, c = self.k, self.c
        if self.blended is None:
            return
        with k.loop(c.in_size[1] * c.block // c.lanes) as i:
            at = k.let(i * c.lanes)
            self.blended.store(at, self.between(plane, rows, at), c.lanes)

    def column(self, plane: Expr, rows: _Taps, lane: int, column: Expr) -> Expr:
        """A vector of a column, of the row that is blended."""
        at = self.k.let(column * self.c.block + lane)
        if self.blended is not None:
            return self.blended.load(at, self.c.lanes)
        return self.between(plane, rows, at)

    def between(self, plane: Expr, rows: _Taps, at: Expr) -> Expr:
        c = self.c
        return rows.sum(lambda row: self.source.load((plane + row) * (c.in_size[1] * c.block) + at, c.lanes))


def lower_taps(c: TapsConfig, symbol: str) -> PrimFunc:
    """Indices of all rows, those of all columns, then the shares of both."""
    k = KernelBuilder()
    table = k.operand("table", 2 * sum(c.numbers))
    indices = c.numbers[0] + c.numbers[1]
    with k.units() as axis:
        for i in range(2):
            with k.when(axis == i), k.loop(c.out_size[i]) as n:
                place = k.let(n * c.rise[i] + c.start[i])
                whole = k.let(tirx.floordiv(place, c.below[i]))
                rest, below = k.let(place - whole * c.below[i]), k.let(tirx.Cast("float32", c.below[i]))
                share = k.let(tirx.Cast("float32", rest) / below)
                at = k.let(n * c.taps + (c.numbers[0] if i else 0))
                for tap, part in enumerate((splat(1.0, 1) - share, share)):
                    index = vmin(vmax(whole + tap, 0), c.in_size[i] - 1)
                    table.store(at + tap, tirx.Cast("float32", index))
                    table.store(at + (indices + tap), part)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"resize": lower, "resize_taps": lower_taps}
"""Family of a kernel -> its lowering."""
