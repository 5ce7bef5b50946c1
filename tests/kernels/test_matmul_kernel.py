"""Products of two computed matrices, on sizes around the tiles."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import compile_for, kernels_of, network, relative_error, worst_error

from cnncc import api
from cnncc.ir import Graph
from cnncc.kernels.cpu.matmul import MatmulConfig, choose_tile, vector_width
from cnncc.kernels.cpu.micro import Micro
from cnncc.machines import targets
from cnncc.ops import reference
from cnncc.options import Options

SIZES = [
    (3, 5, 70, 5), (2, 13, 31, 17), (1, 6, 8, 16), (2, 12, 3, 1), (1, 1, 9, 33), (2, 7, 1, 24), (1, 34, 15, 7),
    (4, 1, 16, 8), (3, 33, 17, 1), (1, 1, 40, 1), (1, 3, 7, 1), (16, 49, 16, 49), (1, 197, 64, 197), (2, 50, 200, 31),
]  # fmt: skip
RNG = np.random.default_rng(2)
RANDOM = [tuple(int(n) for n in RNG.integers(1, (6, 70, 90, 120))) for _ in range(12)]


def product(planes: int, rows: int, depth: int, columns: int) -> Graph:
    """x times y, both computed: x from the input, y from a vector."""
    return network(
        f"save x; relu; gap; fc {planes * depth * columns}; reshape {planes}x{depth}x{columns}; save y;"
        " matmul { from x | from y }",
        f"{planes}x{rows}x{depth}",
    )


@pytest.mark.parametrize(("planes", "rows", "depth", "columns"), [*SIZES, *RANDOM])
def test_around_the_tiles(planes: int, rows: int, depth: int, columns: int) -> None:
    assert worst_error(product(planes, rows, depth, columns), "x86-64-v3", batch=2) <= 1e-5


@pytest.mark.parametrize(
    ("columns", "post_ops"), [(50, "relu"), (50, "gelu"), (1, "add { | from z }; gelu"), (7, "silu")]
)
def test_post_ops(columns: int, post_ops: str) -> None:
    """In the product's kernel, on this machine."""
    body = (
        f"save x; relu; gap; fc {2 * 19 * columns}; reshape 2x19x{columns}; save y; fc {2 * 31 * columns};"
        f" reshape 2x31x{columns}; save z; matmul {{ from x | from y }}; {post_ops}; add {{ | from z }}"
    )
    graph = network(body, "2x31x19")
    assert worst_error(graph, "host") <= 1e-5
    assert not any(k.family == "elementwise" and "map_relu" not in k.name for k in kernels_of(graph))


def test_the_result_is_not_written_over_what_is_added() -> None:
    """Tiles overlap here, and nobody else needs z: it would be added twice."""
    body = (
        "save x; matmul { from x | from x }; save z; from x; relu; save y; matmul { from x | from y };"
        " add { | from z }; relu; avgpool 2x2"
    )
    graph = network(body, "2x6x6")
    assert any(k.config.columns % k.config.lanes for k in kernels_of(graph, "host") if k.family == "matmul")
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32)
    # Without `keep_all`, with which every value has memory of its own.
    got, wanted = api.build(graph, Options(("host",))).trace(x), reference.run(graph, [x])
    assert relative_error(got[graph.outputs[0]], wanted[graph.outputs[0]]) <= 1e-5


@pytest.mark.parametrize("target", targets.names())
def test_tiles_stay_in_registers_and_compute_little_twice(target: str) -> None:
    unit = targets.load(target)
    for rows in (1, 5, 16, 49, 64, 100, 196, 197, 256):
        for columns in (2, 3, 15, 16, 17, 31, 49, 64, 100, 196, 197, 256):
            lanes = vector_width(columns, unit.lanes)
            tile, vectors = choose_tile(rows, columns, lanes, unit)
            assert Micro(unit.floats, lanes).fits(tile, vectors)
            config = MatmulConfig(1, rows, 9, columns, lanes, tile, vectors, (1, 1))
            computed = np.prod(config.tiles) * tile * vectors * lanes
            assert computed <= 1.35 * rows * (-(-columns // lanes) * lanes), (rows, columns)


def test_the_last_rows_and_columns_are_of_several_units() -> None:
    """One large product, and many small ones, are shared out."""
    for sizes in ((1, 64, 40, 64), (1, 1, 30, 400), (8, 20, 16, 20)):
        (kernel,) = [k for k in kernels_of(product(*sizes)) if k.family == "matmul"]
        assert kernel.units >= 8, sizes


@pytest.mark.parametrize("target", ["x86-64-v4", "aarch64", "wasm32"])
def test_other_targets_have_code(target: str) -> None:
    for sizes in ((2, 50, 40, 51), (2, 50, 40, 1), (1, 1, 40, 7)):
        compile_for(product(*sizes), target)
