"""Between element types: cast, quantize and dequantize. What they compute is the same on every machine, bit by bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from cnncc.base.elements import ELEMENTS, FLOAT32, Element, decode, encode
from cnncc.base.errors import nearest
from cnncc.ir import Graph, Node
from cnncc.ir.types import Quantization, TensorType
from cnncc.ops.domains import untried
from cnncc.ops.forms import Form, Syntax
from cnncc.ops.source import is_prepared
from cnncc.ops.table import (
    REQUIRED,
    Array,
    Arrays,
    Attrs,
    Op,
    Shape,
    ShapeError,
    Types,
    Weights,
    no_macs,
    no_weights,
    one_position,
    same_shape,
)
from cnncc.ops.traits import COMPUTED, KEPT, Finite

Numbers = npt.NDArray[Any]


def quantized(x: Numbers, kind: TensorType) -> Numbers:
    """clamp(round(x / scale) + zero), ties to even, all in float32; NaN becomes the zero."""
    known, low, high = kind.quantization, kind.element.least, kind.element.most
    assert known is not None, kind
    with np.errstate(all="ignore"):
        steps = np.rint(x.astype(np.float32) / np.float32(known.scale))
    # The bounds come before the zero: the sum is then exact.
    inside = np.clip(np.where(np.isnan(steps), 0, steps), low - known.zero, high - known.zero)
    return (inside + np.float32(known.zero)).astype(kind.element.dtype)


def dequantized(q: Numbers, kind: TensorType) -> Numbers:
    """(q - zero) * scale: the difference is exact up to 24 bits, the product is rounded to float32."""
    known = kind.quantization
    assert known is not None, kind
    with np.errstate(over="ignore", under="ignore"):
        return (q.astype(np.int64) - known.zero).astype(np.float32) * np.float32(known.scale)


def is_dequantized(node: Node) -> bool:
    """Whether a node makes float32 of numbers with a scale."""
    return node.op == DEQUANTIZE.name


def is_quantized(node: Node) -> bool:
    """Whether a node makes numbers with a scale of float32."""
    return node.op == QUANTIZE.name


def prepares_input(g: Graph, node: Node) -> bool:
    """Whether a node that makes bytes of an input reads it as the caller passes it, and applies its mean and std
    itself: then nobody else reads the input."""
    if not is_quantized(node):
        return False
    return is_prepared(g[node.inputs[0]]) and g.is_private(node.inputs[0])


def is_computed(g: Graph, node: Node) -> bool:
    """Whether an input has a value of its own in memory: neither what the caller passes, nor left to its reader."""
    return is_prepared(node) and not any(prepares_input(g, user) for user in g.users(node.name))


def stored_number(value: float, kind: TensorType) -> float:
    """How a tensor of that type stores a number: quantised, or as it is; halves as their values. ShapeError for what an
    integer type does not have."""
    if kind.quantization is not None:
        return int(quantized(np.array([value]), kind)[0])
    if kind.element.whole and not kind.element.holds(value):
        raise ShapeError(f"{kind.element} does not have {value:g}", f"whole numbers of {_range(kind.element)}")
    if kind.element.whole or kind.is_float:
        return int(value) if kind.element.whole else value
    return float(converted(np.array([value]), FLOAT32, kind.element)[0])


def _range(element: Element) -> str:
    return f"{element.least} .. {element.most}"


def converted(x: Numbers, source: Element, target: Element) -> Numbers:
    """The numbers in another type. Integers of what is not whole: cut off towards 0; of what is too large or too small:
    the largest or smallest of the type; of NaN: 0. Floating point: the nearest number, ties to even. Halves are given
    and taken as their values."""
    if target.whole:
        whole = x if source.whole else np.nan_to_num(np.trunc(x.astype(np.float32)).astype(np.float64), nan=0.0)
        return np.clip(whole.astype(np.float64), target.least, target.most).astype(target.dtype)
    near = x.astype(np.float32)
    return near if target == FLOAT32 else decode(encode(near, target), target)


def cast_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Any numbers without a scale to `to`."""
    if types[0].quantization is not None:
        raise ShapeError(f"takes numbers without a scale, got {types[0].numbers}", "`dequantize` makes float32 of it")
    return TensorType(shape, element=named_element(attrs["to"]))


def quantize_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """float32 to 8 bits with a scale."""
    if not types[0].is_float:
        raise ShapeError(f"takes float32, got {types[0].numbers}", "`dequantize` or `cast float32` makes that of it")
    element = named_element(attrs["element"])
    eight_bits(element)
    return TensorType(shape, element=element, quantization=Quantization(attrs["scale"], attrs["zero"]))


def dequantize_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Integers with a scale to float32."""
    if types[0].quantization is None:
        hint = "`cast float32` takes integers without one" if types[0].element.whole else "`quantize` makes such"
        raise ShapeError(f"takes integers with a scale, got {types[0].numbers}", hint)
    return TensorType(shape)


def eight_bits(element: Element) -> None:
    """ShapeError for all but uint8 and int8."""
    if not (element.whole and element.bits == 8):
        raise ShapeError(f"quantises to uint8 or int8, not to {element}")


def named_element(name: str) -> Element:
    """ShapeError for no element type."""
    if name not in ELEMENTS:
        raise ShapeError(f"no element type {name!r}", nearest(str(name), ELEMENTS))
    return ELEMENTS[name]


def unchanged(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Of a cast from float32 to float32."""
    return xs[0]


def exact_only(xs: Arrays, weights: Weights, attrs: Attrs) -> NoReturn:
    """The `reference` of an op that always has another type than float32 on one side."""
    raise AssertionError("what it computes depends on types: ask `exact`")


COMMON: dict[str, Any] = {
    "arity": (1, 1),
    "weights": no_weights,
    "shape": same_shape,
    "macs": no_macs,
    "window": one_position,
    "tolerance": 0.0,
    "traits": replace(COMPUTED, layout=KEPT),
    "tried": untried("which values it takes, types say"),
}
CAST = Op(
    name="cast",
    attributes={"to": REQUIRED},
    reference=unchanged,
    forms=(Form("cast", "cast int32", (("to", Syntax.ELEMENT),), synonyms=("astype", "convert")),),
    types=cast_types,
    exact=lambda xs, weights, attrs, types: converted(xs[0], types[0].element, types[1].element),
    **{**COMMON, "traits": replace(COMPUTED, layout=KEPT, finite=Finite.AT_ZERO)},  # beyond float16 is infinity
)
QUANTIZE = Op(
    name="quantize",
    attributes={"element": REQUIRED, "scale": REQUIRED, "zero": 0},
    reference=exact_only,
    forms=(
        Form(
            "quantize",
            "quantize uint8 0.02 128",
            (("element", Syntax.ELEMENT), ("scale", Syntax.SCALE)),
            optional=("zero", Syntax.INTEGER),
            words={"zero": ("zero", Syntax.INTEGER)},
            synonyms=("quantizelinear", "fakequantize"),
        ),
    ),
    types=quantize_types,
    exact=lambda xs, weights, attrs, types: quantized(xs[0], types[1]),
    **COMMON,
)
DEQUANTIZE = Op(
    name="dequantize",
    attributes={},
    reference=exact_only,
    forms=(Form("dequantize", "dequantize", synonyms=("dequantizelinear",)),),
    types=dequantize_types,
    exact=lambda xs, weights, attrs, types: dequantized(xs[0], types[0]),
    **COMMON,
)
OPS = (CAST, QUANTIZE, DEQUANTIZE)
