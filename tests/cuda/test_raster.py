"""The order of the blocks: which tile each takes, and what of it device memory reads, by a replay through a cache."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from cuda.checked import NodeRun, library
from cuda.zoo import network
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnncc import lang, weights
from cnncc.kernels.gpu import conv
from cnncc.kernels.gpu.conv import GpuConvConfig, product_of, reads_of, share_to_l2, touched
from cnncc.kernels.gpu.model import LaunchWork, estimate
from cnncc.kernels.gpu.raster import SHARE, Raster, Reads, best_band, bytes_read
from cnncc.machines import gpus
from cnncc.module.gpu.program import CudaProgram, kernel_of
from cnncc.module.lower import lower
from cnncc.options import Options

CHUNKS = 4
"""Pieces in which a block reads its operands, in turn with the others at work."""


class Cache:
    """Keeps what was used last."""

    def __init__(self, size: float) -> None:
        self.size, self.used, self.missed = size, 0, 0
        self.lines: OrderedDict[tuple[str, int, int], int] = OrderedDict()

    def touch(self, name: tuple[str, int, int], size: int, read: bool = True) -> None:
        if name in self.lines:
            self.lines.move_to_end(name)
            return
        self.missed += size if read else 0
        self.lines[name] = size
        self.used += size
        while self.used > self.size:
            self.used -= self.lines.popitem(last=False)[1]


def replay(reads: Reads, band: int, cache_bytes: float) -> int:
    """Bytes of operands that the cache does not have: blocks in their order, so many at a time."""
    cache, raster = Cache(cache_bytes), Raster(reads.rows, reads.columns, band)
    for first in range(0, raster.tiles, reads.at_once):
        places = [raster.place(i) for i in range(first, min(first + reads.at_once, raster.tiles))]
        for chunk, (row, column) in product(range(CHUNKS), places):
            cache.touch(("image", row, chunk), reads.image // CHUNKS)
            cache.touch(("weights", column, chunk), reads.weights // CHUNKS)
        for row, column in places:
            cache.touch(("result", row, column), reads.result, read=False)
    return cache.missed


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 90), columns=st.integers(1, 9), data=st.data())
def test_every_tile_is_taken_once(rows: int, columns: int, data: st.DataObject) -> None:
    raster = Raster(rows, columns, data.draw(st.integers(1, rows)))
    places = [raster.place(i) for i in range(raster.tiles)]
    assert sorted(places) == [(row, column) for row in range(rows) for column in range(columns)]
    assert [row // raster.band for row, _ in places] == sorted(row // raster.band for row, _ in places)


@settings(max_examples=40, deadline=None)
@given(
    reads=st.builds(
        lambda rows, columns, image, weights, at_once: Reads(
            rows, columns, image * 1000, weights * 1000, 4000, at_once
        ),
        st.integers(20, 120),
        st.integers(2, 16),
        st.integers(1, 60),
        st.integers(1, 200),
        st.sampled_from([16, 60, 200]),
    ),
    cache=st.sampled_from([300_000, 2_000_000, 10_000_000]),
    band=st.sampled_from([1, 4, 16, 64, 400]),
)
def test_what_is_read_is_what_a_cache_would_read(reads: Reads, cache: int, band: int) -> None:
    """Not much less than in a cache half as large again, and the chosen order reads not much more than one column
    after the other does in one that is a third smaller: at the size that just holds everything, little decides.

    The cache holds the pieces that all blocks at work read in turn: those of kernels are far smaller."""
    band = min(band, reads.rows)
    assume(reads.least <= CHUNKS * cache)
    assert bytes_read(reads, band, cache) >= 0.4 * replay(reads, band, 1.5 * cache)
    chosen = best_band(reads, int(cache / SHARE))
    assert replay(reads, chosen, cache) <= 1.3 * replay(reads, reads.rows, cache / 1.5)


def products(program: CudaProgram) -> list[GpuConvConfig]:
    return [k.config for k in map(kernel_of, program.calls) if isinstance(k.config, GpuConvConfig)]


@pytest.mark.parametrize(("target", "dtype", "most"), [
    ("cuda-sm_90", "float16", 1.05),
    ("cuda-sm_90", "float32", 1.05),
    ("cuda-sm_80", "float16", 1.05),
    ("cuda-sm_75", "float32", 1.4),
])  # fmt: skip
def test_an_image_is_not_read_once_for_each_column(target: str, dtype: str, most: float) -> None:
    """ResNet-50 with 128 images: the replay of all its products reads at most 0.65 of what it does with one column of
    tiles after the other, and little more than each operand once. Turing's cache does not hold all weights."""
    gpu = gpus.load(target)
    found = products(lower(network("resnet50_v1_5"), gpu, Options(batch=128, dtype=dtype)))
    chosen = before = least = 0
    for config in dict.fromkeys(found):
        reads, times = reads_of(config, gpu), config.geometry.groups * config.splits * found.count(config)
        if reads.columns == 1:
            replayed = former = reads.least
        else:
            replayed = replay(reads, config.raster.band, SHARE * gpu.l2_bytes)
            former = replay(reads, reads.rows, SHARE * gpu.l2_bytes)
        chosen, before, least = chosen + times * replayed, before + times * former, least + times * reads.least
    assert chosen <= 0.65 * before
    assert chosen <= most * least


def test_the_model_counts_what_is_read_again() -> None:
    gpu = gpus.load("cuda-sm_90")
    found = products(lower(network("resnet50_v1_5"), gpu, Options(batch=128, dtype="float16")))
    config = next(c for c in found if c.column_tiles > 3)
    wide = replace(config, band=config.raster.rows)
    assert product_of(config, gpu).again == 0
    assert product_of(wide, gpu).again > 0
    work = LaunchWork(0, 10**9)
    one, other = (estimate(gpu, product_of(c, gpu), c.grid, work).seconds for c in (config, wide))
    assert one < other


def test_pixels_under_several_taps_come_from_the_first_cache() -> None:
    assert touched(4, 1, 3, 1) == 6
    assert touched(4, 2, 3, 1) == 9
    assert touched(4, 1, 3, 3) == 10
    assert touched(4, 2, 1, 1, 2) == 8  # whole sectors
    found = products(lower(network("resnet50_v1_5"), gpus.load("cuda-sm_90"), Options(dtype="float16")))
    shares = {(c.geometry.kernel[0], c.geometry.stride[0]): share_to_l2(c) for c in found}
    assert shares[1, 1] == 1
    assert shares[1, 2] == 2
    assert shares[3, 1] < 0.5


@pytest.mark.parametrize("band", [1, 2, 4, 100])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_kernels_take_the_tiles_in_that_order(
    band: int, dtype: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks compute the result; every fifth one alone computes just the tiles that `place` says."""
    monkeypatch.setattr(conv, "best_band", lambda reads, size: min(band, reads.rows))
    monkeypatch.setattr(conv, "_split_choices", lambda config: [1])
    graph = weights.bind(lang.parse("net t\ninput 16x17x19\nrelu; conv 3x3 272 groups 2; relu\n"), None)
    chosen = lower(graph, gpus.load("cuda-sm_80"), Options(batch=2, dtype=dtype))
    (node,) = (n for n in chosen.graph.nodes if n.op == "conv")
    run = NodeRun(chosen, node)
    (call,) = run.calls
    lib, config = library(run.source(), kept), call.kernel.config
    assert isinstance(config, GpuConvConfig)
    raster, tile = config.raster, config.tile
    assert raster.rows > 4
    assert raster.columns > 1
    assert run.error(run.run(lib, 2)) <= (1e-3 if dtype == "float16" else 4e-6)
    wanted = np.zeros((config.rows, 272), bool)
    blocks = 2 * raster.tiles
    for number in {*range(0, blocks, 5), blocks - 1}:
        group, block = divmod(number, raster.tiles)
        row, column = raster.place(block)
        first = group * 136 + column * tile.columns
        wanted[row * tile.rows : (row + 1) * tile.rows, first : min(first + tile.columns, (group + 1) * 136)] = True
    got = ~np.isnan(run.run(lib, 0, every=5))
    np.testing.assert_array_equal(got.transpose(0, 2, 3, 1).reshape(config.rows, 272), wanted)
