"""Moving numbers of a plain image: one per thread, or squares turned in shared memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of
from cnncc.kernels.gpu.moves import SIDE, GpuMoveConfig, GpuTurnConfig, ListedPlaces, StridedPlaces, WindowPlaces
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.builder import Expr, splat


def lower_move(c: GpuMoveConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.images("image", c.source, c.batch)
    tables = [k.operand("places", c.places.count)] if isinstance(c.places, ListedPlaces) else []
    result = k.images("result", c.result, c.batch)
    with k.each(c.total) as index:
        image, element = image_of(k, index, c.batch, c.result.numbers)
        to = image * c.result.stride + element
        at, inside = _place(c.places, k, element, tables)
        value = k.local(1)
        if inside is not None:
            value.store(0, splat(0.0, 1))
        with k.unless_certain(inside):
            value.store(0, source.load(image * c.source.stride + at))
        result.store(to, value.load(0))
    return k.finish(symbol)


Place = tuple[Expr, Expr]
"""An index of the source image, and whether there is such a place; None where there always is."""


@singledispatch
def _place(places: Any, k: CudaBuilder, element: Expr, tables: list[Array]) -> Place:
    """Where the number of the result at index `element` lies in the source."""
    raise AssertionError(f"no rule for {places}")


@_place.register
def _(places: StridedPlaces, k: CudaBuilder, element: Expr, tables: list[Array]) -> Place:
    at, rest = places.start, element
    for size, stride in reversed(list(zip(places.sizes[1:], places.strides[1:], strict=True))):
        rest, digit = divmod_(k, rest, size)
        at = at + digit * stride if stride else at
    return k.let(at + rest * places.strides[0]), None


@_place.register
def _(places: ListedPlaces, k: CudaBuilder, element: Expr, tables: list[Array]) -> Place:
    rest, inner = divmod_(k, element, places.inner)
    outer, number = divmod_(k, rest, places.count)
    place = k.let(tirx.Cast("int32", tables[0].load(number)))
    return k.let((outer * places.size + place) * places.inner + inner), None


@_place.register
def _(places: WindowPlaces, k: CudaBuilder, element: Expr, tables: list[Array]) -> Place:
    (height, width), (_, kw) = places.size, places.kernel
    rest, x = divmod_(k, element, places.out[1])
    tap, y = divmod_(k, rest, places.out[0])
    tap, across = divmod_(k, tap, kw)
    channel, down = divmod_(k, tap, places.kernel[0])
    row = k.let(y * places.stride[0] + down * places.dilation[0] - places.offset[0])
    column = k.let(x * places.stride[1] + across * places.dilation[1] - places.offset[1])
    inside = tirx.all(row >= 0, row < height, column >= 0, column < width)
    return k.let((channel * height + row) * width + column), inside


def lower_turn(c: GpuTurnConfig, symbol: str) -> PrimFunc:
    """A square per block. Its rows lie one number further apart in shared memory than they are long, so that the
    numbers of a column are in different banks."""
    k = CudaBuilder(c.grid, c.threads)
    source = k.images("image", c.source, c.batch)
    result = k.images("result", c.result, c.batch)
    square = k.shared(SIDE * (SIDE + 1))
    rest, along = divmod_(k, k.block(0), c.squares[1])
    rest, beside = divmod_(k, rest, c.squares[0])
    at: Expr = c.start
    to: Expr = 0
    for axis in reversed(c.outer):
        rest, digit = divmod_(k, rest, axis.size)
        at, to = at + digit * axis.source, to + digit * axis.result
    at, to = k.let(at + rest * c.source.stride), k.let(to + rest * c.result.stride)
    line, column = divmod_(k, k.thread, SIDE)
    lines = c.threads // SIDE
    for first in range(0, SIDE, lines):
        a, r = k.let(beside * SIDE + column), k.let(along * SIDE + (line + first))
        with k.unless_certain(*_inside(c, a, r)):
            square.store((line + first) * (SIDE + 1) + column, source.load(at + a + r * c.row.source))
    k.barrier()
    for first in range(0, SIDE, lines):
        a, r = k.let(beside * SIDE + (line + first)), k.let(along * SIDE + column)
        with k.unless_certain(*_inside(c, a, r)):
            result.store(to + a * c.across.result + r, square.load(column * (SIDE + 1) + line + first))
    return k.finish(symbol)


def _inside(c: GpuTurnConfig, across: Expr, row: Expr) -> list[Expr]:
    """Whether a square has a number there; the last ones reach beyond their axes."""
    return [
        across < c.across.size if c.across.size % SIDE else None,
        row < c.row.size if c.row.size % SIDE else None,
    ]


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"move": lower_move, "turn": lower_turn}
"""Family of a kernel -> its lowering."""
