"""Products of two computed matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks

TILE = 6
"""Rows that share what is read of the right matrix: with two vectors each they leave some of 16 registers free."""


@dataclass(frozen=True)
class MatmulConfig:
    """`planes` products of `rows` x `depth` and `depth` x `columns`, in logical order; `tile` rows at a time."""

    planes: int
    rows: int
    depth: int
    columns: int
    lanes: int
    tile: int

    @property
    def tiles(self) -> int:
        """Tiles of one plane."""
        return blocks(self.rows, self.tile)


def select_matmul(site: CpuSite) -> Selection:
    """matmul; some rows of the result per unit."""
    node = site.node
    _, planes, rows, columns = node.type.shape
    config = MatmulConfig(planes, rows, site.type().shape[3], columns, site.target.lanes, min(rows, TILE))
    kernel = Kernel("matmul", f"matmul_f32_{config.tile}_{site.target.isa}", config, planes * config.tiles, 0)
    why = f"{config.tile} rows at a time" if config.tile > 1 else "a row at a time"
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "matmul": (select_matmul,),
}
"""Op -> its selectors."""
