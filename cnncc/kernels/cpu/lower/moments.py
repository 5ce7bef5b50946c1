"""Means and sums of squares around them, of parts and of groups of parts."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.group_norm import Groups, MomentsConfig, ScalesConfig
from cnncc.kernels.cpu.lower.moves import fill_numbers
from cnncc.kernels.shared.arithmetic import share_of, vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.shared.vectors import horizontal

WAYS = 4
"""Vectors of a sum that are added to in turns, so that no addition waits for the one before."""

Terms = Callable[[Expr], Sequence[Expr]]
"""Of the number of a vector or value: what it adds to each of the sums."""


class Totals:
    """Several sums of vectors, and of single values where those fill no vector."""

    def __init__(self, k: KernelBuilder, sums: int, lanes: int) -> None:
        self._k, self._sums, self.lanes = k, sums, lanes
        self._vectors = [k.registers(WAYS * lanes) for _ in range(sums)]
        self._values = [k.registers(1) for _ in range(sums)] if lanes > 1 else []
        for acc in self._vectors:
            for way in range(WAYS):
                acc.store(way * lanes, splat(0.0, lanes), lanes)
        for acc in self._values:
            acc.store(0, splat(0.0, 1))

    def add_vectors(self, count: Expr, terms: Terms) -> None:
        """The terms of so many vectors."""
        k = self._k
        turns = k.let(count // WAYS)
        with k.loop(turns) as i:
            for way in range(WAYS):
                self._add(self._vectors, terms(k.let(i * WAYS + way)), way * self.lanes, self.lanes)
        with k.loop(k.let(count - turns * WAYS)) as i:
            self._add(self._vectors, terms(k.let(turns * WAYS + i)), 0, self.lanes)

    def add_values(self, count: Expr, terms: Terms) -> None:
        """The terms of so many single values."""
        with self._k.loop(count) as i:
            self._add(self._values or self._vectors, terms(i), 0, 1)

    @staticmethod
    def _add(sums: Sequence[Buffer], terms: Sequence[Expr], at: int, lanes: int) -> None:
        for acc, term in zip(sums, terms, strict=True):
            acc.store(at, acc.load(at, lanes) + term, lanes)

    def vectors(self) -> list[Expr]:
        """Each sum as a vector, without the single values."""
        lanes = self.lanes
        return [
            self._k.let(
                (acc.load(0, lanes) + acc.load(lanes, lanes))
                + (acc.load(2 * lanes, lanes) + acc.load(3 * lanes, lanes))
            )
            for acc in self._vectors
        ]

    def scalars(self) -> list[Expr]:
        """Each sum of everything."""
        totals = [horizontal(self._k, vector, self.lanes, operator.add) for vector in self.vectors()]
        rest = [acc.load(0) for acc in self._values] or [splat(0.0, 1)] * self._sums
        return [self._k.let(total + more) for total, more in zip(totals, rest, strict=True)]


def run_moments(k: KernelBuilder, source: Buffer, start: Expr, count: Expr, lanes: int) -> tuple[Expr, Expr]:
    """Mean and sum of squares around it of `count` values from index `start` on.

    In two passes. The second one also sums what rounding left of the mean, so both hold for values far from zero.
    """
    whole = k.let(count // lanes)
    rest = k.let(start + whole * lanes)

    def totals(sums: int, term: Callable[[Expr, int], Sequence[Expr]]) -> list[Expr]:
        t = Totals(k, sums, lanes)
        t.add_vectors(whole, lambda i: term(source.load(start + i * lanes, lanes), lanes))
        if lanes > 1:
            t.add_values(k.let(count - whole * lanes), lambda i: term(source.load(rest + i), 1))
        return t.scalars()

    return _moments(k, count, 1, totals)


def column_moments(
    k: KernelBuilder, source: Buffer, start: Expr, step: int, count: Expr, lanes: int
) -> tuple[Expr, Expr]:
    """The same of each lane of `count` vectors, `step` apart."""

    def totals(sums: int, term: Callable[[Expr, int], Sequence[Expr]]) -> list[Expr]:
        t = Totals(k, sums, lanes)
        t.add_vectors(count, lambda i: term(source.load(start + i * step, lanes), lanes))
        return t.vectors()

    return _moments(k, count, lanes, totals)


def _moments(
    k: KernelBuilder, count: Expr, out: int, totals: Callable[[int, Callable[[Expr, int], Sequence[Expr]]], list[Expr]]
) -> tuple[Expr, Expr]:
    """From what sums terms of the values, to `out` lanes: the sums of all values or of each lane."""
    share = splat(k.let(splat(1.0, 1) / _number(count)), out)
    (total,) = totals(1, lambda x, lanes: (x,))
    near = k.let(total * share)

    def terms(x: Expr, lanes: int) -> Sequence[Expr]:
        off = k.let(x - splat(near, lanes // out))
        return off, off * off

    drift, squares = totals(2, terms)
    step = k.let(drift * share)
    return k.let(near + step), k.let(squares - drift * step)


def _number(count: Expr) -> Expr:
    return splat(float(count), 1) if isinstance(count, int) else tirx.Cast("float32", count)


def _part(k: KernelBuilder, c: MomentsConfig, part: Expr) -> Expr:
    """Values of a part."""
    return c.size if c.total % c.size == 0 else k.let(vmin(c.size, c.total - part * c.size))


def lower_moments(c: MomentsConfig, symbol: str) -> PrimFunc:
    """The moments of one part of a group, or of a channel block."""
    k, image = KernelBuilder(), c.groups.image
    source, result = k.operand("source", image.floats), k.operand("result", c.floats)
    squares = c.parts * c.items
    with k.units() as u:
        row, part = k.let(u // c.parts), k.let(u % c.parts)
        first, count = k.let(part * c.size), _part(k, c, part)
        if c.groups.contiguous:
            mean, square = run_moments(k, source, k.let(row * c.total + first), count, image.lanes)
            at = k.let(part * c.items + row)
            result.store(at, mean)
            result.store(at + squares, square)
        else:
            for v in range(0, image.width, image.lanes):
                start = k.let((row * image.pixels + first) * image.width + v)
                mean, square = column_moments(k, source, start, image.width, count, image.lanes)
                at = k.let(part * c.items + row * image.width + v)
                result.store(at, mean, image.lanes)
                result.store(at + squares, square, image.lanes)
    return k.finish(symbol)


def lower_scales(c: ScalesConfig, symbol: str) -> PrimFunc:
    """Mean and factor of each channel of one group."""
    k, m, groups = KernelBuilder(), c.moments, c.moments.groups
    image = groups.image
    padded = image.planes * image.width
    stored = k.operand("moments", m.floats)
    weight = k.operand("weight", padded) if "weight" in c.weights else None
    result = k.operand("result", m.floats + 2 * padded)
    with k.units() as group:
        mean, square = _combined(k, m, stored, group)
        variance = vmax(splat(0.0, 1), k.let(square * splat(share_of(k, groups.values), 1)))
        share = k.let(splat(1.0, 1) / tirx.sqrt(variance + splat(c.eps, 1)))
        first = k.let(group * groups.channels)
        each_channel(
            k, groups, groups.channels, lambda i, lanes: result.store(m.floats + first + i, splat(mean, lanes), lanes)
        )

        def factor(i: Expr, lanes: int) -> None:
            value = splat(share, lanes) if weight is None else splat(share, lanes) * weight.load(first + i, lanes)
            result.store(m.floats + padded + first + i, value, lanes)

        each_channel(k, groups, groups.channels, factor)
        if padded > image.count:
            with k.when(group == groups.count - 1):
                for at in (m.floats, m.floats + padded):
                    fill_numbers(k, result, at + image.count, padded - image.count)
    return k.finish(symbol)


def each_channel(k: KernelBuilder, groups: Groups, count: int, then: Callable[[Expr, int], None]) -> None:
    """`then` of the first channel of each vector of so many, and of those that fill none."""
    lanes = groups.image.lanes
    whole = count // lanes
    with k.loop(whole) as i:
        then(k.let(i * lanes), lanes)
    with k.loop(count - whole * lanes) as i:
        then(k.let(i + whole * lanes), 1)


def _combined(k: KernelBuilder, c: MomentsConfig, stored: Buffer, group: Expr) -> tuple[Expr, Expr]:
    """Mean and sum of squares of a group, from those of its parts: means are compared with one of them, for what is
    small keeps its digits."""
    items = c.items // c.groups.count if c.groups.contiguous else c.groups.channels
    first, squares, lanes = k.let(group * items), c.parts * c.items, c.groups.image.lanes
    base = k.let(stored.load(first))

    def total(term: Callable[[Expr, Expr, int], Expr]) -> Expr:
        t = Totals(k, 1, lanes)
        with k.loop(c.parts) as part:
            count, at = k.let(_number(_part(k, c, part))), k.let(part * c.items + first)
            whole = items // lanes
            t.add_vectors(whole, lambda i: (term(k.let(at + i * lanes), splat(count, lanes), lanes),))
            if lanes > 1:
                t.add_values(items - whole * lanes, lambda i: (term(k.let(at + whole * lanes + i), count, 1),))
        (found,) = t.scalars()
        return found

    off = total(lambda at, count, lanes: count * (stored.load(at, lanes) - splat(base, lanes)))
    mean = k.let(base + off * splat(share_of(k, c.groups.values), 1))

    def square(at: Expr, count: Expr, lanes: int) -> Expr:
        far = k.let(stored.load(at, lanes) - splat(mean, lanes))
        return stored.load(at + squares, lanes) + count * (far * far)

    return mean, total(square)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"group_moments": lower_moments, "group_scales": lower_scales}
"""Family of a kernel -> its lowering."""
