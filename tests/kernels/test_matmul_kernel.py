"""Products of two computed matrices, on sizes around the tiles."""

from __future__ import annotations

import pytest
from kernels.compare import network, worst_error

from cnncc.kernels.cpu.matmul import TILE

SIZES = [
    (3, TILE - 1, 70, 5), (2, 2 * TILE + 1, 31, 17), (1, TILE, 8, 16), (2, 2 * TILE, 3, 1), (1, 1, 9, 33),
    (2, 7, 1, 24), (1, 5 * TILE + 4, 15, 7), (4, 1, 16, 8),
]  # fmt: skip


@pytest.mark.parametrize(("planes", "rows", "depth", "columns"), SIZES)
def test_around_the_tiles(planes: int, rows: int, depth: int, columns: int) -> None:
    body = (
        f"save x; fc {planes * depth * columns}; reshape {planes}x{depth}x{columns}; save y;"
        " matmul { from x | from y } relu"
    )
    for batch in (1, 2):
        assert worst_error(network(body, f"{planes}x{rows}x{depth}"), batch=batch) <= 1e-5
