"""Which types ops take and give: rules for the numbers of a tensor, beside those for its shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from cnncc.base.elements import FLOAT32, HALVES, Element
from cnncc.ir.rules import Attrs, Shape, ShapeError
from cnncc.ir.types import TensorType

Types = tuple[TensorType, ...]
TypeRule = Callable[[Types, Attrs, Shape], TensorType]
"""The type of a result, in plain layout, by the types of the inputs and the attributes; the shape is known already.
ShapeError for inputs that the op does not take."""
ElementRule = Callable[[Attrs], Mapping[str, Element]]
"""The elements of the slots whose constants are not float32."""


def float32_only(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """All inputs and the result are float32: the rule of an op that has no meaning for integers."""
    for position, given in enumerate(types):
        if not given.is_float:
            which = "" if len(types) == 1 else f" as input {position + 1}"
            raise ShapeError(f"takes float32, got {given.numbers}{which}", f"{to_float32(given)} makes float32 of it")
    return TensorType(shape)


def floats(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """All inputs and the result are float32, or all are halves of one type: the rule of an op that computes in float32
    and may round its result."""
    first = types[0].element
    if first in HALVES and all(given.element == first for given in types):
        return TensorType(shape, element=first)
    return float32_only(types, attrs, shape)


def floats_to_float32(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """The first input is float32 or of halves; all others and the result are float32: the rule of an op whose results
    are few."""
    first = replace(types[0], element=FLOAT32) if types[0].element in HALVES else types[0]
    return float32_only((first, *types[1:]), attrs, shape)


def floats_or_bytes(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """float32, halves or bytes with a scale, which the result has too: the rule of a function that only bounds its
    argument."""
    given = types[0]
    if given.quantization is None or given.element.bits != 8:
        return floats(types, attrs, shape)
    return same_numbers(types, attrs, shape)


def to_float32(given: TensorType) -> str:
    """The op that makes float32 of a value, for hints."""
    return "`cast float32`" if given.quantization is None else "`dequantize`"


ON_HALVES: tuple[TypeRule, ...] = (floats, floats_to_float32, floats_or_bytes)
"""The rules of ops that compute on halves."""


def same_numbers(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """The result has the numbers of the inputs, of whatever element: the rule of an op that only moves them. Several
    inputs must agree in element and scale."""
    first, *others = types
    for given in others:
        if given.numbers != first.numbers:
            raise ShapeError(
                f"inputs of {first.numbers} and {given.numbers}: they must have one type and one scale",
                "`dequantize` and `quantize` give an input another scale",
            )
    return replace(first, shape=shape, block=1)


def no_elements(attrs: Attrs) -> Mapping[str, Element]:
    """The `elements` rule of an op whose constants are float32."""
    return {}
