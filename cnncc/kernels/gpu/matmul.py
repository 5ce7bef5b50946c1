"""Products of two computed matrices, in tiles of the result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cnncc.kernels.gpu.model import MOST_SHARED_BYTES, SHAPES, GpuTile, LaunchWork, Product, estimate
from cnncc.kernels.gpu.spec import VECTOR, GpuKernel, GpuRule, GpuSite, View
from cnncc.kernels.shared.elementwise import label
from cnncc.kernels.shared.spec import Call, Epilogue, Selection, blocks

BETWEEN = 4
"""Numbers between the lines of the left operand in shared memory: its numbers come along the depth, and are stored
across it, where they would all be in a few banks."""


@dataclass(frozen=True)
class MatmulTile(GpuTile):
    """A tile whose left operand has room between its lines."""

    @property
    def line(self) -> int:
        """From one product of the rows to the next, in shared memory."""
        return self.rows + BETWEEN

    @property
    def shared_bytes(self) -> int:
        return 2 * 4 * self.depth * (self.line + self.columns)


@cache
def matmul_tiles() -> tuple[MatmulTile, ...]:
    """The tiles that there are kernels for."""
    made = [MatmulTile(*shape, depth) for shape in SHAPES for depth in (8, 16)]
    return tuple(t for t in made if t.shared_bytes <= MOST_SHARED_BYTES and t.threads >= 32)


@dataclass(frozen=True)
class GpuMatmulConfig:
    """`planes` products of rows x `depth` and `depth` x columns in each image, in logical order; `lanes` are the
    numbers of a load of the left operand, along the depth, of the right one, and of a store."""

    batch: int
    left: View
    right: View
    result: View
    extras: tuple[int, ...]
    epilogue: Epilogue
    tile: MatmulTile
    lanes: tuple[int, int, int]

    @property
    def planes(self) -> int:
        """Of an image."""
        return self.result.channels

    @property
    def rows(self) -> int:
        """Of the result."""
        return self.result.height

    @property
    def columns(self) -> int:
        """Of the result."""
        return self.result.width

    @property
    def depth(self) -> int:
        """Products of each sum."""
        return self.left.width

    @property
    def steps(self) -> int:
        return blocks(self.depth, self.tile.depth)

    @property
    def tiles(self) -> tuple[int, int]:
        """Of a plane, down and across."""
        return blocks(self.rows, self.tile.rows), blocks(self.columns, self.tile.columns)

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.batch * self.planes * math.prod(self.tiles), 1, 1)


def select_matmul(site: GpuSite) -> Selection:
    """matmul, with the tile that the model says is fastest."""
    node = site.node
    left, right, *extras = (site.view(name) for name in node.inputs)
    result, strides = site.view(node.name), tuple(view.stride for view in extras)
    work = LaunchWork(2 * site.batch * result.numbers * left.width, site.bytes_of(node.name, *node.inputs))
    epilogue, lanes = node.attrs["epilogue"], _lanes(site, left, right)
    found = [
        GpuMatmulConfig(site.batch, left, right, result, strides, epilogue, tile, lanes) for tile in matmul_tiles()
    ]
    times = [estimate(site.target, Product(c.tile, c.steps), c.grid, work).seconds for c in found]
    seconds, config = min(zip(times, found, strict=True), key=lambda pair: pair[0])
    name = f"{label('matmul', epilogue)}_f32_{config.tile.label}"
    product = Product(config.tile, config.steps)
    kernel = GpuKernel("matmul", name, config, config.grid[0], 0, config.grid, config.tile.threads, work, product)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), f"tile {config.tile.label}; model: {seconds * 1e6:.1f} us")


def _lanes(site: GpuSite, left: View, right: View) -> tuple[int, int, int]:
    """Vectors, where every line of all images begins at a multiple of one."""
    node = site.node
    first, second, *others = (site.aligned(name) for name in node.inputs)
    along, across = left.width % VECTOR == 0, right.width % VECTOR == 0
    stored = across and all(others) and site.aligned(node.name)
    a, b, c = (VECTOR if good else 1 for good in (along and first, across and second, stored))
    return a, b, c


RULES: Mapping[str, tuple[GpuRule, ...]] = {"matmul": (select_matmul,)}
"""Op -> its selectors."""
