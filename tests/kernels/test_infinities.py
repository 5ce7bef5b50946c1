"""Infinities, NaN, numbers at the ends of the range, and what fills up blocks of channels, through kernels."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import network, worst_error

from cnncc import api
from cnncc.ir import Graph, Node, TensorType
from cnncc.ops import ACTIVATIONS, complete, reference
from cnncc.options import Options

SPECIAL = (0.0, -0.0, 1e-40, -1e-40, 1e-30, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38)
TURNS = (88.7, 88.72, 89.0, -86.0, -87.0, -104.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1.0, -1.0, 20.0, -20.0, 1e5, -3e7)
ATTRIBUTES = {"power": {"exponent": 2.2}, "clip": {"low": -1.0, "high": 2.0}, "shrink": {"shift": 0.5, "edge": 1.5}}
LEAST = 1e-37
"""Below it results may be 0: exp does not reach into the numbers below the normal range."""


def run(graph: Graph, *arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the kernels give, and the reference in float64 as a float32."""
    with np.errstate(all="ignore"):
        (wanted,) = reference.run(graph, [a.astype(np.float64) for a in arrays]).values()
        return api.build(graph, Options(threads=1)).model()(*arrays), wanted.astype(np.float32)


def agrees(got: np.ndarray, wanted: np.ndarray, share: float = 3e-6) -> None:
    """Equal infinities and NaN, and finite values within a share of themselves (or of 1, where they are smaller)."""
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    infinite = np.isinf(wanted)
    np.testing.assert_array_equal(got[infinite], wanted[infinite])
    finite = np.isfinite(wanted)
    assert (np.abs(got - wanted)[finite] <= share * np.maximum(np.abs(wanted[finite]), 1)).all()


def numbers(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    plain = [*SPECIAL, *TURNS, *rng.uniform(-1, 1, 60), *rng.uniform(-12, 12, 60), *rng.uniform(-9e3, 9e3, 30)]
    return np.resize(np.array(plain, np.float32), (1, count))


@pytest.mark.parametrize("op", sorted(ACTIVATIONS))
def test_an_activation_of_any_number(op: str) -> None:
    x = numbers(len(SPECIAL) + len(TURNS) + 151)
    node = Node("y", op, ("x",), TensorType(x.shape), complete(op, ATTRIBUTES.get(op, {})))
    graph = Graph(
        "t", (Node("x", "input", (), TensorType(x.shape), complete("input", {"dims": x.shape[1:]})), node), ("y",)
    )
    agrees(*run(graph, x))


@pytest.mark.parametrize("exponent", [-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 31.0, 2.2, 1e9])
def test_a_power_of_any_number(exponent: float) -> None:
    agrees(*run(network(f"power {exponent}", "190"), numbers(190)))


def test_the_ends_of_exp() -> None:
    got, _ = run(network("exp", "6"), np.array([[-np.inf, -200, 0, 88.7, 88.73, np.inf]], np.float32))
    assert got[0, [0, 1, 2, 4, 5]].tolist() == [0, 0, 1, np.inf, np.inf]
    assert abs(got[0, 3] / np.exp(np.float64(np.float32(88.7))) - 1) < 1e-6


@pytest.mark.parametrize("op", ["sin", "cos", "tan"])
def test_periods_are_taken_off_exactly(op: str) -> None:
    """Up to 2^27, with the arguments that are nearest to a multiple of pi / 2 among them; NaN from there on."""
    turns = np.arange(1, 4000) * 20023 * (np.pi / 2)
    x = np.concatenate([turns[turns < 2**27], [2**27, -(2**27), 1e30]]).astype(np.float32)[None]
    got, wanted = run(network(op, str(x.size)), x)
    assert np.isnan(got[0, -3:]).all()
    agrees(got[:, :-3], wanted[:, :-3])


@pytest.mark.parametrize("body", ["maxpool 3x3 /1 pad 1", "maxpool 2x2 /2", "gmp", "maxpool 2x2 dil 2"])
@pytest.mark.parametrize("channels", [3, 8, 17])
def test_a_maximum_over_nothing_but_minus_infinity(body: str, channels: int) -> None:
    image = np.full((1, channels, 6, 6), -np.inf, np.float32)
    image[0, -1, 3, 3] = 2
    agrees(*run(network(f"identity; {body}", f"{channels}x6x6"), image))


@pytest.mark.parametrize("dims", ["21", "7x3x3", "16x2x2"])
def test_softmax_of_rows_with_minus_infinity(dims: str) -> None:
    """A masked place is exactly 0; a row of nothing else is NaN, as exp(-inf + inf) is."""
    shape = tuple(map(int, dims.split("x")))
    x = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    x[:, ::3] = -np.inf
    if len(shape) == 3:
        x[:, :, 1, 1] = -np.inf
        x[:, 1, 0, 0] = np.inf
    got, wanted = run(network("softmax", dims), x)
    agrees(got, wanted)
    assert (got[np.isneginf(x) & ~np.isnan(wanted)] == 0).all()


BEFORE = {
    "log": "relu6; log",
    "reciprocal": "relu6; reciprocal",
    "sqrt of what is negative at 0": "affine shift -0.4; sqrt",
    "acosh": "affine shift 1; affine scale 1; acosh",
    "division": "div { relu | relu6 }",
    "power": "power -1.5",
    "conv and log": "conv 1x1 6; sigmoid; affine shift -0.001; log",
}


@pytest.mark.parametrize(
    "reader", ["conv 1x1 12", "conv 3x3 20", "dwconv 3x3; fc 12", "upconv 2x2 5 /2", "avgpool 2x2; fc 3"]
)
@pytest.mark.parametrize("name", BEFORE)
def test_what_fills_up_a_block_is_never_infinite(name: str, reader: str) -> None:
    """Zeros beside 6 channels would become -inf or NaN, and a convolution multiplies them by weights of 0."""
    graph = network(f"{BEFORE[name]}; {reader}", "6x5x5")
    image = np.random.default_rng(0).uniform(0.5, 2, (1, 6, 5, 5)).astype(np.float32)
    agrees(*run(graph, image), share=2e-5)


@pytest.mark.parametrize("channels", [7, 8, 9, 15, 16, 17, 31, 32, 33])
def test_functions_on_sizes_around_the_blocks(channels: int) -> None:
    body = "sin; cosh; atan; asinh; conv 1x1 9; cos; tan; shrink shift 0.1 edge 0.2; power 2; sinh; tanh; asin; tanh"
    body += "; acos; tanh; atanh; exp; acosh"
    assert worst_error(network(body, f"{channels}x3x5")) <= 2e-5


@pytest.mark.parametrize("words", ["", " smallest", " last", " smallest last", " indices", " smallest last indices"])
@pytest.mark.parametrize("k", [1, 4, 7])
def test_topk_puts_nan_after_every_number(words: str, k: int) -> None:
    rng = np.random.default_rng(k)
    x = rng.integers(-2, 3, (1, 7, 5, 6)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[0, :, 0, 0] = np.nan
    got, wanted = run(network(f"topk {k}{words}", "7x5x6"), x)
    np.testing.assert_array_equal(got, wanted)
