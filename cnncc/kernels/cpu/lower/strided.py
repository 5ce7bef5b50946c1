"""The strided kernel: each row of the result from its place in the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.moves import copy_numbers, vector_runs
from cnncc.kernels.cpu.lower.turn import overlapping, turn
from cnncc.kernels.cpu.strided import StridedConfig
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat


def lower(c: StridedConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = KernelBuilder()
    kind = ELEMENTS[c.element]
    source, result = k.operand("source", c.source, kind), k.operand("result", c.numbers, kind)
    with k.units() as u, ExitStack() as loops:
        band, rest = (0, u) if c.bands == 1 else (k.let(u % c.bands), k.let(u // c.bands))
        at, to = c.start, 0
        for axis in reversed(c.outer[: c.split]):
            number = k.let(rest % axis.size)
            at, to, rest = at + number * axis.source, to + number * axis.result, k.let(rest // axis.size)
        for axis in c.outer[c.split :]:
            number = loops.enter_context(k.loop(axis.size))
            at, to = k.let(at + number * axis.source), k.let(to + number * axis.result)
        at, to = k.let(at), k.let(to)
        if c.side:
            _turned(k, c, (source, at), (result, to), band)
        elif c.row.source == 1:
            copy_numbers(k, source, at, result, to, c.row.size)
        elif c.row.source == 0 and c.element == "float32":
            _repeated(k, k.let(source.load(at)), result, to, c.row.size)
        else:
            with k.loop(c.row.size) as x:
                result.store(to + x, source.load(at + x * c.row.source))
    return k.finish(symbol)


def _repeated(k: KernelBuilder, value: Expr, result: Buffer, to: Expr, count: int) -> None:
    for lanes, start, runs in vector_runs(count):
        with k.loop(runs) as i:
            result.store(to + i * lanes + start, splat(value, lanes), lanes)


def _turned(
    k: KernelBuilder, c: StridedConfig, source: tuple[Buffer, Expr], result: tuple[Buffer, Expr], band: Expr
) -> None:
    """Squares of the two axes, each read along one and written along the other."""
    (read, at), (written, to) = source, result
    with overlapping(k, c.across.size, c.side, (band, c.bands)) as i, overlapping(k, c.row.size, c.side) as j:
        first = k.let(at + i + j * c.row.source)
        begin = k.let(to + i * c.across.result + j)
        turn(
            k,
            c.side,
            lambda n: read.load(first + n * c.row.source, c.side),
            lambda n, column: written.store(begin + n * c.across.result, column, c.side),
        )


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"strided": lower}
"""Family of a kernel -> its lowering."""
