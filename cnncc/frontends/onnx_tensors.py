"""The tensors that an ONNX file carries, as arrays: their data has to be what type and shape say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx_values import Unsupported

if TYPE_CHECKING:
    from onnx import TensorProto

LARGEST_AXIS = 1 << 31
"""No axis of a tensor is as long."""
PER_BYTE = {"UINT4": 2, "INT4": 2, "FLOAT4E2M1": 2, "UINT2": 4, "INT2": 4}
"""Types of which several elements share a byte."""


def array_of(tensor: TensorProto, what: str) -> np.ndarray:
    """The array. Unsupported, told of `what`, for an unknown type, a negative size, or data of another length."""
    from onnx import TensorProto, numpy_helper

    kind = kind_of(tensor.data_type)
    if kind in ("UNDEFINED", "STRING") or tensor.data_type not in TensorProto.DataType.values():
        raise Unsupported(f"{what}: a tensor of type {kind}")
    if any(not 0 <= size < LARGEST_AXIS for size in tensor.dims):
        raise Unsupported(f"{what}: sizes have to be whole numbers of at least 0, got {list(tensor.dims)}")
    if tensor.data_location == TensorProto.EXTERNAL:
        raise Unsupported(f"{what}: its data lies in another file, which has not been read")
    check_length(tensor, kind, what)
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise Unsupported(f"{what}: {one_line(error)}") from error


def check_length(tensor: TensorProto, kind: str, what: str) -> None:
    """Unsupported unless the data has the length that the shape asks for."""
    from onnx import helper

    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        share = PER_BYTE.get(kind, 0)
        wanted = -(-count // share) if share else count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        got, unit = len(tensor.raw_data), "bytes"
    else:
        share = PER_BYTE.get(kind, 1)
        wanted = -(-count // share) * (2 if kind.startswith("COMPLEX") else 1)
        got, unit = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))), "numbers"
    if got != wanted:
        raise Unsupported(f"{what}: shape {list(tensor.dims)} of {kind} needs {wanted} {unit}, there are {got}")


def kind_of(number: int) -> str:
    """The name of an element type."""
    from onnx import TensorProto

    known = TensorProto.DataType.values()
    return TensorProto.DataType.Name(number) if number in known else f"number {number}"


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
