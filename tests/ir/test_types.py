"""Types of tensors: elements, quantization, bytes."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.base.elements import BFLOAT16, FLOAT16, FLOAT32, INT8, INT32, UINT8
from cnncc.ir import Constant, Quantization, TensorType
from cnncc.ir.rules import ShapeError

STEP = float(np.float32(0.02))


def test_float32_is_what_nothing_says() -> None:
    kind = TensorType((1, 3, 8, 8))
    assert (kind.element, kind.quantization, kind.is_float) == (FLOAT32, None, True)
    assert str(kind.with_block(4)) == "1x3x8x8:c4"
    assert kind == TensorType((1, 3, 8, 8), 1, FLOAT32)
    assert hash(kind) != hash(TensorType((1, 3, 8, 8), element=UINT8))


@pytest.mark.parametrize(("element", "size"), [(FLOAT32, 4), (INT32, 4), (FLOAT16, 2), (BFLOAT16, 2), (INT8, 1)])
def test_bytes(element, size) -> None:
    """Of whole blocks, the last one filled up."""
    assert TensorType((2, 5, 3, 3), 4, element).nbytes == 2 * 8 * 9 * size
    assert Constant((5, 3), element=element).nbytes == 15 * size


def test_text() -> None:
    kind = TensorType((1, 5, 3, 3), 4, UINT8, Quantization(STEP, 128))
    assert str(kind) == "1x5x3x3:c4 uint8 scale 0.02 zero 128"
    assert str(TensorType((1, 5), element=INT32)) == "1x5 int32"


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan"), 0.02, 1e-60, 1e60])
def test_a_scale_is_a_positive_float32(scale) -> None:
    with pytest.raises(ShapeError, match="scale"):
        Quantization(scale)


def test_the_smallest_scale() -> None:
    assert str(Quantization(2.0**-149)) == "scale 1e-45 zero 0"


@pytest.mark.parametrize(
    ("element", "zero", "message"),
    [
        (UINT8, 256, "zero 256: of uint8 it must be 0 .. 255"),
        (UINT8, -1, "zero -1: of uint8 it must be 0 .. 255"),
        (INT8, 128, "zero 128: of int8 it must be -128 .. 127"),
        (INT32, 1, "zero 1: of int32 it must be 0"),
        (FLOAT32, 0, "float32 is not quantised"),
    ],
)
def test_a_zero_is_one_of_the_type(element, zero, message) -> None:
    with pytest.raises(ShapeError, match=message):
        TensorType((1, 3), element=element, quantization=Quantization(STEP, zero))


def test_constants_carry_their_element() -> None:
    """`map` keeps that of the first one, unless another is given; the value must have it."""
    whole = Constant((3,), lambda: np.arange(3, dtype=np.int8), INT8)
    assert whole.map((3,), lambda v: -v).element == INT8
    wide = whole.map((3,), lambda v: v.astype(np.float32), element=FLOAT32)
    assert (wide.element, wide.value.dtype) == (FLOAT32, np.float32)
    assert Constant((3,), element=INT8).map((2,), lambda v: v[:2]).element == INT8
    with pytest.raises(AssertionError):
        _ = whole.map((3,), lambda v: v.astype(np.int16)).value
