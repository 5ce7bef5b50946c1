"""The kernel that unfolds windows: rows are copied, with zeros where a window reaches outside the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.unfold import UnfoldConfig
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat


def lower(c: UnfoldConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is one row of windows, as one tap sees it."""
    k = KernelBuilder()
    (height, width), (kh, kw), (rows, columns) = c.size, c.kernel, c.out
    source = k.operand("source", c.channels * height * width)
    result = k.operand("result", c.channels * kh * kw * math.prod(c.out))
    with k.units() as u:
        tap, row = k.let(u // rows), k.let(u % rows)
        channel, down, across = k.let(tap // (kh * kw)), k.let(tap // kw % kh), k.let(tap % kw)
        y = k.let(row * c.stride[0] + down * c.dilation[0] - c.offset[0])
        left = k.let(across * c.dilation[1] - c.offset[1])
        first = k.let(vmin(vmax(_steps(c, 0 - left), 0), columns))
        end = k.let(vmin(vmax(_steps(c, width - left), first), columns))
        to = k.let(u * columns)

        def zeros(start: Expr, stop: Expr) -> None:
            with k.loop(stop - start) as x:
                result.store(to + start + x, splat(0.0, 1))

        with k.when(tirx.all(y >= 0, y < height)):
            at = k.let((channel * height + y) * width + left)
            zeros(0, first)
            with k.loop(end - first) as x:
                result.store(to + first + x, source.load(at + (first + x) * c.stride[1]))
            zeros(end, columns)
        with k.otherwise():
            zeros(0, columns)
    return k.finish(symbol)


def _steps(c: UnfoldConfig, distance: Expr) -> Expr:
    """Windows that begin before a column which is that far from the first window's."""
    return (distance + (c.stride[1] - 1)) // c.stride[1]


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"unfold": lower}
"""Family of a kernel -> its lowering."""
