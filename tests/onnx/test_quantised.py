"""Quantised models compute on bytes: those of ONNX Runtime for layers between two roundings, within one elsewhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from cases import CASES
from quantised_models import F32, Model, compared, image, ours, runtime, small_weights

from cnncc import api
from cnncc.base.errors import CnnccError
from cnncc.contrib.onnx_backend import CompiledModel
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.text.write import net_text

U8, S8 = np.uint8, np.int8
SHAPE = (1, 8, 9, 10)
INPUT = {U8: (0.021, U8(121)), S8: (0.023, S8(-7))}
RESULT = {U8: (0.19, U8(131)), S8: (0.17, S8(9))}
MICROSOFT = "com.microsoft"
CONVOLUTIONS = [
    {"kernel_shape": [1, 1]},
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0], "strides": [2, 1], "dilations": [1, 2]},
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "group": 2},
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "group": 8},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
]


class Layer:
    """Weights (out, ...), their scales and a bias for one layer, drawn."""

    def __init__(self, shape: tuple[int, ...], kind: Any, per_channel: bool, step: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.rng, self.kind, count = rng, kind, shape[0]
        self.weight = small_weights(rng, kind, *shape)
        self.scale = rng.uniform(0.002, 0.01, count if per_channel else ()).astype(F32)
        self.zero = np.full(self.scale.shape, 128 if kind is U8 else 0, kind)
        self.step = np.asarray(F32(step) * self.scale, F32)
        """Of the sum."""
        self.bias = rng.integers(-3000, 3000, count).astype(np.int32)


def qlinear_conv(x: Any, kind: Any, per_channel: bool, attributes: dict[str, Any]) -> Model:
    """One QLinearConv behind a QuantizeLinear."""
    m, group = Model(), attributes.get("group", 1)
    layer = Layer((16, SHAPE[1] // group, *attributes["kernel_shape"]), kind, per_channel, INPUT[x][0])
    q = m.quantize(m.input("x", image(layer.rng, *SHAPE)), *INPUT[x])
    tensors = ["w", "ws", "wz"]
    for name, value in zip([*tensors, "b"], (layer.weight, layer.scale, layer.zero, layer.bias), strict=True):
        m.known(name, value)
    m.add("QLinearConv", q, *m.steps("i", *INPUT[x]), *tensors, *m.steps("y", *RESULT[x]), "b", **attributes)
    return m


def qdq_conv(
    x: Any,
    per_channel: bool,
    attributes: dict[str, Any],
    bias: str = "int32",
    act: tuple[str, ...] = (),
    to: tuple[float, Any] | None = None,
) -> Model:
    """One Conv between DequantizeLinear and QuantizeLinear, with a bias of integers, numbers or none."""
    m, group = Model(), attributes.get("group", 1)
    layer = Layer((16, SHAPE[1] // group, *attributes["kernel_shape"]), S8, per_channel, INPUT[x][0])
    numbers = m.there_and_back(m.input("x", image(layer.rng, *SHAPE)), *INPUT[x])
    given = [numbers, m.dequantize(m.known("w", layer.weight), layer.scale, layer.zero, axis=0)]
    if bias == "int32":
        zeros = np.zeros(layer.step.shape, np.int32)
        given.append(m.dequantize(m.known("b", layer.bias), layer.step, zeros, axis=0))
    elif bias == "float":
        given.append(m.known("b", (layer.bias * layer.step).astype(F32)))
    value = m.add("Conv", *given, **attributes)
    if act:
        value = m.add(act[0], value, *(m.known(f"bound{i}", F32(b)) for i, b in enumerate(act[1:])))
    m.quantize(value, *(to or RESULT[x]))
    return m


def last(m: Model) -> str:
    return m.nodes[-1].output[0]


@pytest.mark.parametrize("attributes", CONVOLUTIONS)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("x", [U8, S8])
def test_qlinear_conv_has_the_bytes_of_onnx_runtime(x, per_channel, attributes):
    m = qlinear_conv(x, S8, per_channel, attributes)
    assert compared(m, last(m)) == (Counter(input=1, quantize=1, qconv=1), 0, ())


@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_of_uint8_become_int8(per_channel):
    """ONNX Runtime takes them beside uint8 only; their zero point is 128, so that nothing is lost."""
    m = qlinear_conv(U8, U8, per_channel, CONVOLUTIONS[1])
    assert compared(m, last(m)) == (Counter(input=1, quantize=1, qconv=1), 0, ())


@pytest.mark.parametrize("attributes", CONVOLUTIONS[:5])
@pytest.mark.parametrize("bias", ["int32", "float", "none"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("x", [U8, S8])
def test_a_conv_between_roundings_has_the_bytes_of_onnx_runtime(x, per_channel, bias, attributes):
    """Without a quantised bias ONNX Runtime computes in float32 and rounds the same sums."""
    m = qdq_conv(x, per_channel, attributes, bias)
    ops, worst, notes = compared(m, last(m))
    assert (ops, notes) == (Counter(input=1, quantize=1, qconv=1), ())
    assert worst <= (bias == "float")


@pytest.mark.parametrize(("act", "to", "bounds"), [
    (("Relu",), (0.1, U8(0)), 0), (("Relu",), (0.1, U8(40)), 1), (("Clip", 0, 6), (0.03, U8(0)), 1),
    (("Clip", 0, 6), (6 / 255, U8(0)), 0), (("Clip", -1, 2), (0.02, U8(99)), 1),
])  # fmt: skip
def test_bounds_behind_a_conv_are_bounds_of_bytes(act, to, bounds):
    """Those that the type has anyway are left out."""
    m = qdq_conv(U8, True, CONVOLUTIONS[1], act=act, to=to)
    ops, worst, notes = compared(m, last(m))
    assert (ops["qconv"], sum(ops.values()), notes) == (1, 3 + bounds, ())
    assert worst <= bounds


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("x", [U8, S8])
def test_a_transposed_conv_between_roundings_has_the_bytes_of_onnx_runtime(x, per_channel, group):
    """ONNX Runtime computes it in float32 and rounds the same sums. In groups, a scale for each place of axis 1 is that
    of an output in every group."""
    m, each = Model(), 6
    layer = Layer((each, SHAPE[1], 3, 2), S8, per_channel, INPUT[x][0])
    weight = np.ascontiguousarray(layer.weight.swapaxes(0, 1))
    numbers = m.there_and_back(m.input("x", image(layer.rng, *SHAPE)), *INPUT[x])
    given = [numbers, m.dequantize(m.known("w", weight), layer.scale, layer.zero, axis=1)]
    given.append(m.known("b", np.resize((layer.bias * layer.step).astype(F32), each * group)))
    settings = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1], "output_padding": [1, 0]}
    m.quantize(m.add("ConvTranspose", *given, **settings, group=group), *RESULT[x])
    assert compared(m, last(m)) == (Counter(input=1, quantize=1, qconv_transpose=1), 0, ())


def test_a_conv_that_is_not_rounded_gives_numbers():
    m = qdq_conv(U8, True, CONVOLUTIONS[1])
    m.nodes.pop()
    proto = m.proto(last(m))
    imported = from_onnx(proto, strict=True)
    (got,), (want,) = ours(imported, m.inputs), runtime(proto, m.inputs)
    assert [node.op for node in imported.graph.nodes] == ["input", "quantize", "qconv"]
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_a_compiled_module_has_the_bytes_of_onnx_runtime():
    for m in (qdq_conv(U8, True, CONVOLUTIONS[3]), qlinear_conv(S8, S8, True, CONVOLUTIONS[4])):
        proto = m.proto(last(m))
        (got,), (want,) = CompiledModel(from_onnx(proto, strict=True)).run(m.inputs), runtime(proto, m.inputs)
        np.testing.assert_array_equal(got, want)


def test_the_case_of_a_report_is_computed_on_bytes():
    case = CASES["qdq_conv"]
    imported = from_onnx(onnx.load(case.model), strict=True)
    np.testing.assert_array_equal(ours(imported, case.inputs)[0], case.expected["y"])
    assert [n.op for n in imported.graph.nodes] == ["input", "quantize", "qconv", "dequantize"]


@pytest.mark.parametrize("kind", [U8, S8])
def test_an_input_of_bytes_is_the_bytes(kind):
    """Whole numbers that the caller passes become the very bytes again."""
    m, every = Model(), np.resize(np.arange(256, dtype=np.uint8).view(kind), SHAPE)
    layer = Layer((16, 8, 1, 1), S8, True, INPUT[kind][0])
    x = m.dequantize(m.input("x", every), *INPUT[kind])
    w = m.dequantize(m.known("w", layer.weight), layer.scale, layer.zero, axis=0)
    m.quantize(m.add("Conv", x, w), 0.4, RESULT[kind][1])
    assert compared(m, last(m))[:2] == (Counter(input=1, quantize=1, qconv=1), 0)


# Fully connected


@pytest.mark.parametrize("x", [U8, S8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", ["Gemm", "Gemm transB", "MatMul", "MatMul Add", "QGemm", "QLinearMatMul"])
def test_fully_connected(form, per_channel, x):
    op, *more = form.split()
    m, layer = Model(), Layer((12, 40), S8, per_channel, INPUT[x][0])
    q = m.quantize(m.input("x", image(layer.rng, 1, 40)), *INPUT[x])
    turned = bool(more == ["transB"])
    m.known("w", layer.weight if turned else layer.weight.T.copy())
    axis, to = (0 if turned else 1), RESULT[x]
    if op == "QGemm":
        m.known("b", layer.bias)
        m.add(op, q, *m.steps("i", *INPUT[x]), "w", *m.steps("f", layer.scale, layer.zero), "b", *m.steps("y", *to),
              domain=MICROSOFT)  # fmt: skip
    elif op == "QLinearMatMul":
        m.add(op, q, *m.steps("i", *INPUT[x]), "w", *m.steps("f", layer.scale, layer.zero), *m.steps("y", *to))
    else:
        numbers = [m.dequantize(q, *INPUT[x]), m.dequantize("w", layer.scale, layer.zero, axis=axis)]
        bias = (layer.bias * layer.step).astype(F32)
        if op == "Gemm":
            value = m.add("Gemm", *numbers, m.known("b", bias), **({"transB": 1} if turned else {}))
        else:
            value = m.add("MatMul", *numbers)
            value = m.add("Add", value, m.known("b", bias)) if more else value
        m.quantize(value, *to)
    ops, worst, notes = compared(m, last(m))
    assert (ops, notes) == (Counter(input=1, quantize=1, qfc=1), ())
    assert worst <= (op not in ("QGemm", "QLinearMatMul"))


# Other layers


def two(m: Model, x: Any) -> tuple[str, str]:
    """Two quantised images of different scales."""
    rng = np.random.default_rng(3)
    scale, zero = INPUT[x]
    return (
        m.quantize(m.input("a", image(rng, *SHAPE)), scale, zero),
        m.quantize(m.input("b", image(rng, *SHAPE)), 0.013, x(3)),
    )


@pytest.mark.parametrize("act", ["", "Relu"])
@pytest.mark.parametrize("x", [U8, S8])
def test_a_sum(x, act):
    m = Model()
    a, b = two(m, x)
    value = m.add("Add", m.dequantize(a, *INPUT[x]), m.dequantize(b, 0.013, x(3)))
    m.quantize(m.add(act, value) if act else value, 0.031, x(4))
    ops, worst, notes = compared(m, last(m))
    assert (ops["qadd"], ops["add"], ops["relu"], notes) == (1, 0, bool(act), ())
    assert worst <= 1


def test_a_sum_of_integers():
    m = Model()
    a, b = two(m, U8)
    m.add("QLinearAdd", a, *m.steps("i", *INPUT[U8]), b, *m.steps("j", 0.013, U8(3)), *m.steps("y", 0.031, U8(4)),
          domain=MICROSOFT)  # fmt: skip
    ops, worst, notes = compared(m, last(m))
    assert (ops["qadd"], ops["add"], worst <= 1, notes) == (1, 0, True, ())


def test_a_shortcut_of_a_conv_that_is_rounded_once():
    """The form of TensorRT and OpenVINO: the sum, not the conv, is quantised."""
    m = qdq_conv(U8, True, {"kernel_shape": [1, 1]})
    m.nodes.pop()
    value = last(m)
    r = m.there_and_back(m.input("r", image(np.random.default_rng(5), 1, 16, 9, 10)), 0.02, U8(100))
    m.quantize(m.add("Relu", m.add("Add", r, value)), 0.15, U8(0))
    ops, worst, notes = compared(m, last(m))
    assert (ops, worst <= 1, notes) == (Counter(input=2, quantize=2, qconv=1), True, ())


@pytest.mark.parametrize("x", [U8, S8])
@pytest.mark.parametrize("form", ["GlobalAveragePool", "ReduceMean", "QLinearGlobalAveragePool"])
def test_a_mean(form, x):
    m = Model()
    q = m.quantize(m.input("x", image(np.random.default_rng(2), *SHAPE)), *INPUT[x])
    if form.startswith("QLinear"):
        m.add(form, q, *m.steps("i", *INPUT[x]), *m.steps("y", 0.004, x(5)), domain=MICROSOFT, channels_last=0)
    else:
        settings = {"axes": [2, 3]} if form == "ReduceMean" else {}
        m.quantize(m.add(form, m.dequantize(q, *INPUT[x]), **settings), 0.004, x(5))
    ops, worst, notes = compared(m, last(m))
    assert (ops["qgap"], ops["gap"], worst <= 1, notes) == (1, 0, True, ())


@pytest.mark.parametrize(("settings", "op"), [
    ({"kernel_shape": [3, 3], "strides": [2, 2]}, "qconv"),
    ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, "qconv"),
    ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, "avgpool"),
])  # fmt: skip
@pytest.mark.parametrize("form", ["AveragePool", "QLinearAveragePool"])
def test_means_of_windows(form, settings, op):
    """Where windows see different counts of numbers, they are averaged in float32, which is told."""
    m = Model()
    q = m.quantize(m.input("x", image(np.random.default_rng(2), *SHAPE)), *INPUT[U8])
    if form.startswith("QLinear"):
        m.add(form, q, *m.steps("i", *INPUT[U8]), *m.steps("y", 0.01, U8(90)), domain=MICROSOFT, **settings)
    else:
        m.quantize(m.add(form, m.dequantize(q, *INPUT[U8]), **settings), 0.01, U8(90))
    ops, worst, notes = compared(m, last(m))
    assert (ops[op], worst <= 1, len(notes)) == (1, True, op == "avgpool")


@pytest.mark.parametrize("form", ["Mul", "QLinearMul"])
def test_a_factor_for_each_channel(form):
    m, rng = Model(), np.random.default_rng(4)
    q = m.quantize(m.input("x", image(rng, *SHAPE)), *INPUT[U8])
    f = m.quantize(m.input("f", rng.uniform(0, 1, (1, 8, 1, 1)).astype(F32)), 1 / 255, U8(0))
    if form == "Mul":
        m.quantize(m.add(form, m.dequantize(q, *INPUT[U8]), m.dequantize(f, 1 / 255, U8(0))), 0.015, U8(120))
    else:
        steps = m.steps("i", *INPUT[U8]), m.steps("j", 1 / 255, U8(0)), m.steps("y", 0.015, U8(120))
        m.add(form, q, *steps[0], f, *steps[1], *steps[2], domain=MICROSOFT)
    ops, worst, notes = compared(m, last(m))
    assert (ops["qmul"], ops["mul"], worst <= 1, notes) == (1, 0, True, ())


@pytest.mark.parametrize("form", ["Concat", "QLinearConcat"])
def test_joined_arms_of_different_scales(form):
    """Each is given the scale of the result, by a table."""
    m = Model()
    a, b = two(m, U8)
    if form == "Concat":
        m.quantize(m.add(form, m.dequantize(a, *INPUT[U8]), m.dequantize(b, 0.013, U8(3)), axis=1), 0.025, U8(99))
    else:
        arms = [a, *m.steps("i", *INPUT[U8]), b, *m.steps("j", 0.013, U8(3))]
        m.add(form, *m.steps("y", 0.025, U8(99)), *arms, domain=MICROSOFT, axis=1)
    ops, worst, notes = compared(m, last(m))
    assert (ops["concat"], ops["quantize"], ops["dequantize"], worst <= 1, notes) == (1, 4, 2, True, ())


@pytest.mark.parametrize("form", ["Sigmoid", "LeakyRelu", "HardSwish", "QLinearSigmoid", "QLinearLeakyRelu"])
def test_functions_of_one_number_are_left_for_tables(form):
    m = Model()
    q = m.quantize(m.input("x", 3 * image(np.random.default_rng(2), *SHAPE)), *INPUT[U8])
    if form.startswith("QLinear"):
        m.add(form, q, *m.steps("i", *INPUT[U8]), *m.steps("y", 0.01, U8(20)), domain=MICROSOFT)
    else:
        m.quantize(m.add(form, m.dequantize(q, *INPUT[U8])), 0.01, U8(20))
    ops, worst, notes = compared(m, last(m), opset=14)
    assert (ops["quantize"], ops["dequantize"], worst <= 1, notes) == (2, 1, True, ())


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
def test_a_tensor_times_a_function_of_it_is_one_table(gate, rounded):
    """Swish and hard swish as quantisers leave them: a product of two values that are both made of the same bytes."""
    m = Model()
    q = m.quantize(m.input("x", 3 * image(np.random.default_rng(2), *SHAPE)), *INPUT[U8])
    x = m.dequantize(q, *INPUT[U8])
    factor = m.add(gate, x)
    m.quantize(m.add("Mul", x, m.there_and_back(factor, 1 / 255, U8(0)) if rounded else factor), 0.02, U8(20))
    proto = m.proto(last(m))
    imported = from_onnx(proto, strict=True)
    assert not imported.notes
    built = api.build(imported.graph)
    assert [c.node for c in built.program.calls if "table" not in c.kernel.family] == [imported.graph.nodes[1].name]
    (got,), (want,) = ours(imported, m.inputs), runtime(proto, m.inputs)
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    (x,) = m.inputs.values()
    assert np.array_equal(built.model()(x), got.reshape(built.model()(x).shape))


MOVES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "maxpool": ("MaxPool", (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "flatten": ("Flatten", (), {}),
    "reshape": ("Reshape", (np.array([1, 4, 180]),), {}),
    "transpose": ("Transpose", (), {"perm": [0, 1, 3, 2]}),
    "slice": ("Slice", (np.array([1]), np.array([7]), np.array([2])), {}),
    "pad": ("Pad", (np.array([0, 0, 1, 2, 0, 0, 0, 1]),), {}),
    "edges": ("Pad", (np.array([0, 0, 1, 2, 0, 0, 0, 1]),), {"mode": "edge"}),
    "nearest": (
        "Resize",
        (np.array([], F32), np.array([1, 1, 2, 2], F32)),
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "shuffle": ("DepthToSpace", (), {"blocksize": 2}),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("x", [U8, S8])
def test_what_moves_numbers_moves_bytes(name, x):
    op, given, attributes = MOVES[name]
    m = Model()
    numbers = m.there_and_back(m.input("x", image(np.random.default_rng(2), *SHAPE)), *INPUT[x])
    m.quantize(m.add(op, numbers, *(m.known(f"i{i}", v) for i, v in enumerate(given)), **attributes), *INPUT[x])
    proto = m.proto(last(m))
    imported = from_onnx(proto, strict=True)
    (got,), (want,) = ours(imported, m.inputs), runtime(proto, m.inputs)
    np.testing.assert_array_equal(got, want)
    assert not [n for n in imported.graph.nodes if n.type.is_float and n.op not in ("input", "dequantize")]
    assert sum(n.op == "quantize" for n in imported.graph.nodes) in (1, 2)
    assert imported.notes == ()


def test_a_border_of_a_number_that_bytes_do_not_have_is_not_moved():
    m = Model()
    numbers = m.there_and_back(m.input("x", image(np.random.default_rng(2), *SHAPE)), *INPUT[U8])
    pads = m.known("p", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    m.add("Pad", numbers, pads, m.known("v", F32(-7.77)))
    proto = m.proto(last(m))
    (got,), (want,) = ours(from_onnx(proto, strict=True), m.inputs), runtime(proto, m.inputs)
    np.testing.assert_allclose(got, want, rtol=1e-6)


# Integers


def test_conv_and_products_of_integers():
    m, layer = Model(), Layer((16, 8, 3, 3), S8, False, 1)
    x = m.input("x", layer.rng.integers(0, 256, SHAPE).astype(U8))
    weight = m.known("w", layer.weight)
    m.add("ConvInteger", x, weight, m.known("xz", U8(77)), m.known("wz", S8(3)), pads=[1, 1, 1, 1])
    assert compared(m, last(m))[:2] == (Counter(input=1, quantize=1, qconv=1), 0)


def dynamic(op: str) -> Model:
    """What `quantize_dynamic` makes of a layer."""
    m = Model()
    layer = Layer((16, 8, 3, 3) if op == "ConvInteger" else (16, 90), S8, False, 1)
    m.input("x", image(layer.rng, *(SHAPE if op == "ConvInteger" else (1, 90))))
    m.add("DynamicQuantizeLinear", "x")
    m.nodes[-1].output.extend(["xs", "xz"])
    q = m.nodes[-1].output[0]
    weight = m.known("w", layer.weight if op == "ConvInteger" else layer.weight.T.copy())
    total = m.add("Cast", m.add(op, q, weight, "xz", m.known("wz", S8(0))), to=1)
    m.add("Mul", total, m.add("Mul", "xs", m.known("ws", F32(0.01))))
    return m


@pytest.mark.parametrize("op", ["ConvInteger", "MatMulInteger"])
def test_scales_that_are_computed_at_run_time(op):
    m = dynamic(op)
    proto = m.proto(last(m))
    imported = from_onnx(proto, strict=True)
    (got,), (want,) = ours(imported, m.inputs), runtime(proto, m.inputs)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
    assert imported.notes[0] == (
        f"computed in float32, since the scales of what they read are computed at run time: "
        f"DynamicQuantizeLinear_0 (DynamicQuantizeLinear), {op}_1 ({op})"
    )


# What stays float32


def test_what_stays_float32_is_listed_with_why():
    m = qdq_conv(U8, True, CONVOLUTIONS[1])
    value = m.dequantize(last(m), *RESULT[U8])
    filters = m.known("f", image(np.random.default_rng(0), 4, 16, 1, 1))
    value = m.add("Conv", value, filters)
    m.quantize(m.add("Softmax", m.add("Exp", value), axis=1), *RESULT[U8])
    imported = from_onnx(m.proto(last(m)), strict=True)
    assert list(imported.notes) == [
        "computed in float32, since their weights are not int8 with one scale for each output: Conv_7 (Conv)",
        "computed in float32, since what they read is float32: Exp_8 (Exp), Softmax_9 (Softmax)",
    ]


def test_what_comes_behind_the_last_bytes_is_not_listed_but_for_products():
    m = qdq_conv(U8, True, CONVOLUTIONS[1])
    value = m.add("Softmax", m.dequantize(last(m), *RESULT[U8]), axis=1)
    assert from_onnx(m.proto(value), strict=True).notes == ()
    filters = m.known("f", image(np.random.default_rng(0), 4, 16, 1, 1))
    imported = from_onnx(m.proto(m.add("Conv", value, filters)), strict=True)
    assert imported.notes == ("computed in float32, since what they read is float32: Conv_8 (Conv)",)


def test_what_is_quantised_by_channels_is_rounded_in_float32_and_told():
    m = Model()
    x = m.input("x", image(np.random.default_rng(0), *SHAPE))
    scale, zero = np.linspace(0.01, 0.1, 8), np.zeros(8, S8)
    m.dequantize(m.quantize(x, scale, zero), scale, zero)
    imported = from_onnx(m.proto(last(m)), strict=True)
    why = "they are quantised otherwise than to 8 bits with one scale"
    nodes = "QuantizeLinear_0 (QuantizeLinear), DequantizeLinear_1 (DequantizeLinear)"
    assert imported.notes == (f"computed in float32, since {why}: {nodes}",)


def test_weights_with_other_zero_points_stay_float32_where_they_would_leave_int8():
    for zero, op in ((128, "qconv"), (200, "conv")):
        m, layer = Model(), Layer((4, 8, 1, 1), U8, False, 0.02)
        layer.weight.flat[0] = 0
        numbers = m.there_and_back(m.input("x", image(layer.rng, *SHAPE)), *INPUT[U8])
        m.quantize(m.add("Conv", numbers, m.dequantize(m.known("w", layer.weight), layer.scale, U8(zero))), 0.2, U8(9))
        imported = from_onnx(m.proto(last(m)), strict=True)
        assert (op in {n.op for n in imported.graph.nodes}, len(imported.notes)) == (True, op == "conv")


# Bounds of biases


def test_a_channel_of_all_but_no_weights_gets_a_larger_scale():
    """Its bias would be more steps than a sum may have."""
    m, layer = Model(), Layer((16, 8, 1, 1), S8, True, INPUT[U8][0])
    layer.scale[3] = 1e-12
    numbers = m.there_and_back(m.input("x", image(layer.rng, *SHAPE)), *INPUT[U8])
    w = m.dequantize(m.known("w", layer.weight), layer.scale, layer.zero, axis=0)
    m.quantize(m.add("Conv", numbers, w, m.known("b", np.linspace(-1, 1, 16, dtype=F32))), 0.05, U8(128))
    proto = m.proto(last(m))
    imported = from_onnx(proto, strict=True)
    (got,), (want,) = ours(imported, m.inputs), runtime(proto, m.inputs, as_written=True)
    assert np.abs(got - want).max() <= 1
    (conv,) = (n for n in imported.graph.nodes if n.op == "qconv")
    scales = imported.graph.constants[conv.weights["weight_scale"]].compute()
    assert np.flatnonzero(scales != layer.scale).tolist() == [3]


def test_sums_that_could_overflow_are_told_by_their_layer():
    m = Model()
    numbers = m.there_and_back(m.input("x", np.zeros((1, 40_000), F32)), *INPUT[U8])
    w = m.dequantize(m.known("w", np.full((40_000, 1), 127, S8)), F32(0.01), S8(0))
    m.quantize(m.add("MatMul", numbers, w), 100, U8(128))
    imported = from_onnx(m.proto(last(m)), strict=True)
    (layer,) = (n.name for n in imported.graph.nodes if n.op == "qfc")
    with pytest.raises(CnnccError, match=f"{layer}: sums of 1 channels, the first of them 0, could leave int32"):
        CompiledModel(imported)


def test_the_text_is_read_as_the_same_graph():
    m = qdq_conv(U8, True, CONVOLUTIONS[3], act=("Relu",), to=(0.1, U8(40)))
    written = net_text(from_onnx(m.proto(last(m)), strict=True).graph)
    assert not written.flat
    assert "qconv 3x3 16 groups 2 to uint8 scale 0.1 zero 40 relu" in written.text
