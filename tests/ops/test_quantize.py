"""cast, quantize and dequantize: number by number, by the definition; types and what refuses them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnncc import lang, ops, weights
from cnncc.base.elements import ELEMENTS, INT8, INT32, UINT8
from cnncc.base.errors import CnnccError
from cnncc.ir import Quantization, TensorType
from cnncc.ops import reference
from cnncc.ops.quantize import converted, dequantized, quantized, stored_number

F32 = np.float32
SCALES = [0.02, 1 / 3, 1.0, 0.007874016, 1e-30, 2.5e37, 1e-45]
EDGES = [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 1e38, -1e38, math.inf, -math.inf, math.nan, 1e-45, 127.5, 255.49]


def kind(element, scale, zero) -> TensorType:
    return TensorType((1, 1), element=element, quantization=Quantization(float(F32(scale)), zero))


def one(x: float, scale: float, zero: int, low: int, high: int) -> int:
    """The definition for one number, with Python's own rounding, which is to even."""
    with np.errstate(all="ignore"):
        steps = float(F32(x) / F32(scale))
    if math.isnan(steps):
        return zero
    if math.isinf(steps):
        return high if steps > 0 else low
    return min(high, max(low, round(steps) + zero))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("element", "zero"), [(UINT8, 0), (UINT8, 128), (UINT8, 255), (INT8, 0), (INT8, -128), (INT8, 5)]
)
def test_quantize_is_the_definition(element, zero, scale) -> None:
    rng = np.random.default_rng(0)
    halves = (np.arange(-300, 300) + 0.5) * float(F32(scale))
    with np.errstate(over="ignore"):
        values = np.concatenate([EDGES, halves, rng.standard_normal(500) * 100 * float(F32(scale))]).astype(F32)
    with np.errstate(all="raise"):
        found = quantized(values, kind(element, scale, zero))
    assert found.dtype == element.dtype
    assert found.tolist() == [one(x, scale, zero, element.least, element.most) for x in values.tolist()]


@pytest.mark.parametrize("scale", SCALES)
def test_dequantize_is_the_definition(scale) -> None:
    for element, zero in ((UINT8, 3), (INT8, -7)):
        every = np.arange(element.least, element.most + 1).astype(element.dtype)
        found = dequantized(every, kind(element, scale, zero))
        with np.errstate(all="ignore"):
            assert found.tobytes() == np.array([F32(q - zero) * F32(scale) for q in every.tolist()], F32).tobytes()


def test_a_number_survives_the_way_there_and_back() -> None:
    every = np.arange(256).astype(np.uint8)
    for scale in SCALES[:4]:
        assert (quantized(dequantized(every, kind(UINT8, scale, 77)), kind(UINT8, scale, 77)) == every).all()


@pytest.mark.parametrize("target", ["uint8", "int8", "int32"])
def test_a_cast_cuts_off_and_stays_within_the_type(target) -> None:
    element = ELEMENTS[target]
    values = np.array([*EDGES, -1.9, 1.9, 254.9, 2147483647.0, -2147483648.0, 2147483520.0, 3e9, -3e9], F32)
    wanted = [
        0 if math.isnan(x) else int(min(element.most, max(element.least, math.trunc(x) if math.isfinite(x) else x)))
        for x in values.tolist()
    ]
    assert converted(values, ELEMENTS["float32"], element).tolist() == wanted


def test_casts_between_integers_stay_within_the_type() -> None:
    values = np.array([-(2**31), -129, -1, 0, 128, 255, 256, 2**31 - 1], np.int32)
    assert converted(values, INT32, UINT8).tolist() == [0, 0, 0, 0, 128, 255, 255, 255]
    assert converted(values, INT32, INT8).tolist() == [-128, -128, -1, 0, 127, 127, 127, 127]
    assert converted(np.array([200], np.uint8), UINT8, INT8).tolist() == [127]


def test_casts_to_halves_are_given_as_their_values() -> None:
    values = np.array([1 / 3, 65520.0, 16777217.0], F32)
    assert converted(values, ELEMENTS["float32"], ELEMENTS["float16"]).tolist() == [
        float(np.float16(1 / 3)),
        np.inf,
        np.inf,
    ]
    assert converted(np.array([16777217], np.int32), INT32, ELEMENTS["float32"]).tolist() == [16777216.0]


def graph(body: str, dims: str = "3x4x4"):
    return lang.parse(f"net t\ninput {dims}\n{body}\n")


def test_types_follow() -> None:
    g = graph("quantize uint8 0.02 128\nmaxpool 2x2\npad 1\nslice 0:2\nflatten\ndequantize")
    step = Quantization(float(F32(0.02)), 128)
    assert [n.type.element.name for n in g.nodes] == ["float32", *["uint8"] * 5, "float32"]
    assert {n.type.quantization for n in g.nodes[1:-1]} == {step}


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("quantize uint8 0.1\nconv 3x3 4", "conv: takes float32, got uint8 scale 0.1 zero 0", "`dequantize`"),
        ("cast int32\nrelu", "relu: takes float32, got int32", "`cast float32`"),
        ("cast uint8\nquantize uint8 0.1", "quantize: takes float32, got uint8", "`cast float32`"),
        ("quantize int32 0.1", "quantises to uint8 or int8, not to int32", ""),
        ("quantize uint8 0", "scale 0: must be finite and above 0", ""),
        ("quantize uint8 1e99", "scale inf: must be finite and above 0", ""),
        ("quantize int8 1 200", "zero 200: of int8 it must be -128 .. 127", ""),
        ("quantize uint9 1", "quantize: no element type 'uint9'", "uint8"),
        ("cast", "cast: expected an element type such as uint8", ""),
        ("quantize 0.1", "quantize: expected an element type such as uint8, got '0.1'", ""),
        ("dequantize", "takes integers with a scale, got float32", "`quantize`"),
        ("cast uint8\ndequantize", "takes integers with a scale, got uint8", "`cast float32`"),
        ("quantize uint8 1\ncast float32", "takes numbers without a scale, got uint8 scale 1.0 zero 0", "`dequantize`"),
        ("cast uint8\npad 1 value -1", "uint8 does not have -1", "0 .. 255"),
        ("quantize uint8 1\nupsample 2 bilinear", "upsample: takes float32", "`dequantize`"),
        (
            "concat { quantize uint8 1 | quantize uint8 2 }",
            "inputs of uint8 scale 1.0 zero 0 and uint8 scale 2.0 zero 0: they must have one type and one scale",
            "another scale",
        ),
    ],
)
def test_what_is_refused(body, message, hint) -> None:
    with pytest.raises(CnnccError) as error:
        graph(body)
    assert message in str(error.value)
    assert hint in str(error.value)


def test_what_a_pad_puts_around_quantised_numbers() -> None:
    """The number that stands for the value, not the value itself."""
    g = graph("quantize int8 0.5 3\npad 1 value -2", "1x1x1")
    values = reference.run(g, [np.full((1, 1, 1, 1), 4.0, F32)])
    (result,) = values.values()
    assert result.dtype == np.int8
    assert result[0, 0].tolist() == [[-1, -1, -1], [-1, 11, -1], [-1, -1, -1]]
    assert stored_number(-2.0, g.nodes[-1].type) == -1


def test_padding_never_wins_a_maximum() -> None:
    g = graph("cast int8\nmaxpool 3x3 pad 1", "1x2x2")
    (result,) = reference.run(g, [np.full((1, 1, 2, 2), -100.0, F32)]).values()
    assert (result == -100).all()


def test_the_reference_keeps_integers_in_float64() -> None:
    g = graph("quantize uint8 0.1 7\ndequantize")
    values = reference.run(g, [np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(F32)], keep_all=True)
    assert [v.dtype.name for v in values.values()] == ["float64", "uint8", "float64"]


def test_integers_of_a_module_are_followed() -> None:
    """What comes after them is computed from the module's, and they themselves from what the module had before."""
    g = graph("relu\nquantize uint8 1\ndequantize", "1x1x1")
    _, relu, steps, back = (n.name for n in g.nodes)
    got = {relu: np.full((1, 1, 1, 1), 2.5000002, F32), steps: np.full((1, 1, 1, 1), 9, np.uint8)}
    found = reference.run(g, [np.full((1, 1, 1, 1), 2.5, F32)], keep_all=True, follow=got)
    assert [float(found[name].item()) for name in (relu, steps, back)] == [2.5, 3, 9]


def test_learned_integers() -> None:
    g = weights.bind(
        lang.parse("net t\ninput 4x2x2 \nx: cast int8\nc: const 4x2x2 int8\nconcat { from x | from c }\ncast float32")
    )
    constant = g.constants["c.value"]
    assert constant.element == INT8
    assert constant.value.dtype == np.int8
    assert len(set(constant.value.ravel().tolist())) > 4
    result = reference.run(g, [np.zeros((1, 4, 2, 2), F32)])
    assert (next(iter(result.values()))[0, 4:] == constant.value[0]).all()
    ops.verify(g)
