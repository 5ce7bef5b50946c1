"""The strided kernel: each row of the result from its place in the source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.moves import copy_numbers
from cnncc.kernels.cpu.strided import StridedConfig
from cnncc.kernels.shared.builder import Expr, KernelBuilder


def lower(c: StridedConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a row of the result, its innermost axis."""
    k = KernelBuilder()
    kind = ELEMENTS[c.element]
    source, result = k.operand("source", c.source, kind), k.operand("result", math.prod(c.sizes), kind)
    width, step = c.sizes[-1], c.strides[-1]
    with k.units() as u:
        at: Expr = c.start
        rest = u
        for size, stride in zip(reversed(c.sizes[:-1]), reversed(c.strides[:-1]), strict=True):
            at = at + (rest % size) * stride
            rest = k.let(rest // size)
        at, to = k.let(at), k.let(u * width)
        if step == 1:
            copy_numbers(k, source, at, result, to, width)
        else:
            with k.loop(width) as x:
                result.store(to + x, source.load(at + x * step))
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"strided": lower}
"""Family of a kernel -> its lowering."""
