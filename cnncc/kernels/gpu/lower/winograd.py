"""The transforms of a Winograd convolution: a tile of one channel in registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of
from cnncc.kernels.gpu.spec import VECTOR, grid_of
from cnncc.kernels.gpu.winograd import TransformConfig
from cnncc.kernels.shared.builder import Expr, i32, splat
from cnncc.kernels.shared.epilogue import costly, each
from cnncc.kernels.shared.vectors import apply_epilogue
from cnncc.kernels.shared.winograd import Matrix, matrices


def lower_input(config: TransformConfig, symbol: str) -> PrimFunc:
    """B' d B of every tile of the image."""
    c = config
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    image, planes = k.operand("image", c.batch * c.image.numbers), k.operand("planes", c.batch * c.planes.numbers)
    with k.each(c.total) as index:
        place = _Place(k, c, index)
        values = k.local(c.edge**2)
        top, left = k.let(place.row * c.m - c.pad[0]), k.let(place.column * c.m - c.pad[1])
        for i in range(c.edge):
            for j in range(c.edge):
                y, x = k.let(top + i), k.let(left + j)
                values.store(i * c.edge + j, splat(0.0, 1))
                inside = tirx.all(y >= 0, y < c.image.height, x >= 0, x < c.image.width)
                with k.when(inside):
                    values.store(i * c.edge + j, image.load(place.at_pixel(y, x)))
        data = matrices(c.m, 3).data
        for point, value in enumerate(_both_sides(k, values, data)):
            planes.store(place.at_point(point), value)
    return k.finish(symbol)


def lower_output(config: TransformConfig, symbol: str) -> PrimFunc:
    """A' p A of every tile, with bias and epilogue."""
    c = config
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    planes = k.operand("planes", c.batch * c.planes.numbers)
    bias = k.operand("bias", c.channels) if c.bias else None
    extras = [k.operand(f"extra{i}", c.image.numbers) for i in range(len(c.extras))]
    result = k.operand("result", c.batch * c.image.numbers)
    with k.each(c.total) as index:
        place = _Place(k, c, index)
        values = k.local(c.edge**2)
        for point in range(c.edge**2):
            values.store(point, planes.load(place.at_point(point)))
        whole = k.let(bias.load(place.channel)) if bias is not None else None
        looped = costly(c.epilogue)
        pixels = _both_sides(k, values, matrices(c.m, 3).output)
        if looped:
            kept = k.local(c.m**2)
            for n, value in enumerate(pixels):
                kept.store(n, value)

        def pixel(i: Expr, j: Expr) -> None:
            y, x = k.let(place.row * c.m + i), k.let(place.column * c.m + j)
            conditions = [
                y < c.image.height if c.image.height % c.m else None,
                x < c.image.width if c.image.width % c.m else None,
            ]
            with k.unless_certain(*conditions):
                at = k.let(place.in_image(y, x))
                added = [e.load(place.image * stride + at) for e, stride in zip(extras, c.extras, strict=True)]
                value = kept.load(i * c.m + j) if looped else pixels[i * c.m + j]
                total = value if whole is None else value + whole
                result.store(place.image * c.image.stride + at, apply_epilogue(k, total, c.epilogue, added, 1))

        each(k, (c.m, c.m), looped, pixel)
    return k.finish(symbol)


class _Place:
    """Which tile and channel a thread has: the channels of a vector side by side, then tiles, vectors, images."""

    def __init__(self, k: CudaBuilder, c: TransformConfig, index: Expr) -> None:
        self.k, self.c = k, c
        self.lane = k.let(tirx.bitwise_and(index, i32(VECTOR - 1)))
        rest = k.let(tirx.shift_right(index, i32(2)))
        self.rest, self.tile = divmod_(k, rest, c.grid[0] * c.grid[1])
        self.row, self.column = divmod_(k, self.tile, c.grid[1])
        self.image, self.block = image_of(k, self.rest, c.batch, c.image.blocks)

    @property
    def channel(self) -> Expr:
        return self.block * VECTOR + self.lane

    def in_image(self, y: Expr, x: Expr) -> Expr:
        """Of this channel of a pixel, from where the image begins."""
        return (self.block * self.c.image.pixels + y * self.c.image.width + x) * VECTOR + self.lane

    def at_pixel(self, y: Expr, x: Expr) -> Expr:
        return self.image * self.c.image.stride + self.in_image(y, x)

    def at_point(self, point: int) -> Expr:
        """Of this tile and channel in the plane of a point."""
        c = self.c
        plane = (point * c.image.blocks + self.block) * c.planes.pixels
        return self.image * c.planes.stride + (plane + self.tile) * VECTOR + self.lane


def _both_sides(k: CudaBuilder, values: Array, matrix: Matrix) -> list[Expr]:
    """matrix values matrix', by rows; `values` are square."""
    rows, edge = len(matrix), len(matrix[0])
    loaded = [[k.let(values.load(i * edge + j)) for j in range(edge)] for i in range(edge)]
    half = [[_sum(k, row, [loaded[i][j] for i in range(edge)]) for j in range(edge)] for row in matrix]
    return [_sum(k, matrix[j], half[i]) for i in range(rows) for j in range(rows)]


def _sum(k: CudaBuilder, factors: tuple[Fraction, ...], values: list[Expr]) -> Expr:
    """The sum of products, without those by 0 and 1."""
    total: Expr = None
    for factor, value in zip(factors, values, strict=True):
        if factor == 0:
            continue
        term = value if abs(factor) == 1 else value * splat(float(abs(factor)), 1)
        if total is None:
            total = term if factor > 0 else splat(0.0, 1) - term
        else:
            total = total + term if factor > 0 else total - term
    return k.let(total)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"winograd_input": lower_input, "winograd_output": lower_output}
"""Family of a kernel -> its lowering."""
