"""Nodes of an ONNX model that depend on known tensors only: shape arithmetic, dequantised weights, constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx_attributes import find
from cnncc.frontends.onnx_tensors import array_of
from cnncc.frontends.onnx_values import Unsupported, Value

if TYPE_CHECKING:
    from onnx import NodeProto, SparseTensorProto

LARGEST = 1 << 28
"""Elements a tensor may grow to by ConstantOfShape, Expand, Tile or Range: a model of a few bytes can ask for any
number."""
GROWING = frozenset({"ConstantOfShape", "Expand", "Tile", "Range", "Resize", "OneHot"})
RANDOM = ("Random", "Bernoulli", "Multinomial")
"""What the names of ops begin with that give something else each time."""


def shape_of(node: NodeProto, value: Value) -> list[np.ndarray]:
    """Shape and Size of a computed tensor: known, whatever its values are."""
    from onnx import helper

    if node.op_type == "Size":
        return [np.array(int(np.prod(value.shape)), np.int64)]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    part = slice(attributes.get("start", 0), attributes.get("end"))
    return [np.array(value.shape[part], np.int64)]


def evaluate(node: NodeProto, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """The results of a node, by the reference implementation of the package onnx; Unsupported if it has none."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    if node.op_type.startswith(RANDOM) or any(a.HasField("g") or a.graphs for a in node.attribute):
        raise Unsupported("random, or control flow")
    if (sparse := find(node, "sparse_value")) is not None:
        return [dense(sparse.sparse_tensor)]
    refuse_growth(node, inputs)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        opset = max(opset, 19)  # the first version that the reference has; older ones are a part of it
    names = [name for name in dict.fromkeys(node.input) if name]
    ports = [helper.make_value_info(name, helper.make_tensor_type_proto(0, None)) for name in names]
    results = [helper.make_value_info(n, helper.make_tensor_type_proto(0, None)) for n in node.output if n]
    body = helper.make_graph([node], "known", ports, results)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid(node.domain, opset)])
    feeds = {name: array for name, array in zip(node.input, inputs, strict=False) if name}
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, feeds)
    # ONNX's evaluator checks little of its arguments: what NumPy then raises depends on the op.
    except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        raise Unsupported(f"cannot be evaluated: {error}") from error
    values = iter(found)
    return [np.asarray(next(values)) if name else np.zeros(0) for name in node.output]


def dense(sparse: SparseTensorProto) -> np.ndarray:
    """A sparse tensor with its zeros; indices are places in the flat tensor, or one for each axis."""
    values, indices = array_of(sparse.values, "sparse_value"), array_of(sparse.indices, "indices of sparse_value")
    shape, count = tuple(sparse.dims), len(values)
    if min(shape, default=1) < 0 or math.prod(shape) > LARGEST:
        raise Unsupported(f"sparse_value: a tensor of shape {list(shape)}")
    places = indices @ row_major(shape) if indices.ndim == 2 and indices.shape[1] == len(shape) else indices
    if places.shape != (count,) or any(not 0 <= at < math.prod(shape) for at in places):
        raise Unsupported(f"sparse_value: indices {list(indices.shape)} for {count} values of {list(shape)}")
    found = np.zeros(math.prod(shape), values.dtype)
    found[places] = values
    return found.reshape(shape)


def row_major(shape: tuple[int, ...]) -> np.ndarray:
    """Elements between neighbours along each axis."""
    return np.array([math.prod(shape[i + 1 :]) for i in range(len(shape))], np.int64)


def refuse_growth(node: NodeProto, inputs: Sequence[np.ndarray | None]) -> None:
    """Unsupported if the result would not fit in memory."""
    if node.op_type not in GROWING:
        return
    wanted = [np.asarray(i, np.float64) for i in inputs if i is not None and np.asarray(i).dtype.kind in "iuf"]
    if node.op_type in ("ConstantOfShape", "Expand", "Tile") and wanted:
        size = float(np.prod(np.maximum(wanted[-1], 1)))
        if node.op_type == "Tile":
            size *= wanted[0].size
        if size > LARGEST:
            raise Unsupported(f"asks for a tensor of {size:.3g} elements")
    if node.op_type == "Range" and len(wanted) == 3 and float(wanted[2].reshape(())) != 0:
        first, last, step = (float(w.reshape(())) for w in wanted)
        if abs(last - first) / abs(step) > LARGEST:
            raise Unsupported("asks for too long a range")
