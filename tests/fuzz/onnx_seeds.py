"""Small right ONNX models, one or more for each op that is read: what the fuzzer begins with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cnncc.base.errors import CnnccError
from cnncc.contrib.onnx_backend import sources
from cnncc.frontends.onnx.convert import RULES
from cnncc.frontends.onnx.faults import NotImported
from cnncc.frontends.onnx.reader import from_onnx

OPSET = 24
IMAGE = (1, 4, 6, 5)
MOST_NODES = 4


def floats(*shape: int) -> np.ndarray:
    """Numbers that differ, some negative."""
    return (np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape) % 7 - 3) / 4


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


NONE = np.float32([])
FILTER, COLUMN = floats(4, 4, 3, 3), floats(4)
STATISTICS = {"a": COLUMN, "b": COLUMN, "c": COLUMN, "d": np.abs(COLUMN) + 1}

UNARY = """
    Swish Relu Sigmoid Tanh HardSwish Mish Softplus Softsign Exp Log Sqrt Reciprocal Abs Erf Neg LeakyRelu HardSigmoid
    Elu ThresholdedRelu Selu Celu Gelu Identity Softmax LogSoftmax GlobalAveragePool GlobalMaxPool Transpose Flatten
    Dropout ArgMax ArgMin ReduceMean ReduceMax ReduceMin ReduceSum ReduceSumSquare ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp LRN Squeeze Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Floor Hardmax IsInf IsNaN LpNormalization
    MeanVarianceNormalization ReduceProd Round Shrink Sign Sin Sinh Tan Trilu
""".split()
NEEDED: dict[str, dict[str, Any]] = {"LRN": {"size": 3}}
"""Attributes that have to be there."""

Seed = tuple[str, dict[str, np.ndarray], dict[str, Any], int]
"""Op, known inputs after the first, attributes, and how many results."""
SEEDS: list[Seed] = [
    *((op, {}, NEEDED.get(op, {}), 1) for op in UNARY),
    *((op, {"k": floats(1, 4, 1, 1)}, {}, 1) for op in ("Add", "Mul", "Sub", "Div", "Max", "Min", "Sum", "Mean")),
    *((op, {"k": floats(4, 1, 1)}, {}, 1) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    ("Mod", {"k": np.float32([3])}, {"fmod": 1}, 1),
    ("CumSum", {"a": ints(2)}, {"exclusive": 1, "reverse": 1}, 1),
    ("Softmax", {}, {"axis": 1}, 1),
    ("ReduceMean", {"axes": ints(2, 3)}, {"keepdims": 0}, 1),
    ("ArgMax", {}, {"axis": 1, "keepdims": 0, "select_last_index": 1}, 1),
    ("TopK", {"k": ints(2)}, {"axis": 1, "largest": 0}, 2),
    ("Pow", {"e": np.float32([2])}, {}, 1),
    ("PRelu", {"s": floats(4, 1, 1)}, {}, 1),
    ("Clip", {"low": np.float32(-0.5), "high": np.float32(0.5)}, {}, 1),
    ("Conv", {"w": FILTER, "b": COLUMN}, {"pads": [1] * 4, "strides": [2, 1], "dilations": [1, 1]}, 1),
    ("Conv", {"w": floats(8, 2, 3, 3)}, {"group": 2, "auto_pad": "SAME_UPPER", "kernel_shape": [3, 3]}, 1),
    ("ConvTranspose", {"w": FILTER, "b": COLUMN}, {"strides": [2, 2], "output_padding": [1, 1]}, 1),
    ("ConvTranspose", {"w": FILTER}, {"output_shape": [12, 10], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, 1),
    ("MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, 1),
    ("AveragePool", {}, {"kernel_shape": [2, 2], "pads": [1] * 4, "count_include_pad": 1, "dilations": [2, 2]}, 1),
    ("Pad", {"p": ints(0, 0, 1, 2, 0, 0, 1, -1), "v": np.float32(1)}, {"mode": "constant"}, 1),
    ("Pad", {"p": ints(1, 1), "v": np.float32(0), "a": ints(-1)}, {"mode": "reflect"}, 1),
    ("MatMul", {"b": floats(5, 3)}, {}, 1),
    ("BatchNormalization", STATISTICS, {"epsilon": 1e-3}, 1),
    ("InstanceNormalization", {"a": COLUMN, "b": COLUMN}, {}, 1),
    ("GroupNormalization", {"a": COLUMN, "b": COLUMN}, {"num_groups": 2}, 1),
    ("LayerNormalization", {"a": floats(6, 5), "b": floats(6, 5)}, {"axis": 2}, 3),
    ("RMSNormalization", {"a": floats(5)}, {"epsilon": 0.1}, 1),
    ("Reshape", {"s": ints(0, -1, 3)}, {}, 1),
    ("Unsqueeze", {"a": ints(1, -1)}, {}, 1),
    ("Transpose", {}, {"perm": [0, 2, 3, 1]}, 1),
    ("Expand", {"s": ints(2, 4, 6, 5)}, {}, 1),
    ("Tile", {"r": ints(1, 2, 1, 3)}, {}, 1),
    ("Concat", {"o": floats(1, 2, 6, 5)}, {"axis": 1}, 1),
    ("Slice", {"s": ints(1, -1), "e": ints(4, -9), "a": ints(1, 3), "t": ints(2, -1)}, {}, 1),
    ("Gather", {"i": ints(2, -1, 0)}, {"axis": 1}, 1),
    ("Split", {"s": ints(1, 3)}, {"axis": 1}, 2),
    ("Split", {}, {"axis": 2, "num_outputs": 3}, 3),
    ("DepthToSpace", {}, {"blocksize": 2, "mode": "CRD"}, 1),
    ("SpaceToDepth", {}, {"blocksize": 1}, 1),
    ("Resize", {"roi": NONE, "s": np.float32([1, 1, 2, 2.5])}, {"mode": "linear"}, 1),
    ("Resize", {"roi": NONE, "s": NONE, "z": ints(1, 4, 9, 9)}, {"mode": "cubic", "antialias": 1}, 1),
    ("QuantizeLinear", {"s": np.float32(0.1), "z": np.uint8(3)}, {}, 1),
    ("Cast", {}, {"to": 1}, 1),
    ("CastLike", {"k": np.float32(1)}, {}, 1),
    ("LpPool", {}, {"kernel_shape": [2, 2], "p": 2}, 1),
    ("GlobalLpPool", {}, {}, 1),
    ("GridSample", {"g": floats(1, 3, 4, 2)}, {"mode": "linear", "padding_mode": "border"}, 1),
    ("RoiAlign", {"r": floats(2, 4) + 1, "b": ints(0, 0)}, {"output_height": 2, "output_width": 2}, 1),
    ("DeformConv", {"w": floats(4, 4, 2, 2), "o": floats(1, 8, 5, 4)}, {}, 1),
    ("GatherElements", {"i": ints(*[1, 3, 0, -1] * 15).reshape(1, 2, 6, 5)}, {"axis": 1}, 1),
    ("GatherND", {"i": ints(0, 1, 0, 3).reshape(2, 2)}, {}, 1),
    ("ScatterElements", {"i": ints(*[0] * 30).reshape(1, 1, 6, 5), "u": floats(1, 1, 6, 5)}, {"axis": 1}, 1),
    ("ScatterND", {"i": ints(0, 1).reshape(1, 2), "u": floats(1, 6, 5)}, {"reduction": "add"}, 1),
    ("Compress", {"c": np.array([True, False, True])}, {"axis": 1}, 1),
    ("CenterCropPad", {"s": ints(4, 9)}, {"axes": [2, 3]}, 1),
    ("ReverseSequence", {"l": ints(3)}, {"batch_axis": 0, "time_axis": 1}, 1),
]  # fmt: skip


def made(op: str, known: dict[str, np.ndarray], attributes: dict[str, Any], results: int) -> ModelProto:
    """x -> op -> Abs of the first result; the others are outputs too."""
    names = [f"y{i}" for i in range(results)]
    nodes = [
        helper.make_node(op, ["x", *known], names, name=f"the {op}", **attributes),
        helper.make_node("Abs", names[:1], ["last"], name="last"),
    ]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in known.items()]
    return model(nodes, IMAGE, ["last", *names[1:]], tensors)


def model(
    nodes: list[Any], shape: tuple[int, ...], outputs: list[str], tensors: list[TensorProto], opset: int = OPSET
) -> ModelProto:
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]  # whatever type they are of
    graph = helper.make_graph(nodes, "seed", ports, results, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def several() -> list[tuple[str, ModelProto]]:
    """Models of several nodes: shape arithmetic, constants, channels last, old opsets, a matrix product."""
    node, tensor = helper.make_node, numpy_helper.from_array
    arithmetic = [
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["h"], axis=0), node("Mul", ["h", "two"], ["m"]),
        node("Concat", ["head", "m"], ["t"], axis=0), node("Reshape", ["x", "t"], ["z"]),
    ]  # fmt: skip
    constants = [
        node("Constant", [], ["w"], value=tensor(FILTER)), node("ConstantOfShape", ["n"], ["zeros"]),
        node("Range", ["from", "to", "by"], ["r"]), node("Cast", ["r"], ["f"], to=1),
        node("Add", ["f", "zeros"], ["b"]), node("Conv", ["x", "w", "b"], ["z"]),
    ]  # fmt: skip
    last = [
        node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]), node("Conv", ["a", "w"], ["b"], auto_pad="SAME_UPPER"),
        node("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]), node("Add", ["c", "k"], ["z"]),
    ]  # fmt: skip
    old = [
        node("Upsample", ["x"], ["a"], scales=[1.0, 1.0, 2.0, 2.0]), node("Clip", ["a"], ["b"], max=1.0),
        node("Pad", ["b"], ["c"], pads=[0, 0, 1, 1, 0, 0, 1, 1]), node("Flatten", ["c"], ["d"]),
        node("Gemm", ["d", "w", "k"], ["e"], transB=1, alpha=0.5), node("Dropout", ["e"], ["z"], ratio=0.3),
    ]  # fmt: skip
    quantised = [
        node("QuantizeLinear", ["x", "s", "o"], ["q"]), node("DequantizeLinear", ["q", "s", "o"], ["z"]),
    ]  # fmt: skip
    layers = [
        node("QuantizeLinear", ["x", "s", "o"], ["q"]),
        node("QLinearConv", ["q", "s", "o", "w", "s", "zero", "s", "o", "bias"], ["c"], pads=[1, 1, 1, 1]),
        node("DequantizeLinear", ["c", "s", "o"], ["z"]),
    ]
    sums = [
        node("QuantizeLinear", ["x", "s", "o"], ["q"]),
        node("ConvInteger", ["q", "w", "o", "zero"], ["c"]), node("Cast", ["c"], ["z"], to=1),
    ]  # fmt: skip
    products = [
        node("Flatten", ["x"], ["f"]), node("QuantizeLinear", ["f", "s", "o"], ["q"]),
        node("QLinearMatMul", ["q", "s", "o", "m", "s", "zero", "s", "o"], ["y"]),
        node("MatMulInteger", ["y", "n", "o", "zero"], ["p"]), node("Cast", ["p"], ["z"], to=1),
    ]  # fmt: skip
    dynamic = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "at"]),
        node("ConvInteger", ["q", "w", "at", "zero"], ["c"]),
        node("Cast", ["c"], ["f"], to=1), node("Mul", ["f", "scale"], ["z"]),
    ]  # fmt: skip
    logic = [
        node("Greater", ["x", "zero"], ["a"]), node("Less", ["x", "one"], ["b"]), node("And", ["a", "b"], ["c"]),
        node("Or", ["c", "b"], ["d"]), node("Xor", ["d", "a"], ["e"]), node("Not", ["e"], ["f"]),
        node("Where", ["f", "x", "one"], ["z"]),
    ]  # fmt: skip
    numbers = {"zero": np.float32(0), "one": np.float32([1])}
    steps = {"s": np.float32(0.1), "o": np.uint8(128)}
    signed = {**steps, "zero": np.int8(0), "w": np.int8(FILTER * 40), "bias": np.arange(len(FILTER), dtype=np.int32)}
    matrices = {**steps, "zero": np.int8(0), "m": np.int8(floats(120, 6) * 40), "n": np.int8(floats(6, 3) * 40)}
    known = {"i": ints(1), "two": ints(2), "head": ints(1, -1)}
    counted = {"n": ints(4), "from": np.array(0), "to": np.array(4), "by": np.array(1)}
    dense = {"w": floats(3, 672), "k": floats(3)}
    return [
        ("shape arithmetic", model(arithmetic, IMAGE, ["z"], [tensor(a, n) for n, a in known.items()])),
        ("constants", model(constants, IMAGE, ["z"], [tensor(a, n) for n, a in counted.items()])),
        ("channels last", model(last, (1, 6, 5, 4), ["z"], [tensor(FILTER, "w"), tensor(COLUMN, "k")])),
        ("logic", model(logic, IMAGE, ["z"], [tensor(np.asarray(a), n) for n, a in numbers.items()])),
        ("quantised", model(quantised, IMAGE, ["z"], [tensor(np.asarray(a), n) for n, a in steps.items()])),
        ("quantised layers", model(layers, IMAGE, ["z"], [tensor(np.asarray(a), n) for n, a in signed.items()])),
        ("sums of bytes", model(sums, IMAGE, ["z"], [tensor(np.asarray(a), n) for n, a in signed.items()])),
        ("products of bytes", model(products, IMAGE, ["z"], [tensor(np.asarray(a), n) for n, a in matrices.items()])),
        ("computed scales", model(dynamic, IMAGE, ["z"], [tensor(np.asarray(a), n) for n, a in signed.items()])),
        ("opset 7", model(old, (1, 4, 6, 5), ["z"], [tensor(a, n) for n, a in dense.items()], 7)),
    ]


def own() -> list[tuple[str, ModelProto]]:
    """Every model above."""
    return [
        (f"{op} {i}", made(op, known, attributes, count)) for i, (op, known, attributes, count) in enumerate(SEEDS)
    ] + (several())


def official() -> Iterator[tuple[str, ModelProto]]:
    """The node tests of the package onnx that have an op that is read and not many nodes, with inputs that have to be
    known as tensors of the model."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():  # making the expected values divides by zero
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    for case in cases:
        nodes = case.model.graph.node
        if len(nodes) <= MOST_NODES and any(node.op_type in RULES and not node.domain for node in nodes):
            names = [port.name for port in case.model.graph.input]
            feeds = {
                name: numpy_helper.to_array(given)
                for name, given in zip(names, case.data_sets[0][0], strict=False)
                if isinstance(given, TensorProto)
            }
            yield case.name, closed(case.model, feeds)


def closed(given: ModelProto, feeds: dict[str, np.ndarray]) -> ModelProto:
    """The model with those inputs as tensors that the importer asks for."""
    known = {name: array for name, array in feeds.items() if not array.size}
    for _ in range(4):
        try:
            from_onnx(given, known=known, keep_known=True)
            break
        except NotImported as error:
            more = {i for name in error.constants for i in sources(given, name)} & feeds.keys() - known.keys()
            known |= {name: feeds[name] for name in more}
        except CnnccError:
            break
    result = ModelProto()
    result.CopyFrom(given)
    result.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in known.items())
    return result
