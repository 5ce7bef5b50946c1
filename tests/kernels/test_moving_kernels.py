"""Axes in another order and layouts in blocks or not, on sizes around the squares that are turned in registers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernels.compare import compile_for, kernels_of, network, worst_error

from cnncc.kernels.cpu.strided import strided_config

RNG = np.random.default_rng(8)
ORDERS = list(itertools.permutations(range(3)))
SIZES = [tuple(int(n) for n in RNG.choice([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33], 3)) for _ in range(5)]


def joined(numbers: tuple[int, ...], by: str = "x") -> str:
    return by.join(map(str, numbers))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sizes", [*SIZES, (8, 8, 8), (40, 33, 50)])
def test_three_axes(sizes: tuple[int, ...], order: tuple[int, ...]) -> None:
    """Of an input and of an image in blocks."""
    target = "host" if sizes == (40, 33, 50) else "x86-64-v3"
    to = joined(tuple(sizes[a] for a in order))
    body = f"permute {joined(sizes)} axes {joined(order, ',')} to {to}"
    for before in ("", "relu; "):
        assert worst_error(network(before + body, joined(sizes)), target) == 0, before


@pytest.mark.parametrize("seed", range(12))
def test_five_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    split = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 5, 8, 9, 12], 5))
    order = tuple(int(n) for n in rng.permutation(5))
    new = [split[a] for a in order]
    to = joined((new[0] * new[1], new[2], new[3] * new[4]))
    body = f"permute {joined(split)} axes {joined(order, ',')} to {to}"
    dims = joined((split[0] * split[1], split[2], split[3] * split[4]))
    assert worst_error(network(body, dims), "x86-64-v3") == 0


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8, 15, 16, 17, 31, 40])
@pytest.mark.parametrize("sides", [(1, 1), (1, 3), (2, 2), (3, 3), (5, 7), (16, 16), (31, 33)])
def test_layouts(channels: int, sides: tuple[int, int]) -> None:
    """Into blocks and out of them."""
    body = "relu; save x; permute {0} axes 2,1,0 to {1}; save y; from x; output; from y; abs; output"
    dims = (channels, *sides)
    graph = network(body.format(joined(dims), joined(dims[::-1])), joined(dims))
    assert worst_error(graph, "x86-64-v3", batch=2) == 0


def test_what_is_turned_and_what_is_copied() -> None:
    """Squares where the innermost axis moves, rows where it stays, and enough units of either."""
    turned = strided_config((48, 200), (1, 48), (9600, 0), 16)
    assert (turned.side, turned.across.size, turned.row.size) == (8, 48, 200)
    assert turned.units >= 4
    rows = strided_config((3, 4, 64, 32), (128, 32, 384, 1), (24576, 0), 16)
    assert (rows.side, rows.row.size) == (0, 32)
    assert 4 <= rows.units <= 64
    assert strided_config((6, 5), (1, 6), (30, 0), 8).side == 4
    assert strided_config((3, 50), (1, 3), (150, 0), 8).side == 0
    assert strided_config((4, 50), (1, 0), (4, 0), 8).side == 0, "repeated values"


def test_code_does_not_grow_with_the_image() -> None:
    from cnncc.kernels.cpu.lower import LOWER

    texts = []
    for size in (40, 400):
        (kernel,) = kernels_of(network(f"permute 3x{size}x{size} axes 2,1,0 to {size}x{size}x3", f"3x{size}x{size}"))
        texts.append(str(LOWER[kernel.family](kernel.config, "k")))
    assert len(texts[1]) < 1.2 * len(texts[0])


@pytest.mark.parametrize("target", ["x86-64-v4", "aarch64", "wasm32"])
def test_other_targets_have_code(target: str) -> None:
    compile_for(network("relu; permute 20x9x13 axes 2,1,0 to 13x9x20; relu; expand 13x9x20"), target)
    compile_for(network("permute 20x9x13 axes 0,2,1 to 20x13x9"), target)
