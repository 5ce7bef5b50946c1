"""Merges that are no sum: quotients, powers, remainders, comparisons, choices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from kernels.compare import network, worst_error

from cnncc import api, lang, weights
from cnncc.options import Options

SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 1e38, -1e38, 0.5, -0.5, 2.0, 3.0, -3.0, 100.0, 1e15)
FUNCTIONS = {
    "div": np.divide, "pow": np.power, "mod": np.mod, "fmod": np.fmod,
    "greater": np.greater, "greater_equal": np.greater_equal, "equal": np.equal,
}  # fmt: skip


def run(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    text = f"net t\ninput a {a.size}\nsave x\ninput b {b.size}\nsave y\n{op} {{ from x | from y }}\n"
    return api.build(weights.bind(lang.parse(text), seed=0), Options(threads=1)).model()(a[None], b[None])[0]


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Every special number with every other, real and whole ones of both signs."""
    rng = np.random.default_rng(0)
    a, b = map(list, zip(*product(SPECIAL, SPECIAL), strict=True))
    a += [
        *rng.uniform(-9, 9, 200),
        *rng.integers(-30, 30, 200),
        *rng.integers(-(2**24), 2**24, 200),
        *rng.uniform(0, 3, 99),
    ]
    b += [
        *rng.uniform(-9, 9, 200),
        *rng.integers(-9, 9, 200),
        *rng.integers(-(2**12), 2**12, 200),
        *rng.uniform(-90, 90, 99),
    ]
    return np.array(a, np.float32), np.array(b, np.float32)


@pytest.mark.parametrize("op", FUNCTIONS)
def test_of_any_two_numbers(op: str) -> None:
    """As IEEE 754 and NumPy have it: remainders and comparisons exactly, powers within a share of themselves."""
    a, b = pairs()
    with np.errstate(all="ignore"):
        wanted = FUNCTIONS[op](a, b).astype(np.float32)
    got = run(op, a, b)
    if op == "pow":
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-44)
    else:
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("digits", [1, 2**12, 2**23])
def test_quotients_of_whole_numbers_are_never_one_off(digits: int) -> None:
    """Below 2^24 what is in front of the point of a rounded quotient is that of the exact one."""
    rng = np.random.default_rng(1)
    b = rng.integers(1, digits + 1, 4000)
    a = np.minimum(rng.integers(1, 2**24 // b + 1, 4000) * b - rng.integers(0, 2, 4000), 2**24 - 1)
    got = np.trunc(run("div", a.astype(np.float32), b.astype(np.float32)))
    np.testing.assert_array_equal(got, a // b)


def test_where_chooses() -> None:
    """Whatever the other value is."""
    text = "net t\ninput m 5\nsave k\ninput a 5\nsave x\ninput b 5\nsave y\nwhere { from k | from x | from y }\n"
    model = api.build(weights.bind(lang.parse(text), seed=0), Options(threads=1)).model()
    mask = np.array([[1, 0, -2, np.nan, 0]], np.float32)
    a, b = np.array([[1, np.nan, 3, 4, np.inf]], np.float32), np.array([[np.nan, 2, np.inf, 5, 6]], np.float32)
    assert model(mask, a, b).tolist() == [[1, 2, 3, 4, 6]]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [7, 8, 9, 15, 16, 17, 31])
def test_in_networks(channels: int, batch: int) -> None:
    """Of sizes around the blocks, with arms of one value a channel, before convolutions and after them."""
    body = (
        "save x; sigmoid; affine shift 0.1; save p; div { from x | from p }; conv 1x1 9 sigmoid; save q; "
        "pow { from q | const 9x1x1 } relu; conv 3x3 9 sigmoid; pow { | gap; sigmoid }; save r; "
        "where { const 9x1x1 | from r | from q } exp; fc 5"
    )
    assert worst_error(network(body, f"{channels}x4x5"), batch=batch) <= 1e-4
