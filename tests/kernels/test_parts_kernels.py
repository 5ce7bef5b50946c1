"""Strided slices, listed positions, unfolded windows and wrapped borders: every kernel against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import network, worst_error

from cnncc import api
from cnncc.kernels.shared.spec import Kernel

SIZES = (7, 8, 9, 15, 16, 17, 31)
CASES = {
    "every second pixel": ("strided_slice 3x4x4 at 0,1,1 step 1,2,2", "3x8x9"),
    "all axes backwards": ("relu; strided_slice 20x5x4 at 19,8,12 step -1,-2,-3; relu", "20x9x13"),
    "a mirrored image": ("relu; strided_slice 5x9x13 at 0,0,12 step 1,1,-1", "5x9x13"),
    "everything backwards": ("strided_slice 5x9x13 at 4,8,12 step -1,-1,-1; relu", "5x9x13"),
    "a part without steps": ("relu; strided_slice 3x4x5 at 2,1,3", "5x9x13"),
    "one number": ("relu; strided_slice 1x1x1 at 4,8,12 step -1,-1,-1", "5x9x13"),
    "a vector backwards": ("fc 9; strided_slice 4 at 8 step -2", "4"),
    "rows and columns": ("relu; take 2,0,2 axis 1; take 5,4,3 axis 2; take 19,0,1", "20x9x13"),
    "a vector's values": ("fc 9; take 8,8,0", "4"),
    "one position": ("relu; take 3 axis 2", "20x3x4"),
    "unfolded": ("relu; unfold 3x2 /2 pad 1,2,0,3 dil 2; relu", "7x9x13"),
    "unfolded into a border": ("relu; unfold 1x1 pad 5; conv 1x1 3", "7x3x3"),
    "unfolded frames": ("unfold 3x1 /2 pad 1,0,1,0; relu", "3x7x12"),
    "wrapped": ("relu; pad 3,20,1,0 wrap", "9x4x5"),
    "wrapped several times": ("pad 0,11,9,0 wrap; relu", "1x4x5"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_against_reference(case: str, batch: int) -> None:
    body, dims = CASES[case]
    assert worst_error(network(body, dims), batch=batch) <= 1e-6


@pytest.mark.parametrize("channels", SIZES)
def test_around_the_blocks(channels: int) -> None:
    """On the way from and to layouts in blocks."""
    rng = np.random.default_rng(channels)
    height, width = (int(s) for s in rng.integers(3, 12, 2))
    chosen = ",".join(map(str, rng.integers(0, channels, 5)))
    body = (
        f"conv 1x1 {channels}; save x; strided_slice {channels}x{height}x{-(-width // 2)}"
        f" at {channels - 1},0,{width - 1} step -1,1,-2; conv 3x3 4; output; from x; take {chosen}; relu; output;"
        f" from x; unfold 2x3 pad 1; conv 1x1 3; output"
    )
    assert worst_error(network(body, f"3x{height}x{width}")) <= 1e-5


def kernels(body: str, dims: str) -> list[Kernel]:
    program = api.program(network(body, dims))
    return [c.kernel for s in program.selections.values() for c in s.calls]


def test_code_does_not_grow_with_lengths() -> None:
    """One kernel whatever the sizes: positions that follow no rule are a table, no code."""
    for body in (
        "strided_slice 3x{0}x{0} at 0,0,{1} step 1,1,-1",
        "take {2} axis 2",
        "unfold 3x3",
        "pad {0} wrap",
    ):
        texts = []
        for size in (64, 640):
            order = ",".join(str(7 * i % size) for i in range(size))
            made = kernels(body.format(size, size - 1, order), f"3x{size}x{size}")
            (kernel,) = [k for k in made if k.family not in ("copy", "relayout")]
            texts.append(str(lowered(kernel)))
        assert len(texts[1]) < 1.2 * len(texts[0])


def lowered(kernel: Kernel) -> object:
    from cnncc.kernels.cpu.lower import LOWER

    return LOWER[kernel.family](kernel.config, "k")
