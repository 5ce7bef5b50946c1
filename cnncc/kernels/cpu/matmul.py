"""Products of two computed matrices: a tile of the result in registers, or sums along rows for a single column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnncc.base.dim import least_of, typical
from cnncc.kernels.cpu.micro import Micro
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.elementwise import label
from cnncc.kernels.shared.spec import Call, Epilogue, Kernel, Selection, blocks
from cnncc.machines.targets import Target

WANTED_UNITS = 16
L1_BYTES_PER_CYCLE = 64.0
DOT_ROWS = 4
"""Rows whose sums with one column are computed at once: as many as hide the latency of a multiply-add."""


def vector_width(values: int, lanes: int) -> int:
    """Lanes of vectors that cover so many values, the last one overlapping the one before: a power of two."""
    return min(lanes, 1 << (values.bit_length() - 1))


@dataclass(frozen=True)
class MatmulConfig:
    """`planes` products of `rows` x `depth` and `depth` x `columns`, in logical order.

    Tiles of `tile` rows x `vectors` vectors of `lanes` columns cover the result. The last ones overlap the ones before,
    and compute the same again. A plane is cut into `bands` of tiles downwards and across, each a unit.
    """

    planes: int
    rows: int
    depth: int
    columns: int
    lanes: int
    tile: int
    vectors: int
    bands: tuple[int, int]
    epilogue: Epilogue = ()
    narrow: tuple[int, int, int] | None = None
    """Lanes, rows and vectors of the tiles of a plane that is smaller than one of the others, where its size is known
    only when the kernel runs; None where it is never smaller."""

    @property
    def tiles(self) -> tuple[int, int]:
        """Tiles of a plane, downwards and across."""
        return blocks(self.rows, self.tile), blocks(self.columns, self.vectors * self.lanes)

    @property
    def units(self) -> int:
        return self.planes * self.bands[0] * self.bands[1]


@dataclass(frozen=True)
class DotConfig:
    """`planes` products of `rows` x `depth` and one column; a unit is `tile` rows, of which the last ones overlap."""

    planes: int
    rows: int
    depth: int
    lanes: int
    tile: int
    epilogue: Epilogue = ()

    @property
    def tiles(self) -> int:
        return blocks(self.rows, self.tile)


def select_matmul(site: CpuSite) -> Selection:
    """matmul; some tiles of the result per unit."""
    node, target = site.node, site.target
    _, planes, rows, columns = node.type.shape
    depth, epilogue = site.type().shape[3], node.attrs["epilogue"]
    if columns == 1 and least_of(depth) >= target.lanes:
        dot = DotConfig(planes, rows, depth, target.lanes, min(least_of(rows), DOT_ROWS), epilogue)
        name = f"{label('matmul_dot', epilogue)}_f32_{target.isa}"
        kernel = Kernel("matmul_dot", name, dot, planes * dot.tiles, 0)
        why = f"{dot.tile} rows at a time with one column"
    else:
        config = replace(_config((planes, rows, depth, columns), target), epilogue=epilogue)
        name = f"{label('matmul', epilogue)}_f32_{config.tile}x{config.vectors * config.lanes}_{target.isa}"
        kernel = Kernel("matmul", name, config, config.units, 0)
        why = f"tiles of {config.tile} rows and {config.vectors} vectors of columns"
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), why)


def _config(sizes: tuple[int, int, int, int], target: Target) -> MatmulConfig:
    planes, rows, depth, columns = sizes
    lanes, tile, vectors = _tile(typical(rows), typical(columns), target)
    narrow = None
    if least_of(rows) < tile or least_of(columns) < vectors * lanes:
        narrow = _tile(least_of(rows), least_of(columns), target)
    config = MatmulConfig(planes, rows, depth, columns, lanes, tile, vectors, (1, 1), narrow=narrow)
    wanted, tiles = blocks(WANTED_UNITS, planes), typical(config.tiles)
    down = min(wanted, tiles[0])
    across = min(blocks(wanted, down), tiles[1])
    return replace(config, bands=(down, across))


def _tile(rows: int, columns: int, target: Target) -> tuple[int, int, int]:
    """Lanes, rows and vectors of a tile."""
    lanes = vector_width(columns, target.lanes)
    return lanes, *choose_tile(rows, columns, lanes, target)


def choose_tile(rows: int, columns: int, lanes: int, target: Target) -> tuple[int, int]:
    """Rows and vectors of a tile: those that take the fewest cycles, with what the last tiles compute twice."""
    micro = Micro(target.floats, lanes)
    options = [
        (tile, vectors)
        for vectors in range(1, min(8, columns // lanes) + 1)
        for tile in range(1, min(16, rows) + 1)
        if micro.fits(tile, vectors)
    ]

    def cost(option: tuple[int, int]) -> float:
        tile, vectors = option
        tiles = blocks(rows, tile) * blocks(columns, vectors * lanes)
        return tiles * micro.cycles(tile, vectors, L1_BYTES_PER_CYCLE)

    return min(options, key=cost)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "matmul": (select_matmul,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = {"matmul": True}
"""Op -> whether its kernels compute images of any size of a range."""
