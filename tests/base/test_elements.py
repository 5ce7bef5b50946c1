"""The table of element types."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.base import elements
from cnncc.base.elements import BFLOAT16, ELEMENTS, FLOAT16, FLOAT32, INT8, INT32, UINT8, decode, drawn, encode
from cnncc.options import DTYPES, WEIGHTS_DTYPES


@pytest.mark.parametrize("element", ELEMENTS.values(), ids=str)
def test_numpy_agrees(element: elements.Element) -> None:
    """Sizes and bounds are those of NumPy, or of the definition where NumPy has no such type."""
    assert element.dtype.itemsize == element.itemsize == element.bits // 8
    assert element.bytes(3) == np.zeros(3, element.dtype).nbytes
    assert (element.dtype.kind in "iu") == (element.whole or element == BFLOAT16)
    if element.whole:
        assert (element.least, element.most) == (np.iinfo(element.name).min, np.iinfo(element.name).max)
    elif element != BFLOAT16:
        assert (element.least, element.most) == (np.finfo(element.name).min, np.finfo(element.name).max)


def test_the_largest_bfloat16() -> None:
    largest = np.array([0x7F7F, 0xFF7F], np.uint16)
    assert decode(largest, BFLOAT16).tolist() == [BFLOAT16.most, BFLOAT16.least]
    assert not np.isfinite(decode(largest + np.uint16(1), BFLOAT16)).any()


def test_what_an_integer_type_holds() -> None:
    assert [UINT8.holds(v) for v in (0, 255, -1, 256, 0.5, -0.0)] == [True, True, False, False, False, True]
    assert INT8.holds(-128)
    assert not FLOAT32.holds(1.0)


def test_names() -> None:
    assert ELEMENTS["int8"] is INT8
    assert {str(e) for e in ELEMENTS.values()} >= {*DTYPES, *WEIGHTS_DTYPES} - {"tf32", "tf32x3"}  # no tensor has these
    assert len({e.short for e in ELEMENTS.values()}) == len(ELEMENTS)


def test_beyond_float16_is_infinity() -> None:
    with np.errstate(all="raise"):
        assert encode(np.array([65519.0, 65520.0, -1e9], np.float32), FLOAT16).tolist() == [65504.0, np.inf, -np.inf]


@pytest.mark.parametrize("element", ELEMENTS.values(), ids=str)
def test_random_numbers_are_of_the_type(element: elements.Element) -> None:
    values = drawn(np.random.default_rng(0), (50, 40), element)
    assert (values.dtype, values.shape) == (element.dtype, (50, 40))
    spread = decode(values, element)
    assert spread.min() < (0 if element != UINT8 else 9)
    assert np.unique(spread).size > 100
    if element.bits == 8:
        assert (spread.min(), spread.max()) == (element.least, element.most)
    assert element != INT32 or abs(spread).max() < 1000
