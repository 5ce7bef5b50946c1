"""The largest values and resizing, on sizes around the vectors."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import compile_for, kernels_of, network, relative_error, worst_error

from cnncc import api
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.passes import with_batch

WORDS = ["", " smallest", " last", " smallest last"]
MODES = ["nearest", "linear", "cubic", "linear antialias", "cubic antialias", "linear align_corners"]
RNG = np.random.default_rng(4)


@pytest.mark.parametrize("dims", ["1x3x5", "7x1x1", "17x4x5", "40x3x3", "9x1x33", "300x1x1", "20x31x17"])
@pytest.mark.parametrize("words", WORDS)
def test_topk(dims: str, words: str) -> None:
    """Values and channels, with many equal ones: any k, in registers and not."""
    shape = tuple(map(int, dims.split("x")))
    image = np.round(3 * RNG.standard_normal((2, *shape))).astype(np.float32)
    for k in sorted({1, min(5, shape[0]), min(8, shape[0]), min(9, shape[0]), shape[0]}):
        graph = network(f"save x; topk {k}{words}; output; from x; topk {k}{words} indices; output", dims)
        wanted = reference.run(with_batch(graph, 2), [image])
        got = api.build(graph, Options(("x86-64-v3",), batch=2, threads=2)).model()(image)
        for a, b in zip(got.values() if isinstance(got, dict) else got, wanted.values(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [3, 8, 17])
def test_resize(mode: str, channels: int) -> None:
    """Up, down, and both; the rows are blended first, or not."""
    for _ in range(4):
        height, width, out_height, out_width = (int(n) for n in RNG.integers(1, 24, 4))
        body = f"relu; resize {out_height}x{out_width} {mode}"
        graph = network(body, f"{channels}x{height}x{width}")
        assert worst_error(graph, "x86-64-v3", batch=2) <= 3e-6, (height, width, body)


@pytest.mark.parametrize("words", ["", " align"])
@pytest.mark.parametrize("factors", ["2", "3", "1x4", "16x1"])
def test_bilinear_upsampling(factors: str, words: str) -> None:
    for dims in ("5x1x1", "20x4x5", "16x7x1", "33x9x10"):
        assert worst_error(network(f"relu; upsample {factors} bilinear{words}", dims), "x86-64-v3") <= 3e-6


def test_rows_come_first_where_that_saves_products() -> None:
    for body, first in {
        "upsample 2 bilinear": True,
        "resize 40x50 linear": True,
        "resize 5x5 linear": False,
        "resize 40x50 nearest": False,
        "resize 5x40 cubic": True,
    }.items():
        (kernel,) = [k for k in kernels_of(network(f"relu; {body}", "16x20x20")) if k.family == "resize"]
        assert kernel.config.rows_first == first, body


def test_far_apart_values_keep_their_digits() -> None:
    """A blend of rows, then of columns, rounds no more than the sum of all taps."""
    graph = network("relu; resize 31x37 linear", "16x9x9")
    image = np.abs(1e4 * RNG.standard_normal((1, 16, 9, 9))).astype(np.float32)
    (wanted,) = reference.run(graph, [image.astype(np.float64)]).values()
    assert relative_error(api.build(graph).model()(image), wanted) <= 1e-6


@pytest.mark.parametrize("target", ["x86-64-v4", "aarch64", "wasm32"])
def test_other_targets_have_code(target: str) -> None:
    compile_for(network("relu; resize 40x31 linear; resize 7x5 cubic antialias; upsample 2 bilinear; topk 3"), target)
    compile_for(network("topk 20 indices"), target)
