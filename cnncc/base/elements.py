"""Element types: what one number of a tensor is, in memory, in NumPy, in C and in TVM. The one table of them.

bfloat16 exists neither in NumPy nor in TVM's code generator: its numbers are stored and handed over as 16-bit unsigned
integers, their bits. NumPy is loaded by what needs it, since the command line reads the table too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, repr=False)
class Element:
    """The type of the numbers of a tensor."""

    name: str
    short: str
    """In the names of kernels."""
    bits: int
    numpy: str
    """NumPy's name of the stored numbers, as in an array's interface."""
    c: str
    """C's type of the stored numbers."""
    tir: str
    """TVM's type of the stored numbers."""
    whole: bool
    """Whether its numbers are integers."""
    least: float
    most: float
    """The least and the largest finite number; of integers an int."""

    @property
    def itemsize(self) -> int:
        """Bytes of a number in memory."""
        return self.bits // 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the stored numbers."""
        import numpy as np

        return np.dtype(self.numpy)

    def bytes(self, count: int) -> int:
        """Bytes of so many numbers."""
        return self.itemsize * count

    def holds(self, value: float) -> bool:
        """Whether an integer type has the number."""
        return self.whole and self.least <= value <= self.most and value == int(value)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{self.name}>"


FLOAT32 = Element(
    "float32", "f32", 32, "<f4", "float", "float32", False, -(2 - 2.0**-23) * 2.0**127, (2 - 2.0**-23) * 2.0**127
)
UINT8 = Element("uint8", "u8", 8, "|u1", "uint8_t", "uint8", True, 0, 255)
INT8 = Element("int8", "i8", 8, "|i1", "int8_t", "int8", True, -128, 127)
INT32 = Element("int32", "i32", 32, "<i4", "int32_t", "int32", True, -(2**31), 2**31 - 1)
BFLOAT16 = Element(
    "bfloat16", "bf16", 16, "<u2", "uint16_t", "uint16", False, -(2 - 2.0**-7) * 2.0**127, (2 - 2.0**-7) * 2.0**127
)
FLOAT16 = Element("float16", "f16", 16, "<f2", "uint16_t", "float16", False, -65504.0, 65504.0)
TF32 = Element(
    "tf32", "tf32", 32, "<f4", "float", "float32", False, -(2 - 2.0**-10) * 2.0**127, (2 - 2.0**-10) * 2.0**127
)
"""float32 with 11 bits of a number instead of 24, of operands on tensor cores alone: no tensor has it."""
HALVES = (FLOAT16, BFLOAT16)
"""Numbers of 16 bits that ops compute on: in float32, with their results rounded."""
BYTES = (UINT8, INT8)
"""Integers of 8 bits, which layers of quantised networks compute on."""
ELEMENTS: Mapping[str, Element] = {e.name: e for e in (FLOAT32, UINT8, INT8, INT32, BFLOAT16, FLOAT16)}
"""Every element type of a tensor by name."""


def encode(array: npt.NDArray[Any], element: Element) -> npt.NDArray[Any]:
    """float32 numbers as a floating-point type is stored. Each is rounded to the nearest number, ties to even, but of
    tf32 away from zero, as GPUs do."""
    import numpy as np

    assert not element.whole, element
    if element == TF32:
        bits = (np.ascontiguousarray(array, np.float32).view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
        return np.where(np.isfinite(array), bits.view(np.float32), array).astype(np.float32)
    if element != BFLOAT16:
        with np.errstate(over="ignore"):
            return array.astype(element.dtype)
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    upper = bits >> 16
    rounded = (bits + (np.uint32(0x7FFF) + (upper & 1))) >> 16
    # Rounding could turn a NaN into infinity or zero. It keeps its upper half instead, as a quiet NaN.
    return np.where(np.isnan(array), upper | 0x40, rounded).astype(element.dtype)


def decode(stored: npt.NDArray[Any], element: Element) -> npt.NDArray[Any]:
    """The stored numbers as float32. Only of int32 some are rounded."""
    import numpy as np

    if element != BFLOAT16:
        return stored.astype(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)


def drawn(rng: np.random.Generator, shape: tuple[int, ...], element: Element) -> npt.NDArray[Any]:
    """Random numbers of a type, as they are stored: standard normal; of integers all those of 8 bits, or some hundred
    of either sign."""
    import numpy as np

    if element.whole:
        low, high = (element.least, element.most) if element.bits == 8 else (-999, 999)
        return rng.integers(int(low), int(high), shape, endpoint=True).astype(element.dtype)
    values = rng.standard_normal(shape, dtype=np.float32)
    return values if element == FLOAT32 else encode(values, element)
