"""Dilated convolutions on a copy between few zeros: taps that lie in the padding are skipped, and counted as such."""

from __future__ import annotations

import random

import pytest
from kernels.compare import network, worst_error

from cnncc import lang
from cnncc.kernels.cpu import conv_choice
from cnncc.kernels.cpu.conv_choice import DirectChoice, configure, direct_forecast, pad_config
from cnncc.kernels.cpu.conv_direct import ConvConfig
from cnncc.kernels.cpu.tiles import Tile, even_tiles
from cnncc.kernels.shared.convolution import ConvGeometry
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.options import Options

AVX2 = targets.load("x86-64-v3")
EXACT = Options(max_error=0.0)


def any_geometry(rng: random.Random) -> ConvGeometry:
    size, grid = ((rng.randint(1, 20), rng.randint(1, 20)) for _ in range(2))
    kernel, stride = (rng.randint(1, 4), rng.randint(1, 4)), (rng.randint(1, 3), rng.randint(1, 3))
    dilation, origin = (rng.randint(2, 9), rng.randint(1, 9)), (-rng.randint(0, 20), -rng.randint(0, 20))
    return ConvGeometry(16, 16, 16, size, grid, grid, kernel, stride, dilation, origin, 1, False, ())


def tap_counts(g: ConvGeometry, axis: int, largest: int) -> tuple[int, int, int]:
    """Along an axis, for all pixels: taps of tiles that see the image from any pixel; taps that do from their own; and
    all taps."""
    seen = own = 0
    for start, size, count in even_tiles(g.grid[axis], largest):
        for first in range(start, start + size * count, size):
            for tap in range(g.kernel[axis]):
                at = [g.origin[axis] + p * g.stride[axis] + tap * g.dilation[axis] for p in range(first, first + size)]
                inside = sum(0 <= a < g.in_size[axis] for a in at)
                own += inside
                seen += size * (inside > 0)
    return seen, own, g.grid[axis] * g.kernel[axis]


def test_the_products_counted_are_those_that_see_the_image() -> None:
    """All that a tile needs, and not more than its few pixels beside the image make it multiply. A stride may step over
    the image between two pixels of a tile: such taps are multiplied too."""
    rng, skipping = random.Random(0), 0
    for _ in range(500):
        g = any_geometry(rng)
        tile = Tile(rng.choice([1, 3]), rng.randint(1, 6), 1)
        config = configure(g, AVX2, DirectChoice(tile, g.grid[0], 1, padded=True))
        skipping += config.skips
        share, least = 1.0, 1.0
        for axis, largest in enumerate((tile.rows, tile.columns)):
            seen, own, every = tap_counts(g, axis, largest)
            share, least = share * seen / every, least * own / every
        assert config.share >= share - 1e-9 >= least - 2e-9
        assert config.share <= 1
        if g.stride == (1, 1) and all(n % t == 0 for n, t in zip(g.grid, (tile.rows, tile.columns), strict=True)):
            assert config.share == pytest.approx(share)
    assert skipping > 400


def test_the_copy_has_few_zeros() -> None:
    """A rate of 24 on 28x28 pixels would take 76x76 with all its padding."""
    g = ConvGeometry(16, 16, 16, (28, 28), (28, 28), (28, 28), (3, 3), (1, 1), (24, 24), (-24, -24), 1, False, ())
    config = configure(g, AVX2, DirectChoice(Tile(1, 6, 1), 28, 1, padded=True))
    copy = pad_config(g, config)
    assert (copy.size, copy.origin) == ((28, 38), (0, -5))
    assert (config.gathers, config.skips) == (False, True)
    assert config.share == pytest.approx((4 + 28 + 4) / 84 * (5 + 28 + 5) / 84, abs=0.02)


def test_the_cost_falls_with_the_taps_skipped() -> None:
    def forecast(rate: int) -> float:
        g = ConvGeometry(
            256, 256, 16, (28, 28), (28, 28), (28, 28), (3, 3), (1, 1), (rate,) * 2, (-rate,) * 2, 1, False, ()
        )
        return direct_forecast(g, AVX2, 8.0)

    costs = [forecast(rate) for rate in (2, 6, 12, 18, 24)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.4 * costs[0]


def direct_configs(text: str) -> list[ConvConfig]:
    program = lower(lang.parse(text), targets.host(), EXACT)
    return [c.kernel.config for c in program.calls if c.kernel.family == "conv_direct"]


def test_chosen_for_rates_near_the_size_of_the_image() -> None:
    (config,) = direct_configs("net t\ninput 64x14x14\nrelu\nconv 3x3 64 dil 12\n")
    assert config.skips
    (config,) = direct_configs("net t\ninput 64x14x14\nrelu\nconv 3x3 64\n")
    assert not config.skips


@pytest.mark.parametrize(
    ("body", "dims"),
    [
        ("conv 3x3 40 dil 12 relu", "32x14x14"),
        ("conv 3x3 64 groups 2 dil 9x3 pad 9,1,12,6 silu", "32x14x11"),
        ("conv 2x4 40 /1x2 dil 8x9 pad 7,9,0,13", "20x8x8"),
        ("conv 4x3 64 /2x2 dil 14x10 pad 38,0,24,16 relu", "48x9x18"),
        ("conv 4x1 16 /3x3 dil 5x4 pad 8,0,17,0", "16x16x12"),
        ("conv 1x3 40 /3x3 dil 4x14 pad 2,17,0,10 relu", "20x16x5"),
        ("conv 3x3 16 /2x1 dil 7x10 pad 7,15,0,5", "48x20x3"),
    ],
)
def test_skips_nothing_that_counts(monkeypatch: pytest.MonkeyPatch, body: str, dims: str) -> None:
    both = conv_choice._padded_or_not
    monkeypatch.setattr(conv_choice, "_padded_or_not", lambda *given: both(*given)[-1:])
    graph = network(f"relu; {body}", dims)
    program = lower(graph, targets.host(), EXACT)
    assert any(c.kernel.config.skips for c in program.calls if c.kernel.family == "conv_direct")
    assert worst_error(graph, batch=2, max_error=0.0) <= 2e-6
