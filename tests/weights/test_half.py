"""Rounding weights to half precision."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc import lang, weights
from cnncc.base.elements import ELEMENTS, decode, encode
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant
from cnncc.ops import reference
from cnncc.options import WEIGHTS_DTYPES
from cnncc.weights import half

F32 = np.float32
HALVES = WEIGHTS_DTYPES[1:]


def round_trip(values, dtype: str) -> np.ndarray:
    return decode(encode(np.asarray(values, F32), ELEMENTS[dtype]), ELEMENTS[dtype])


def test_the_command_line_offers_all_of_them():
    assert set(WEIGHTS_DTYPES) == {name for name, element in ELEMENTS.items() if not element.whole}


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_rounds_to_the_nearest_and_halfway_to_even(dtype, bits):
    step = 2.0 ** (1 - bits)
    given = [1 + step / 2, 1 + 3 * step / 2, 1 + step / 2 + 2**-23, -1 - step / 2 + 2**-23, 1 + step, -0.0]
    wanted = np.array([1, 1 + 2 * step, 1 + step, -1, 1 + step, -0.0], F32)
    assert round_trip(given, dtype).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", HALVES)
def test_random_numbers_move_by_half_a_step_at_most(dtype):
    values = np.random.default_rng(0).standard_normal((50, 40)).astype(F32).T
    rounded = round_trip(values, dtype)
    assert rounded.dtype == F32
    assert encode(values, ELEMENTS[dtype]).dtype == ELEMENTS[dtype].dtype
    np.testing.assert_allclose(rounded, values, rtol={"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype])
    assert (rounded != values).any()
    np.testing.assert_array_equal(round_trip(rounded, dtype), rounded)


def test_bfloat16_agrees_with_every_neighbour():
    """Of the two bfloat16 numbers around a float32, the nearer one; all patterns of the lower half, both signs."""
    bits = np.concatenate([np.arange(0x3F7F0000, 0x3F820000), np.arange(0xBF7F0000, 0xBF820000)]).astype(np.uint32)
    values = bits.view(F32).astype(np.float64)
    down, up = ((((bits >> 16) + n) << 16).astype(np.uint32).view(F32).astype(np.float64) for n in (0, 1))
    rounded = round_trip(bits.view(F32), "bfloat16").astype(np.float64)
    np.testing.assert_array_equal(np.abs(rounded - values), np.minimum(np.abs(down - values), np.abs(up - values)))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("pattern", [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000])
def test_a_nan_stays_one(dtype, pattern):
    assert np.isnan(round_trip(np.array([pattern], np.uint32).view(F32), dtype)).all()


def test_subnormal_numbers_of_float16_are_kept():
    assert round_trip([2.0**-24, -3 * 2.0**-24, 2.0**-26], "float16").tolist() == [2.0**-24, -3 * 2.0**-24, 0]


@pytest.mark.parametrize(
    ("dtype", "fits", "too_large", "shown"),
    [
        ("float16", 65519.99, 65520, "65520"),
        ("bfloat16", 3.3961e38, 3.3962e38, r"3.3962e\+38"),
        ("float16", 6e4, -1e9, r"1e\+09"),
    ],
)
def test_what_would_become_infinite_is_refused(dtype, fits, too_large, shown):
    small, large = (np.array([0, np.nan, v], F32) for v in (fits, too_large))
    half.check_range(small, ELEMENTS[dtype], "fc.weight")
    assert np.isfinite(round_trip(small[2:], dtype)).all()
    with pytest.raises(
        CnnccError,
        match=rf"weight fc.weight does not fit {dtype}: its largest absolute value is {shown}",
    ):
        half.check_range(large, ELEMENTS[dtype], "fc.weight")
    half.check_range(large, ELEMENTS["float32"], "fc.weight")


def test_only_weights_of_layers_are_rounded():
    graph = weights.bind(lang.parse("net t\ninput 3x5x5\nconv 3x3 4 bn relu\nfc 7\n"))
    assert half.rounded(graph, "float32") is graph
    rounded = half.rounded(graph, "bfloat16")
    changed = [n.name for n in graph.nodes if n.weights != rounded[n.name].weights]
    assert [graph[name].op for name in changed] == ["conv", "fc"], "neither batch norms nor activations"
    for name in changed:
        weight = graph.constants[graph[name].weights["weight"]].value
        stored = rounded.constants[rounded[name].weights["weight"]].value
        np.testing.assert_array_equal(stored, round_trip(weight, "bfloat16"))
        others = [slot for slot in graph[name].weights if slot != "weight"]
        assert all(rounded[name].weights[slot] == graph[name].weights[slot] for slot in others)
    assert "bias" in graph[changed[1]].weights
    image = np.ones((1, 3, 5, 5))
    (plain,), (moved,) = (reference.run(g, [image]).values() for g in (graph, rounded))
    assert 0 < np.abs(plain - moved).max() < 0.02 * np.abs(plain).max()


def test_rounding_names_the_weight_that_does_not_fit():
    graph = weights.bind(lang.parse("net t\ninput 4\nfc 3\n"))
    (name,) = (n for n in graph.constants if n.endswith(".weight"))
    huge = graph.rebuild(graph.nodes, constants={name: Constant((3, 4), lambda: np.full((3, 4), -1e6, F32))})
    rounded = half.rounded(huge, "float16")
    with pytest.raises(CnnccError, match=f"weight {name} does not fit float16: its largest absolute value is 1e"):
        rounded.constants[f"{name}.f16"].compute()
