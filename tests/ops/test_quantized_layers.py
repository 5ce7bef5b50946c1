"""Layers on bytes against the page docs/int8.md, number by number; types and what refuses them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from cnncc import lang, weights
from cnncc.base.errors import CnnccError
from cnncc.ops import reference

F32 = np.float32
HEAD = "net t\ninput 3x4x5\nquantize uint8 0.02 100\n"
X = np.random.default_rng(3).normal(0, 1, (1, 3, 4, 5)).astype(F32)


def run(body: str) -> dict[str, np.ndarray]:
    return reference.run(weights.bind(lang.parse(HEAD + body), seed=1), [X], keep_all=True)


def rounded(value: F32, zero: int, low: int, high: int) -> int:
    return min(high, max(low, round(float(value)) + zero))


def test_a_sum_is_two_products_a_sum_and_a_rounding() -> None:
    found = run("save a\nb: qconv 1x1 3 to int8 scale 0.05 zero -7\nc: qadd { | from a } to uint8 scale 0.03 zero 40\n")
    b, a, c = found["b"].ravel(), found["0"].ravel(), found["c"].ravel()
    sb, sa = F32(0.05) / F32(0.03), F32(0.02) / F32(0.03)
    for q, r, y in zip(b.tolist(), a.tolist(), c.tolist(), strict=True):
        assert y == rounded(F32(F32(F32(q + 7) * sb) + F32(F32(r - 100) * sa)), 40, 0, 255)


def test_a_mean_is_a_sum_and_one_product() -> None:
    found = run("m: qgap to int8 scale 0.004 zero 3\n")
    for plane, y in zip(found["0"][0], found["m"].ravel().tolist(), strict=True):
        factor = F32(F32(0.02) / F32(F32(20) * F32(0.004)))
        assert y == rounded(F32(F32(int(plane.astype(int).sum()) - 2000) * factor), 3, -128, 127)


def test_a_factor_is_rounded_with_the_scales_first() -> None:
    found = run("save x\nconst f 3x1x1\nfrom x\nm: qmul { | from f } to uint8 scale 0.07 zero 90\n")
    for plane, f, made in zip(found["0"][0], found["f"].ravel(), found["m"][0], strict=True):
        step = F32(F32(f) * F32(F32(0.02) / F32(0.07)))
        wanted = [rounded(F32(F32(q - 100) * step), 90, 0, 255) for q in plane.ravel().tolist()]
        assert made.ravel().tolist() == wanted


def test_a_layer_rounds_once_after_what_it_adds() -> None:
    text = "save r\nc: qconv { | from r } 1x1 3 to uint8 scale 0.03 zero 40\nd: relu\n"
    graph = weights.bind(lang.parse(HEAD + text), seed=1)
    found = reference.run(graph, [X], keep_all=True)
    weight, bias, scale = (graph.constants[f"c.{slot}"].value for slot in ("weight", "bias", "weight_scale"))
    x = found["0"][0].astype(int)
    for o in range(3):
        step = F32(F32(F32(0.02) * scale[o]) / F32(0.03))
        sums = bias[o] + ((x - 100) * weight[o].astype(int)).sum(0)
        for at, total in np.ndenumerate(sums):
            value = F32(F32(F32(total) * step) + F32(F32(x[o][at] - 100) * F32(F32(0.02) / F32(0.03))))
            assert found["c"][0, o][at] == rounded(value, 40, 0, 255)
            assert found["d"][0, o][at] == max(found["c"][0, o][at], 40)


def test_bounds_of_bytes_are_rounded_numbers() -> None:
    found = run("r: relu6\ns: clip low -0.31 high 0.77\n")
    step = Fraction(float(F32(0.02)))
    high = min(255, 100 + round(Fraction(6) / step))
    assert found["r"].tolist() == np.clip(found["0"], 100, high).tolist()
    low, high = (100 + round(float(F32(F32(v) / F32(0.02)))) for v in (-0.31, 0.77))
    assert found["s"].tolist() == np.clip(found["r"], low, high).tolist()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("dequantize\nqconv 1x1 3\n", "takes bytes with a scale, got float32"),
        ("qconv 1x1 3 to int32 scale 0.1\n", "uint8 or int8, not to int32"),
        ("qconv 1x1 3 scale 0.1\n", "float32 has no scale and no zero"),
        ("qconv 1x1 3 to uint8 scale 0.1 zero 300\n", "zero 300"),
        ("save x\nqconv { | from x } 1x1 3\n", "added to results of bytes only"),
        ("save x\nqadd { | from x }\n", "gives bytes"),
        ("save x\nqadd { | from x } to uint8 scale 1e-30\n", "is too small beside those of the arguments"),
        ("qgap to uint8 scale 1e-30\n", "is too small beside those of the arguments"),
        ("save x\nqconv { | from x } 1x1 3 to uint8 scale 1e-30\n", "is too small beside those of the arguments"),
        ("qmul { | qgap to uint8 scale 0.1 } to uint8 scale 0.1\n", "takes float32 as input 2"),
        ("silu\n", "takes float32, got uint8 scale 0.02 zero 100"),
        ("save x\nqadd { | qconv 1x1 4 to uint8 scale 0.1 } to uint8 scale 0.1\n", "arms differ"),
    ],
)
def test_what_does_not_fit_is_refused_in_place(body: str, told: str) -> None:
    with pytest.raises(CnnccError) as error:
        lang.parse(HEAD + body)
    assert told in error.value.message
    assert error.value.span is not None
