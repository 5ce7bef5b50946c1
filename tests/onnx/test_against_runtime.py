"""Nodes and short chains against ONNX Runtime: pointwise ops, integers, truth values, in all ways to write them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cnncc.base.errors import CnnccError
from cnncc.contrib.onnx_backend import CompiledModel
from cnncc.frontends.onnx.reader import from_onnx

RNG = np.random.default_rng(11)
INF, NAN = np.inf, np.nan
Node = tuple[Any, ...]


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.float32)


def model(nodes: list[Any], inputs: dict[str, np.ndarray], tensors: dict[str, np.ndarray], opset: int) -> ModelProto:
    """The last node's results are the outputs, whatever their types."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in inputs.items()}
    ports = [helper.make_tensor_value_info(name, kinds[name], a.shape) for name, a in inputs.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in nodes[-1].output]
    known = [numpy_helper.from_array(a, name) for name, a in tensors.items()]
    graph = helper.make_graph(nodes, "t", ports, outputs, known)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def ours(proto: ModelProto, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return CompiledModel(from_onnx(proto)).run(arrays)


def check(
    nodes: list[Any],
    inputs: dict[str, np.ndarray],
    tensors: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    tolerance: float = 2e-6,
) -> None:
    """The same shapes, infinities and NaN as ONNX Runtime; finite values within a share of the largest."""
    proto = model(nodes, inputs, tensors or {}, opset)
    wanted = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, inputs
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        got = ours(proto, inputs)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(a[np.isinf(b)], b[np.isinf(b)])
        finite = np.isfinite(b)
        if finite.any():
            assert np.abs(a - b)[finite].max() <= tolerance * max(np.abs(b[finite]).max(), 1e-30)


X = random(1, 4, 5, 6) * 3


@pytest.mark.parametrize("op", [
    "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "Exp", "Abs", "Neg", "Erf",
    "Sigmoid", "Tanh", "Softplus", "Elu", "Selu", "Celu", "HardSwish", "Relu", "LeakyRelu", "ThresholdedRelu",
    "HardSigmoid",
])  # fmt: skip
def test_functions(op: str) -> None:
    values = X.copy()
    values.flat[:8] = [INF, -INF, 0, 88.7, -104, 2.5, -0.5, 3.5]
    if op in ("Sinh", "Cosh", "Exp", "HardSwish"):
        values.flat[1] = 0.25  # HardSwish of -inf is NaN or 0 as one reads it
    if op in ("Sinh", "Cosh"):
        values.flat[4] = -88
    check([node(op, "x")], {"x": values})


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh", "Acosh", "Log", "Sqrt", "Reciprocal"])
def test_functions_with_a_domain(op: str) -> None:
    values = np.abs(random(1, 4, 5, 6)) + 1 if op == "Acosh" else np.tanh(random(1, 4, 5, 6))
    values.flat[:4] = [1, 5, 0, 1e-40]
    check([node(op, "x")], {"x": values}, tolerance=4e-6)


SLOPES = [(), (1,), (6,), (5, 6), (5, 1), (4, 1, 1), (4, 5, 6), (4, 1, 6), (1, 4, 1, 1), (1, 1, 5, 1), (1, 4, 5, 6)]


@pytest.mark.parametrize("shape", SLOPES)
def test_prelu_slopes_align_with_the_last_axes(shape: tuple[int, ...]) -> None:
    check([node("PRelu", "x s")], {"x": X}, {"s": random(*shape) if shape else np.array(0.3, np.float32)})


@pytest.mark.parametrize(("dims", "shape"), [((1, 4, 4, 4), (4,)), ((3, 5), (5,)), ((3, 5), (3, 1)),
                                             ((1, 3, 3), (3,)), ((1, 3, 3), (3, 1)),
                                             ((1, 2, 2, 2, 2), (2, 1, 1, 1)), ((5,), (5,))])  # fmt: skip
def test_prelu_where_axes_are_alike(dims: tuple[int, ...], shape: tuple[int, ...]) -> None:
    check([node("PRelu", "x s")], {"x": random(*dims)}, {"s": random(*shape)})


def test_prelu_after_a_transpose_and_with_computed_slopes() -> None:
    turned = node("Transpose", "x", "t", perm=[0, 2, 3, 1])
    check([turned, node("PRelu", "t s")], {"x": X}, {"s": random(4)})
    check([turned, node("PRelu", "t s")], {"x": X, "s": random(4)})
    with pytest.raises(CnnccError, match=r"do not broadcast: \[1, 4, 5, 6\], \[4\]"):
        ours(model([node("PRelu", "x s")], {"x": X}, {"s": random(4)}, 17), {"x": X})


BASES = np.resize(np.array([0, -1, 1, 2, -2, 0.5, -0.5, 3, -3, INF, 1e-3, 7], np.float32), (1, 4, 3, 4))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 8, 9, 20, -1, -2, -3, 0.5, -0.5, 2.2, -1.5, 1 / 3])
@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_pow_by_a_number(exponent: float, kind: Any) -> None:
    if kind is np.int64 and exponent != int(exponent):
        pytest.skip("no whole number")
    check([node("Pow", "x e")], {"x": BASES}, {"e": np.array(exponent, kind)})


@pytest.mark.parametrize("shape", [(4, 1, 1), (4,), (3, 1), (1, 4, 3, 4), (2, 1, 4, 1, 1)])
def test_pow_by_tensors(shape: tuple[int, ...]) -> None:
    exponents = np.resize(np.array([0, 2, 3, -1, 0.5, 2.5, -2, 1], np.float32), shape)
    check([node("Pow", "x e")], {"x": BASES}, {"e": exponents})
    check([node("Pow", "x e")], {"x": BASES, "e": exponents})
    check([node("Pow", "b e")], {"e": exponents}, {"b": np.array([2, 0.5, 3, 1], np.float32)})


@pytest.mark.parametrize(("low", "high"), [(0, None), (None, 1), (-1, 2), (0, 6), (2, 1), (0, INF), (-INF, 1),
                                           (None, None),
                                           (0, 3.4028234663852886e38), (-3.4028234663852886e38, 0)])  # fmt: skip
def test_clip_of_infinities(low: float | None, high: float | None) -> None:
    given = {k: np.float32(v) for k, v in (("lo", low), ("hi", high)) if v is not None}
    names = [n if n in given else "" for n in ("lo", "hi")]
    made = helper.make_node("Clip", ["x", *names], ["y"])
    check([made], {"x": BASES - BASES[..., ::-1]}, given)
    x = np.array([[-INF, -1, 0, 1.5, INF, NAN]], np.float32)
    check([made], {"x": x}, given)
    if given and not any(np.isinf(v) for v in given.values()):
        check([made], {"x": x, **{k: np.array(v) for k, v in given.items()}})


@pytest.mark.parametrize("op", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (4, 1, 1), (6,), ()])
def test_comparisons_and_choices(op: str, shape: tuple[int, ...]) -> None:
    a, b = whole(-3, 3, 1, 4, 5, 6), whole(-3, 3, *shape) if shape else np.float32(1)
    a.flat[:2] = NAN
    for inputs, tensors in (
        ({"a": a, "b": b}, {}),
        ({"a": a}, {"b": b}),
        ({"a": b}, {"b": a}) if shape else ({"a": a}, {"b": b}),
    ):
        inputs = {k: np.asarray(v) for k, v in inputs.items()}
        check([node(op, "a b")], inputs, tensors)
        check([node(op, "a b", "m"), node("Where", "m a b")], inputs, tensors)
        check([node(op, "a b", "m"), node("Cast", "m", "f", to=TensorProto.FLOAT), node("Mul", "f a")], inputs, tensors)


def test_where_of_known_tensors() -> None:
    mask = RNG.random((1, 1, 5, 6)) < 0.5
    for tensors in ({"m": mask}, {"m": np.zeros((1, 1, 1, 1), bool)}, {"m": np.ones((4, 1, 1), bool)}):
        check([node("Where", "m x z")], {"x": X}, {**tensors, "z": np.float32(-INF)})
        check([node("Where", "m z x")], {"x": X}, {**tensors, "z": random(4, 1, 1)})
    check(
        [node("Greater", "x z", "m"), node("Where", "m p q")],
        {"x": X},
        {"z": np.float32(0), "p": random(4, 1, 1), "q": random(6)},
    )
    masked = [node("Where", "m x z", "w"), node("Softmax", "w", axis=-1)]
    check(masked, {"x": X}, {"m": mask, "z": np.float32(-INF)}, tolerance=5e-6)


def test_truth_values() -> None:
    zero, two = np.float32(0), np.float32(2)
    masks = [node("Greater", "x zero", "a"), node("Less", "x two", "b")]
    for op in ("And", "Or", "Xor"):
        check([*masks, node(op, "a b")], {"x": X}, {"zero": zero, "two": two})
        check([*masks, node(op, "a k")], {"x": X}, {"zero": zero, "two": two, "k": np.array([True, False] * 3)})
    check([*masks, node("Not", "a", "n"), node("Where", "n x zero")], {"x": X}, {"zero": zero, "two": two})
    special = X.copy()
    special.flat[:6] = [INF, -INF, NAN, 3.4e38, -3.4e38, 0]
    check([node("IsNaN", "x", "n"), node("Cast", "n", to=1)], {"x": special})
    for flags in ({}, {"detect_negative": 0}, {"detect_positive": 0}):
        check([node("IsInf", "x", "n", **flags), node("Cast", "n", to=1)], {"x": special})


# Integers

ARG = node("ArgMax", "x", "i", axis=3, keepdims=1)
TOP = node("TopK", "x k", "v i", axis=1)
FLOAT = node("Cast", "y", "f", to=TensorProto.FLOAT)


@pytest.mark.parametrize("source", [[ARG], [TOP]])
@pytest.mark.parametrize(("op", "number"), [("Div", 2), ("Div", 3), ("Div", -2), ("Mod", 2), ("Mod", 3), ("Mod", -3)])
def test_whole_numbers_are_divided_as_such(source: list[Any], op: str, number: int) -> None:
    x, tensors = (
        random(1, 12, 3, 40),
        {"k": np.array([4]), "n": np.array(number, np.int64), "c": np.array(-7, np.int64)},
    )
    check([*source, node(op, "i n"), FLOAT], {"x": x}, tensors)
    check([*source, node("Add", "i c", "j"), node(op, "j n"), FLOAT], {"x": x}, tensors)
    check(
        [*source, node("Add", "i c", "j"), node(op, "n j"), FLOAT],
        {"x": x + 0},
        {**tensors, "c": np.array(1, np.int64)},
    )
    if op == "Mod":
        check([*source, node("Add", "i c", "j"), node(op, "j n", fmod=1), FLOAT], {"x": x}, tensors)


@pytest.mark.parametrize("kind", ["FLOAT", "INT64", "INT32", "INT8", "UINT8", "INT16", "UINT16", "BOOL"])
@pytest.mark.parametrize("start", ["x", "i"])
def test_casts_cut_off_and_wrap(start: str, kind: str) -> None:
    """Floats are kept within the type: what lies beyond it has no meaning."""
    x = np.resize(np.array([0, 0.5, 0.99, 1, 1.5, 2.7, 100.9, 127], np.float32), (1, 2, 4, 5))
    if start == "x" and not kind.startswith("U"):
        x[..., ::2] *= -1
    to = node("Cast", start, "y", to=getattr(TensorProto, kind))
    before = [] if start == "x" else [node("Cast", "x", "h", to=TensorProto.INT32), node("Mul", "h n", "i")]
    tensors = {} if start == "x" else {"n": np.array(300, np.int32)}
    check([*before, to, FLOAT], {"x": x}, tensors)


def test_reductions_of_whole_numbers() -> None:
    x = random(1, 5, 7, 30)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax"):
        given = {"axes": [1]} if op != "ReduceSum" else {}
        inputs = "i a" if op == "ReduceSum" else "i"
        check([ARG, node(op, inputs, keepdims=1, **given), FLOAT], {"x": x}, {"a": np.array([1])})


def test_whole_powers_and_shapes() -> None:
    x, tensors = random(1, 3, 4, 9), {"two": np.array(2, np.int64), "three": np.array(3, np.int64)}
    check([ARG, node("Pow", "i three"), FLOAT], {"x": x}, tensors)
    check([ARG, node("Pow", "two i"), FLOAT], {"x": x}, tensors)
    half = [
        node("Shape", "x", "s"),
        node("Div", "s two", "h"),
        node("Cast", "h", "g", to=1),
        node("ReduceMax", "g", "m", keepdims=0),
    ]
    check([*half, node("Mul", "x m")], {"x": x}, tensors)


def test_quantised_activations_are_rounded() -> None:
    scale, zero = np.float32(0.07), np.array(10, np.uint8)
    there, back = node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")
    check([there, back], {"x": X * 4}, {"s": scale, "z": zero})
    check([there, node("Cast", "q", to=1)], {"x": X * 4}, {"s": scale, "z": zero})
    many = {"s": np.array([0.1, 0.2, 0.05, 1], np.float32), "z": np.array([1, 2, 0, -3], np.int8)}
    check([node("QuantizeLinear", "x s z", "q", axis=1), node("DequantizeLinear", "q s z", axis=1)], {"x": X}, many)


# Scans, norms, and what ONNX Runtime fuses


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_running_sums(axis: int, exclusive: int, reverse: int) -> None:
    made = node("CumSum", "x a", exclusive=exclusive, reverse=reverse)
    check([made], {"x": X}, {"a": np.array(axis, np.int64)})


@pytest.mark.parametrize("axes", [[1], [2, 3], [3], [1, 2, 3]])
def test_products(axes: list[int]) -> None:
    check([node("ReduceProd", "x", axes=axes)], {"x": random(1, 4, 5, 6)}, tolerance=1e-5)


def test_hardmax_triangles_and_norms() -> None:
    check([node("Hardmax", "x", axis=1)], {"x": X})
    check([node("Hardmax", "x", axis=-1)], {"x": X})
    for k in (-2, 0, 1, 9, -9):
        for upper in (0, 1):
            check([node("Trilu", "x k", upper=upper)], {"x": X}, {"k": np.array(k, np.int64)})
    for p in (1, 2):
        x = X.copy()
        x[:, :, 2] = 0
        check([node("LpNormalization", "x", p=p, axis=1)], {"x": x})
    check([node("MeanVarianceNormalization", "x", axes=[2, 3])], {"x": X}, tolerance=1e-5)
    check([node("MeanVarianceNormalization", "x")], {"x": random(1, 3, 5, 6)}, tolerance=1e-5)


@pytest.mark.parametrize("attributes", [{}, {"activation": "Relu"},
                                        {"activation": "Clip", "activation_params": [-0.5, 1.5]},
                                        {"activation": "LeakyRelu", "activation_params": [0.2]}, {"activation": "Tanh"},
                                        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}])  # fmt: skip
@pytest.mark.parametrize("summed", [False, True])
def test_fused_convolutions(attributes: dict[str, Any], summed: bool) -> None:
    tensors = {"w": random(8, 4, 3, 3), "b": random(8)}
    inputs = {"x": X, **({"z": random(1, 8, 5, 6)} if summed else {})}
    made = node("FusedConv", "x w b z" if summed else "x w b", domain="com.microsoft", pads=[1, 1, 1, 1], **attributes)
    check([made], inputs, tensors, tolerance=1e-5)


def test_fused_gelus() -> None:
    inputs = {"x": random(1, 7, 16), "b": random(16)}
    check([node("Gelu", "x", domain="com.microsoft")], {"x": inputs["x"]})
    check([node("BiasGelu", "x b", domain="com.microsoft")], inputs)
    check([node("FastGelu", "x b", domain="com.microsoft")], inputs)
    check([node("QuickGelu", "x", domain="com.microsoft", alpha=1.5)], {"x": inputs["x"]})
    with pytest.raises(CnnccError, match=r"this op of the domain com\.microsoft"):
        from_onnx(model([node("Attention", "x", domain="com.microsoft")], {"x": inputs["x"]}, {}, 17))


# Sizes


@pytest.mark.parametrize("factor", [0.7, 1.3, 0.6, 2.3, 0.1, 1.1, 3.7])
@pytest.mark.parametrize("way", ["Resize 13", "Resize 10", "Upsample 9", "Upsample 7"])
def test_sizes_are_products_in_float32(way: str, factor: float) -> None:
    op, opset = way.split()
    x, scales = random(1, 2, 10, 20), np.array([1, 1, factor, factor], np.float32)
    if factor < 1 and op == "Upsample":
        pytest.skip("ONNX Runtime's Upsample does not shrink")
    if opset == "7":
        made, tensors = node("Upsample", "x", scales=scales.tolist(), mode="linear"), {}
    else:
        made, tensors = node(op, "x  s" if opset == "13" else "x s", mode="linear"), {"s": scales}
        if opset == "13":
            made = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear")
    check([made], {"x": x}, tensors, opset=int(opset), tolerance=3e-5)


def test_batch_norm_in_training_is_refused() -> None:
    """Opset 9 says it by five results, read or not."""
    tensors = {n: np.abs(random(4)) for n in ("s", "b", "m", "v")}
    made = node("BatchNormalization", "x s b m v", "y a c d e")
    with pytest.raises(CnnccError, match="batch norm in training"):
        from_onnx(model([made, node("Relu", "y", "z")], {"x": X}, tensors, 9))
    check([node("BatchNormalization", "x s b m v")], {"x": X}, tensors, opset=9)


@pytest.mark.parametrize(
    "nodes",
    [
        [("Slice", "t s e one", {})],
        [("CumSum", "t axis", {})],
        [("ReduceSum", "t one", {"keepdims": 1})],
    ],
    ids=["slice", "cumsum", "reduce"],
)
def test_along_the_axis_that_a_transposition_gave_the_batch(nodes: list[tuple[str, str, dict[str, int]]]) -> None:
    """The images are then computed as one."""
    ((op, inputs, attributes),) = nodes
    known = {"s": np.array([0]), "e": np.array([1]), "one": np.array([1]), "axis": np.array(1)}
    made = [node("Transpose", "x", outputs="t", perm=[1, 0, 2, 3]), node(op, inputs, **attributes)]
    used = {name: value for name, value in known.items() if name in inputs.split()}
    check(made, {"x": random(2, 4, 3, 5)}, used)


def test_sums_of_whole_numbers_are_whole() -> None:
    """A mean times their number is not: 7 ones among 49 would be 6.9999995."""
    x = (np.arange(49) <= np.arange(50)[:, None]).astype(np.float32)[None] * 1.0
    check([node("ReduceSum", "x axes", outputs="a", keepdims=1), node("Floor", "a")], {"x": x}, {"axes": np.array([2])})


@pytest.mark.parametrize("row", [[-np.inf] * 5, [-np.inf, 1, 2, -3, 0], [np.inf, 1, 2, 3, -np.inf]])
def test_log_sum_exp_of_infinities(row: list[float]) -> None:
    x = np.array([[row, [1, 2, 3, 4, 5]]], np.float32)
    check([node("ReduceLogSumExp", "x axes", keepdims=1)], {"x": x}, {"axes": np.array([2])}, opset=18)


@pytest.mark.parametrize("reverse", [0, 1])
def test_an_exclusive_sum_begins_with_zero_whatever_is_there(reverse: int) -> None:
    x = np.array([[np.nan, 1, 2, 3]], np.float32)[:, :: -1 if reverse else 1].copy()
    check([node("CumSum", "x axis", exclusive=1, reverse=reverse)], {"x": x}, {"axis": np.array(1)})


@pytest.mark.parametrize("scale", [0.007, 0.02, 0.25, 0.3])
def test_ties_of_quantisation(scale: float) -> None:
    """ONNX divides in float32; a product with 1 / scale puts some ties on the other side."""
    step = np.float32(scale)
    x = ((np.arange(-100, 100) + 0.5) * step).astype(np.float32).reshape(1, 200)
    made = [node("QuantizeLinear", "x s z", outputs="q"), node("DequantizeLinear", "q s z")]
    check(made, {"x": x}, {"s": step, "z": np.int8(0)})


@pytest.mark.parametrize("size", [3, 6, 9])
def test_scales_by_all_their_digits(size: int) -> None:
    x = np.arange(2 * size * size, dtype=np.float32).reshape(1, 2, size, size)
    check([node("Upsample", "x scales")], {"x": x}, {"scales": np.array([1, 1, 4 / 3, 4 / 3], np.float32)}, opset=9)


@pytest.mark.parametrize("auto", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("kernel", "stride", "size"), [(1, 3, 9), (1, 2, 6), (3, 2, 6), (2, 3, 8), (4, 2, 5)])
def test_a_transposed_convolution_of_a_wanted_size(auto: str, kernel: int, stride: int, size: int) -> None:
    known = {"w": random(2, 3, kernel)}
    made = node("ConvTranspose", "x w", strides=[stride], auto_pad=auto, output_shape=[size])
    check([made], {"x": random(1, 2, 3)}, known)


def test_a_size_that_runtimes_disagree_on_is_refused() -> None:
    proto = model(
        [node("ConvTranspose", "x w", strides=[2], auto_pad="SAME_UPPER")],
        {"x": X[:, :, 0]},
        {"w": X[:, :1, 0, :1]},
        17,
    )
    with pytest.raises(CnnccError, match="auto_pad SAME_UPPER of a kernel below its stride"):
        from_onnx(proto)
