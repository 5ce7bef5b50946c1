"""Winograd against the reference: every tile size on ragged images, its exact matrices, and when it is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from kernels.compare import RUNNABLE, network, worst_error

from cnncc import api, lang
from cnncc.kernels.cpu import algorithms, winograd_choice
from cnncc.kernels.cpu.lower import winograd
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.spec import Selection
from cnncc.kernels.shared.winograd import matrices
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.options import Options

SIZES = tuple(winograd_choice.ERRORS)


@pytest.mark.parametrize(("m", "taps"), SIZES)
def test_matrices_are_exact(m: int, taps: int) -> None:
    """In fractions, the transforms give the correlation itself, not nearly so."""
    rng = np.random.default_rng(m)
    data = [Fraction(int(v)) for v in rng.integers(-9, 10, m + taps - 1)]
    filters = [Fraction(int(v)) for v in rng.integers(-9, 10, taps)]
    t = matrices(m, taps)
    products = [
        sum((g * w for g, w in zip(rows[0], filters, strict=True)), Fraction(0))
        * sum((b * d for b, d in zip(rows[1], data, strict=True)), Fraction(0))
        for rows in zip(t.filter, t.data, strict=True)
    ]
    got = [sum((a * p for a, p in zip(row, products, strict=True)), Fraction(0)) for row in t.output]
    assert got == [sum((data[i + k] * filters[k] for k in range(taps)), Fraction(0)) for i in range(m)]


def force(monkeypatch: pytest.MonkeyPatch, m: int, shared: bool) -> None:
    """Makes the choice take this tile size, whatever it costs."""
    monkeypatch.setattr(algorithms, "CLEARLY", float("inf"))
    candidates = winograd_choice.candidates

    def only(*given):  # type: ignore[no-untyped-def]
        return (c for c in candidates(*given) if (c.m, c.shared) == (m, shared))

    monkeypatch.setattr(winograd_choice, "candidates", only)
    monkeypatch.setattr(winograd_choice, "_costs", winograd_choice._costs.__wrapped__)


def chosen(graph) -> list[Selection]:  # type: ignore[no-untyped-def]
    return list(lower(graph, targets.host(), Options(max_error=1.0)).selections.values())


BOUNDS = {(2, 3): 5e-6, (4, 3): 2e-5, (6, 3): 1e-4, (2, 5): 5e-6, (3, 5): 2e-5, (4, 5): 2e-5}


def ragged() -> Iterator[Any]:
    """Every size of tile on every image; every second time with the transformed input shared, the rest being slow."""
    for i, (m, taps) in enumerate(SIZES):
        for j, dims in enumerate(("16x7x7", "32x12x13", "17x8x30", "20x5x31")):
            for shared in (False, True):
                marks = () if shared == ((i + j) % 2 == 0) else pytest.mark.slow
                yield pytest.param(m, taps, shared, dims, marks=marks)


@pytest.mark.parametrize(("m", "taps", "shared", "dims"), ragged())
def test_ragged_images(monkeypatch, m, taps, shared, dims) -> None:
    force(monkeypatch, m, shared)
    graph = network(f"relu; conv {taps}x{taps} 40 relu", dims)
    assert any(c.kernel.family == "winograd" for s in chosen(graph) for c in s.calls)
    assert worst_error(graph, max_error=1.0) <= BOUNDS[m, taps]


@pytest.mark.parametrize("shared", [False, True])
def test_pads_residual_and_batch(monkeypatch, shared) -> None:
    force(monkeypatch, 4, shared)
    body = "relu; add { conv 3x3 32 bn | conv 1x1 32 }; relu; conv 3x3 16 pad 2,0,0,1; conv 3x3 16 pad 0 nobias silu"
    assert worst_error(network(body, "32x15x18"), batch=3) <= 2e-5


@pytest.mark.parametrize("target", [t for t in RUNNABLE if t != "host"])
def test_on_other_targets(monkeypatch, target) -> None:
    force(monkeypatch, 4, shared=False)
    assert worst_error(network("relu; conv 3x3 24 relu", "20x13x14"), target) <= 2e-5


@pytest.mark.parametrize(("shared", "regions"), [(False, 2), (True, 1)])
def test_pixels_are_fetched_while_products_run(monkeypatch, shared, regions) -> None:
    """Of the result, and of the image where units transform it: one row of a tile is m lines of 16 channels."""
    force(monkeypatch, 4, shared)
    selections = chosen(network("relu; conv 3x3 32", "64x28x28"))
    (call,) = (c for s in selections for c in s.calls if c.kernel.family == "winograd")
    text = winograd.lower(call.kernel.config, "k").script()
    writes = text.count("T.address_of(result")
    assert writes > 0
    assert writes % call.kernel.config.m == 0
    assert ("T.address_of(source" in text) == (regions == 2)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("m", "taps"), [(2, 3), (4, 3), (6, 3), (4, 5)])
@pytest.mark.parametrize(
    ("window", "dims"),
    [
        ("dil 2", "17x13x22"),
        ("dil 3x1 pad 0", "32x37x15"),
        ("dil 5x4 pad 1,9,0,2", "20x31x29"),
        ("groups 2", "64x12x13"),
        ("groups 3 dil 2x3", "96x19x26"),
    ],
)
def test_dilation_and_groups(monkeypatch, m, taps, shared, window, dims) -> None:
    """Sizes that no rate divides, whole and partial tiles, groups of two blocks and more."""
    force(monkeypatch, m, shared)
    out, after = (96, "silu") if "3" in window else (64, "relu")
    graph = network(f"relu; conv {taps}x{taps} {out} {window} {after}", dims)
    assert any(c.kernel.family == "winograd" for s in chosen(graph) for c in s.calls)
    assert worst_error(graph, max_error=1.0, batch=2) <= BOUNDS[m, taps]


def site_of(body: str, dims: str) -> CpuSite:
    """Where the convolution of a network is chosen."""
    sites = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algorithms, "applying", lambda site: sites.append(site) or ALL(site))
        lower(lang.parse(f"net t\ninput {dims}\n{body}\n"), targets.load("x86-64-v3"), Options(max_error=1.0))
    return sites[0]


ALL = algorithms.applying


@pytest.mark.parametrize("window", ["", "dil 2", "dil 3x5", "dil 7", "dil 1x4"])
@pytest.mark.parametrize("dims", ["16x7x9", "16x14x14", "16x28x15"])
def test_each_pixel_lies_in_one_tile(window: str, dims: str) -> None:
    base = winograd_choice._base(site_of(f"relu; conv 3x3 16 {window}", dims))
    for m in (2, 4, 6):
        config = replace(base, m=m)
        for axis, d in enumerate(config.dilation):
            starts = [number // d * (m * d) + number % d for number in range(config.grid[axis])]
            tiles = [[y for y in range(start, start + m * d, d) if y < config.out_size[axis]] for start in starts]
            assert sorted(y for tile in tiles for y in tile) == list(range(config.out_size[axis]))
            assert {len(tile) for tile in tiles} == set(config.counts(axis))


def test_cost_grows_with_the_rate_and_falls_with_the_groups() -> None:
    """A rate that divides the image takes the same tiles; one that does not takes more. Groups are so many times less
    to multiply and to read."""
    winograd = algorithms.find("winograd")

    def forecast(window: str, dims: str = "64x24x24") -> float:
        return winograd.forecast(site_of(f"relu; conv 3x3 64 {window}", dims))

    rates = [forecast(f"dil {d}") for d in (1, 2, 3, 5)]
    assert rates == sorted(rates)
    assert rates[0] == rates[1]
    assert rates[-1] > 1.3 * rates[0]
    groups = [forecast(f"groups {g}") for g in (4, 2, 1)]
    assert groups == sorted(groups)
    assert groups[2] > 1.5 * groups[0]


def kernel(body: str, dims: str, max_error: float = 1e-5) -> str:
    program = lower(
        lang.parse(f"net t\ninput {dims}\n{body}\n"), targets.load("x86-64-v3"), Options(max_error=max_error)
    )
    return next(c.kernel.name for c in reversed(program.calls) if c.kernel.family not in ("copy", "relayout"))


def test_chosen_where_it_pays() -> None:
    assert kernel("relu; conv 3x3 64", "64x56x56").startswith("winograd_f32_4x4_nchw")
    assert kernel("relu; conv 5x5 256", "96x27x27").startswith("winograd_f32_4x4_5x5_nchw")
    assert kernel("relu; conv 3x3 128 dil 2", "128x28x28").startswith("winograd_f32_")
    assert kernel("relu; conv 3x3 128 groups 2", "128x28x28").startswith("winograd_f32_")


def test_weights_from_memory_cost_more_than_those_that_stay() -> None:
    """F(2x2) has fewer weights, F(4x4) fewer products: in a network that outgrows the last cache the same layer takes
    the former."""
    text = "net t\ninput 256x14x14\nrelu\nconv 3x3 256 relu\n{}fc 10\n"
    names = []
    for more in ("", "fc 400\n"):
        program = lower(lang.parse(text.format(more)), targets.load("x86-64-v4"))
        names += [c.kernel.name for c in program.calls if c.kernel.family == "winograd"]
    assert [name[: len("winograd_f32_4x4")] for name in names] == ["winograd_f32_4x4", "winograd_f32_2x2"]


def test_fewer_weights_win_among_those_that_are_as_good(monkeypatch) -> None:
    layer = ("relu; conv 3x3 64", "64x56x56")
    assert kernel(*layer).startswith("winograd_f32_4x4")
    monkeypatch.setattr(winograd_choice, "AS_GOOD", 3.0)
    assert kernel(*layer).startswith("winograd_f32_2x2")


@pytest.mark.parametrize("body", ["conv 3x3 48", "conv 5x5 48"])
def test_transformed_once_per_image_or_unit_alike(monkeypatch, body) -> None:
    """Who transforms the input, and how output blocks are cut, changes no bit of the result."""
    results = []
    for shared in (False, True):
        with monkeypatch.context() as patch:
            force(patch, 4, shared)
            graph = network(f"relu; {body} relu", "32x14x14")
            x = np.random.default_rng(0).standard_normal((1, 32, 14, 14)).astype(np.float32)
            results.append(api.build(graph, Options(max_error=1.0)).model()(x))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    "body",
    [
        "relu; conv 3x3 64 /2",
        "relu; conv 3x3 64 groups 8",
        "relu; conv 3x3 64 groups 2 dil 2 /2",
        "relu; conv 7x7 64",
        "conv 3x3 64",
    ],
)
def test_not_chosen_where_it_cannot_be(body: str) -> None:
    dims = "3x56x56" if body == "conv 3x3 64" else "64x56x56"
    assert "winograd" not in kernel(body, dims)


def test_error_bound_decides() -> None:
    assert kernel("relu; conv 3x3 64", "64x56x56", max_error=3e-6).startswith("winograd_f32_2x2")
    assert kernel("relu; conv 3x3 64", "64x56x56", max_error=1e-7).startswith("conv_f32")
    assert kernel("relu; conv 5x5 64", "64x56x56", max_error=6e-6).startswith("winograd_f32_2x2_5x5")
