"""Group norm in every layout, on groups that fill blocks, cut them, or have several, in parts and at once."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import compile_for, kernels_of, network, relative_error, worst_error

from cnncc import api
from cnncc.ops import reference
from cnncc.options import Options

SHAPES = [
    (16, 1), (16, 4), (16, 16), (32, 2), (48, 1), (48, 3), (20, 1), (20, 4), (20, 20), (24, 3), (40, 2), (33, 11),
    (7, 1), (3, 3), (1, 1), (96, 4), (96, 32),
]  # fmt: skip
SIDES = [(1, 1), (3, 5), (9, 8)]


def sides(channels: int, groups: int) -> list[tuple[int, int]]:
    """A small image for each shape, and one that several units share."""
    return [SIDES[SHAPES.index((channels, groups)) % len(SIDES)], (40, 50)]


RNG = np.random.default_rng(5)
BOUND = 1e-5


@pytest.mark.parametrize(("channels", "groups"), SHAPES)
def test_in_blocks(channels: int, groups: int) -> None:
    """With all that an epilogue may hold, on images of any size."""
    for height, width in sides(channels, groups):
        body = (
            f"relu; save x; group_norm {groups} eps 0.01; add {{ | from x }}; gelu; group_norm {groups} noaffine relu"
        )
        assert worst_error(network(body, f"{channels}x{height}x{width}"), "x86-64-v3") <= BOUND, (height, width)


@pytest.mark.parametrize(("channels", "groups"), SHAPES)
def test_in_logical_order(channels: int, groups: int) -> None:
    """The added image lies in blocks, and is brought into logical order."""
    for height, width in sides(channels, groups):
        dims = f"{height}x{channels}x{width}"
        body = (
            f"permute {dims} axes 1,0,2 to {channels}x{height}x{width}; save x; relu; save y;"
            f" from x; group_norm {groups}; add {{ | from y }}; relu"
        )
        assert worst_error(network(body, dims), "x86-64-v3") <= BOUND, (height, width)


@pytest.mark.parametrize(("channels", "groups"), SHAPES)
def test_of_a_vector(channels: int, groups: int) -> None:
    body = f"fc {channels} relu; save x; group_norm {groups}; add {{ | from x }}; silu"
    assert worst_error(network(body, "9"), "x86-64-v3", batch=3) <= BOUND


def test_large_images_in_parts() -> None:
    """Groups of more values than one thread does at once."""
    for body, dims in {
        "relu; group_norm 1 relu": "64x57x33",
        "relu; group_norm 2": "80x60x50",
        "group_norm 1": "3x150x170",
        "group_norm 3; relu": "3x150x170",
    }.items():
        graph = network(body, dims)
        assert worst_error(graph, "x86-64-v3") <= BOUND, body
        (calls,) = [s.calls for n, s in api.program(graph).selections.items() if "norm" in s.calls[-1].kernel.name]
        assert len(calls) == 3
        assert all(c.kernel.units > 1 for c in calls[::2])


@pytest.mark.parametrize("body", ["group_norm {g}", "relu; group_norm {g}"])
@pytest.mark.parametrize(("dims", "groups"), [("48x40x41", 3), ("20x31x29", 4), ("8x128x200", 8)])
def test_data_far_from_zero(body: str, dims: str, groups: int) -> None:
    """The mean is a thousand times the deviation: it must be known to the last digit."""
    graph = network(body.format(g=groups), dims)
    image = (1000 + RNG.standard_normal((1, *map(int, dims.split("x"))))).astype(np.float32)
    (wanted,) = reference.run(graph, [image.astype(np.float64)]).values()
    assert relative_error(api.build(graph, Options(threads=2)).model()(image), wanted) <= BOUND


def test_on_this_machine() -> None:
    body = "relu; save x; group_norm 4 relu; group_norm 1; add { | from x }; group_norm 20 noaffine gelu"
    assert worst_error(network(body, "20x40x50"), "host", batch=2) <= BOUND


def test_equal_values() -> None:
    """No deviation, of which rounding must not make a negative one."""
    graph = network("relu; group_norm 2 eps 1e-12 noaffine", "32x30x40")
    image = np.full((1, 32, 30, 40), 1.1, np.float32)
    assert np.isfinite(api.build(graph).model()(image)).all()


def test_it_stays_in_blocks() -> None:
    """Between convolutions nothing is moved, and the sum behind it is its own."""
    found = kernels_of(network("conv 3x3 40; save x; conv 3x3 40; group_norm 8; add { | from x } relu; conv 3x3 8"))
    assert [k.family for k in found].count("relayout") == 1, "the output"
    assert not any(k.family == "elementwise" for k in found)


@pytest.mark.parametrize("target", ["x86-64-v4", "aarch64", "wasm32"])
def test_other_targets_have_code(target: str) -> None:
    body = "relu; group_norm 1 gelu; group_norm 5; group_norm 20; permute 20x9x13 axes 1,0,2 to 9x20x13; group_norm 9"
    compile_for(network(body), target)
    compile_for(network("relu; group_norm 4 relu", "64x57x33"), target)
