"""The kernel that reads listed positions of an axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.moves import copy_numbers
from cnncc.kernels.cpu.take import TakeConfig
from cnncc.kernels.shared.builder import KernelBuilder


def lower(c: TakeConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = KernelBuilder()
    kind = ELEMENTS[c.element]
    source = k.operand("source", c.outer * c.size * c.inner, kind)
    table = k.operand("places", c.count)
    result = k.operand("result", c.outer * c.count * c.inner, kind)
    with k.units() as u:
        if c.rows:
            place = k.let(tirx.Cast("int32", table.load(k.let(u % c.count))))
            at = k.let(((u // c.count) * c.size + place) * c.inner)
            copy_numbers(k, source, at, result, k.let(u * c.inner), c.inner)
        else:
            with k.loop(c.count) as i:
                place = k.let(tirx.Cast("int32", table.load(i)))
                result.store(u * c.count + i, source.load(u * c.size + place))
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"take": lower}
"""Family of a kernel -> its lowering."""
