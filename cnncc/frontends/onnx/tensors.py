"""The tensors that an ONNX file carries, as arrays: their data has to be what type and shape say."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx.values import Unsupported

if TYPE_CHECKING:
    from onnx import TensorProto

LARGEST_AXIS = 1 << 31
"""No axis of a tensor is as long."""
MOST_AXES = 32
"""What NumPy has in all its versions."""
PER_BYTE = {"UINT4": 2, "INT4": 2, "FLOAT4E2M1": 2, "UINT2": 4, "INT2": 4}
"""Types of which several elements share a byte."""
FLOAT = 1
"""`TensorProto.FLOAT`."""
SHOWN = 160
"""Characters of a name that are shown: exporters write paths of modules."""


def array_of(tensor: TensorProto, what: str) -> np.ndarray:
    """The array. Unsupported, told of `what`, for an unknown type, a negative size, or data of another length."""
    from onnx import numpy_helper

    raw = check_tensor(tensor, what)
    if raw is not None and tensor.data_type == FLOAT:  # nearly all weights: `to_array` would copy them out once more
        return np.frombuffer(raw, "<f4").reshape(tuple(tensor.dims))
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise Unsupported(f"{what}: {one_line(error)}") from error


def check_tensor(tensor: TensorProto, what: str) -> bytes | None:
    """Unsupported, told of `what`, for an unknown type, a negative size, or data of another length. Returns the data,
    where the file has it as bytes."""
    try:
        return check_data(tensor)
    except Unsupported as error:
        raise Unsupported(f"{what}: {error.message}") from error


def check_data(tensor: TensorProto) -> bytes | None:
    """Unsupported unless the data has the length that type and shape ask for. Returns it, where it is bytes."""
    from onnx import TensorProto, helper

    if tensor.data_location == TensorProto.EXTERNAL:
        raise Unsupported("its data lies in another file, which has not been read")
    wanted, unit = bytes_of(tensor), "bytes"
    kind, raw = kind_of(tensor.data_type), None
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data  # a copy, each time
        got = len(raw)
    else:
        share = PER_BYTE.get(kind, 1)
        wanted, unit = -(-math.prod(tensor.dims) // share) * (2 if kind.startswith("COMPLEX") else 1), "numbers"
        got = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
    if got != wanted:
        raise Unsupported(f"shape {list(tensor.dims)} of {kind} needs {wanted} {unit}, there are {got}")
    return raw


def bytes_of(tensor: TensorProto) -> int:
    """How many bytes a tensor of such a type and shape has. Unsupported for no type of numbers, and for a shape that
    is none."""
    from onnx import helper

    kind, dims = kind_of(tensor.data_type), list(tensor.dims)
    if not is_numeric(tensor.data_type):
        raise Unsupported(f"a tensor of type {kind}")
    if any(not 0 <= size < LARGEST_AXIS for size in dims) or len(dims) > MOST_AXES:
        raise Unsupported(f"no shape of a tensor: {shown(dims)}")
    share = PER_BYTE.get(kind, 0)
    count = math.prod(dims)
    return -(-count // share) if share else count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


@cache
def is_numeric(number: int) -> bool:
    """Whether an element type is one of numbers or truth values."""
    from onnx import TensorProto

    return number in TensorProto.DataType.values() and kind_of(number) not in ("UNDEFINED", "STRING")


@cache
def kind_of(number: int) -> str:
    """The name of an element type."""
    from onnx import TensorProto

    known = TensorProto.DataType.values()
    return TensorProto.DataType.Name(number) if number in known else f"number {number}"


def one_line(error: BaseException) -> str:
    """What an error says, in one line of some length."""
    return shown(" ".join(str(error).split()), 200) or type(error).__name__


def shown(text: object, most: int = SHOWN) -> str:
    """A name from a file as a message may show it: what cannot be printed is escaped, much of it left out."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return plain if len(plain) <= most else f"{plain[:most]}..."
