"""Which computed tensors of an ONNX model are whole numbers or truth values: everything is stored in float32 here, but
ONNX divides and converts by type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import NodeProto

Kind = np.dtype[Any]
FLOAT: Kind = np.dtype(np.float32)
PLACE: Kind = np.dtype(np.int64)
TRUTH: Kind = np.dtype(np.bool_)
BYTE: Kind = np.dtype(np.uint8)
SUM: Kind = np.dtype(np.int32)
TRUTHS = frozenset(
    "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor".split()
)  # fmt: skip
PLACES = frozenset("ArgMax ArgMin NonMaxSuppression NonZero Shape Size".split())
SECOND = {"TopK": PLACE, "MaxPool": PLACE, "Dropout": TRUTH, "DynamicQuantizeLinear": FLOAT}
"""The type of the second result."""
ZERO_POINT = {
    **{"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QGemm": 8, "QLinearConcat": 1},
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), 7),
    **dict.fromkeys(("QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearLeakyRelu", "QLinearSigmoid"), 4),
    **dict.fromkeys(("QLinearReduceMean", "QLinearSoftmax", "DynamicQuantizeLinear"), 4),
}
"""The zero point that has the type of the result."""
ZERO_POINT_LESS = {"QuantizeLinear": BYTE, "QGemm": FLOAT, "DynamicQuantizeLinear": BYTE}
"""The type where there is no zero point, if it is not that of the first input."""
LIKE_INPUT = {"Where": 1, "CastLike": 1, "OneHot": 2, "DequantizeLinear": 1}
"""The input that has the type of the result, where it is not the first."""


def kinds_of(node: NodeProto, inputs: Sequence[Kind | None]) -> list[Kind]:
    """The type of each result of a node; of floating point they are all one."""
    first = next((kind for kind in inputs if kind is not None), FLOAT)
    return [kind_of_first(node, inputs, first), SECOND.get(node.op_type, first), *[first] * len(node.output)]


def kind_of_first(node: NodeProto, inputs: Sequence[Kind | None], first: Kind) -> Kind:
    op = node.op_type
    if op in TRUTHS:
        return TRUTH
    if op in PLACES:
        return PLACE
    if op in ZERO_POINT:
        place = ZERO_POINT[op]
        return (inputs[place] if len(inputs) > place else None) or ZERO_POINT_LESS.get(op, first)
    if op in ("ConvInteger", "MatMulInteger"):
        return SUM
    if op == "Cast":
        return cast_to(node)
    return inputs[LIKE_INPUT[op]] or FLOAT if op in LIKE_INPUT and LIKE_INPUT[op] < len(inputs) else first


def cast_to(node: NodeProto) -> Kind:
    """The type that a Cast gives."""
    from onnx import TensorProto, helper

    number = next((a.i for a in node.attribute if a.name == "to"), TensorProto.FLOAT)
    known = number in TensorProto.DataType.values() and number not in (TensorProto.UNDEFINED, TensorProto.STRING)
    return helper.tensor_dtype_to_np_dtype(number) if known else FLOAT


def is_whole(kind: Kind | None) -> bool:
    """Whether a type is of whole numbers; truth values are not."""
    return kind is not None and kind.kind in "iu"
