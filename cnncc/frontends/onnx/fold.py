"""Nodes of an ONNX model that depend on known tensors only: shape arithmetic, dequantised weights, constants.

A file of a few bytes can ask for any amount of memory and time, so both are foreseen before anything is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.frontends.onnx.attributes import AttributeReader, find
from cnncc.frontends.onnx.schema import check_whole
from cnncc.frontends.onnx.tensors import MOST_AXES, array_of, one_line
from cnncc.frontends.onnx.values import SHARE, Unsupported, Value, broadcast
from cnncc.ops.shapes import MOST_ELEMENTS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, SparseTensorProto

LARGEST = 1 << 24
"""Elements of a result, unless its inputs have a fourth as many."""
ROOM = 1 << 26
"""Elements of all results together, besides some times as many as the file has."""
SMALL = 1 << 14
"""Elements of inputs and results up to which an op is evaluated whatever it is: some of them take time that grows with
a product of sizes."""
LOOPED = 1 << 18
"""The same for ops that the package onnx evaluates in a loop over elements."""
MOST_PRODUCTS = 1 << 32
"""Multiplications of a matrix product."""
NUMBERS = 1 << 10
"""Elements of an input up to which its values may say how large a result is."""
RANDOM = ("Random", "Bernoulli", "Multinomial")
"""What the names of ops begin with that give something else each time."""
VIEWS = ("ConstantOfShape", "Expand")
UNFORESEEN = frozenset({"NonZero", "Compress", "Unique"})
"""Ops whose results are no larger than their inputs, times the axes of those, though nobody knows how large."""
LOOPS = frozenset({"GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter", "TopK", "CumSum"})
VECTORISED = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot
    BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Cos Cosh DepthToSpace
    DequantizeLinear Div Dropout Elu Equal Erf Exp EyeLike Flatten Floor Gather Gelu Gemm Greater GreaterOrEqual
    HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max Mean Min Mod Mul Neg
    NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign Sin
    Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile Transpose Trilu
    Unsqueeze Where Xor
    """.split()
)
"""Ops that NumPy evaluates in one go."""


def shape_of(node: NodeProto, value: Value) -> list[np.ndarray]:
    """Shape and Size of a computed tensor: known, whatever its values are."""
    if node.op_type == "Size":
        return [np.array(math.prod(value.shape), np.int64)]
    read = AttributeReader.of(node)
    end = read.integer("end") if read.gives("end") else None
    return [np.array(value.shape[read.integer("start", 0) : end], np.int64)]


def view(node: NodeProto, inputs: Sequence[np.ndarray | None]) -> np.ndarray:
    """ConstantOfShape and Expand: values that are there once, however large the shape."""
    *given, sizes = inputs
    if sizes is None or sizes.dtype.kind not in "iu" or sizes.ndim != 1 or sizes.size > MOST_AXES:
        raise Unsupported("cannot be evaluated: the shape is no vector of whole numbers")
    shape = tuple(map(int, sizes))
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_ELEMENTS:
        raise Unsupported(f"asks for a tensor of {math.prod(shape):.3g} elements")
    if node.op_type == "Expand" and given[0] is not None:
        return np.broadcast_to(given[0], broadcast(given[0].shape, shape))
    fill = AttributeReader.of(node).tensor("value") if find(node, "value") else np.zeros(1, np.float32)
    if fill.size != 1:
        raise Unsupported(f"attribute value: expected one number, got shape {list(fill.shape)}")
    return np.broadcast_to(fill.reshape(()), shape)


class Evaluator:
    """Evaluates nodes of a model whose own tensors have `own` elements."""

    def __init__(self, opset: int, own: int) -> None:
        self.opset = opset
        self.room = ROOM + SHARE * own

    def evaluate(
        self, node: NodeProto, inputs: Sequence[np.ndarray | None], optional: bool = False
    ) -> list[np.ndarray] | None:
        """The results of a node, by the reference implementation of the package onnx; Unsupported if it has none, or
        if that would take too much memory or time: then, if it is `optional`, None for too much time."""
        if (sparse := find(node, "sparse_value")) is not None:
            return [dense(sparse.sparse_tensor)]
        if node.op_type == "Constant":
            return [constant(node)]
        check_whole(node, inputs, self.opset)
        if node.op_type.startswith(RANDOM) or any(a.HasField("g") or a.graphs for a in node.attribute):
            raise Unsupported("random, or control flow")
        if node.op_type in VIEWS:
            return [view(node, inputs)]
        given = sum(i.size for i in inputs if i is not None)
        elements = self.foreseen(node, inputs, given)
        if takes_long(node, inputs, given, elements):
            if optional:
                return None
            raise Unsupported(f"takes too long to evaluate, with {elements} elements")
        self.room -= elements
        return self.run(node, inputs)

    def foreseen(self, node: NodeProto, inputs: Sequence[np.ndarray | None], given: int) -> int:
        """How many elements the results have. Unsupported if those are too many, or nobody knows."""
        elements = result_sizes(self.model(node, inputs))
        if elements is None and node.op_type in UNFORESEEN:
            elements = given * max((i.ndim for i in inputs if i is not None), default=1)
        if elements is None:
            raise Unsupported("cannot be evaluated: the sizes of its results do not follow from its inputs")
        if elements > max(LARGEST, SHARE * given) or elements > self.room:
            raise Unsupported(f"asks for a tensor of {elements:.3g} elements")
        return elements

    def model(self, node: NodeProto, inputs: Sequence[np.ndarray | None]) -> ModelProto:
        """A model of the node, with the values of small inputs."""
        from onnx import helper, numpy_helper

        arrays = {name: a for name, a in zip(node.input, inputs, strict=False) if name and a is not None}
        ports = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
        ]
        small = [numpy_helper.from_array(array, name) for name, array in arrays.items() if array.size <= NUMBERS]
        body = helper.make_graph([node], "known", ports, [], small)
        return helper.make_model(body, opset_imports=[helper.make_opsetid(node.domain, self.opset)])

    def run(self, node: NodeProto, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        opset = self.opset
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
        except FAILURES as error:
            raise Unsupported(f"cannot be evaluated: {one_line(error)}") from error
        values = iter(found)
        return [array_or_refusal(next(values)) if name else np.zeros(0) for name in node.output]


FAILURES = (
    *(NotImplementedError, RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError),
    *(ArithmeticError, MemoryError),
)
"""ONNX's evaluator checks little of its arguments: what NumPy then raises depends on the op."""


def constant(node: NodeProto) -> np.ndarray:
    """The value of a Constant, however it is given."""
    from onnx import helper

    (attribute,) = node.attribute or [None]
    if attribute is None:
        raise Unsupported("has no value")
    read = AttributeReader.of(node)
    if attribute.name == "value":
        return read.tensor("value")
    if attribute.name in ("value_int", "value_ints"):
        return np.array(helper.get_attribute_value(attribute), np.int64)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(helper.get_attribute_value(attribute), np.float32)
    raise Unsupported(f"attribute {attribute.name}: no tensor of numbers")


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


def array_or_refusal(found: Any) -> np.ndarray:
    """A result as an array. Unsupported for sequences and for what is optional and not there."""
    if isinstance(found, np.ndarray | np.generic):
        return np.asarray(found)
    raise Unsupported("gives no tensor")


def result_sizes(model: ModelProto) -> int | None:
    """The elements of all results, by ONNX's shape inference; None if it does not know."""
    from onnx import shape_inference

    try:
        found = shape_inference.infer_shapes(model).graph
    except (shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
        return None
    total, names = 0, [name for name in model.graph.node[0].output if name]
    types = {port.name: port.type.tensor_type for port in found.value_info}
    for name in names:
        shape = types[name].shape if name in types and types[name].HasField("shape") else None
        if shape is None or not all(d.HasField("dim_value") and d.dim_value >= 0 for d in shape.dim):
            return None
        total += math.prod(d.dim_value for d in shape.dim)
    return total


def takes_long(node: NodeProto, inputs: Sequence[np.ndarray | None], given: int, elements: int) -> bool:
    """Whether an op would be evaluated for more than a second or so."""
    if node.op_type in ("MatMul", "Gemm"):
        first = inputs[0]
        return elements * max(first.shape, default=1) > MOST_PRODUCTS if first is not None else False
    if node.op_type in VECTORISED:
        return False
    return given + elements > (LOOPED if node.op_type in LOOPS else SMALL)
