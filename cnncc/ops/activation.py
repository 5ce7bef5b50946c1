"""The nonlinearities of networks, each in one record. They also appear by name in the epilogues of other ops."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ops.domains import Choice, Tenths, Values
from cnncc.ops.elementary import erf, erf_formula
from cnncc.ops.onnx import Onnx
from cnncc.ops.pointwise import Number, Pointwise, pointwise_ops
from cnncc.ops.table import Array, Attrs
from cnncc.ops.traits import Finite
from cnncc.ops.vectors import Value, Vectors

LARGEST = 3.4028234663852886e38
"""The largest float32: what `clip` is bounded by where nothing is said."""


def sigmoid_formula(v: Vectors, x: Value) -> Value:
    one = v.number(1.0)
    return v.let(one / (one + v.exp(v.number(0.0) - x)))


def sigmoid(x: Array, attrs: Attrs) -> Array:
    """1 / (1 + exp(-x)), written with tanh so that nothing overflows"""
    return (np.tanh(x / 2) + 1) / 2


def tanh_formula(v: Vectors, x: Value) -> Value:
    one = v.number(1.0)
    return v.let(one - v.number(2.0) / (v.exp(x + x) + one))


def leaky_relu(v: Vectors, x: Value, slope: float) -> Value:
    """x if x > 0, else slope * x"""
    zero = v.number(0.0)
    return v.let(v.max(zero, x) + v.min(zero, x) * v.number(slope))


def hard_sigmoid(v: Vectors, x: Value, alpha: float, beta: float) -> Value:
    """min(max(alpha * x + beta, 0), 1)"""
    return v.clamp(x * v.number(alpha) + v.number(beta), 0.0, 1.0)


def hard_swish(x: Array, attrs: Attrs) -> Array:
    """x * min(max(x / 6 + 1/2, 0), 1)  (MobileNetV3)"""
    return x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1)


def affine(v: Vectors, x: Value, scale: float, shift: float) -> Value:
    """scale * x + shift, the same for all channels"""
    return v.let(x * v.number(scale) + v.number(shift))


def elu_formula(v: Vectors, x: Value, alpha: float) -> Value:
    zero = v.number(0.0)
    below = v.let(v.exp(v.let(v.min(zero, x))) - v.number(1.0))
    return v.let(v.max(zero, x) + below * v.number(alpha))


def elu(x: Array, attrs: Attrs) -> Array:
    """x if x > 0, else alpha * (exp(x) - 1)"""
    return np.where(x > 0, x, x.dtype.type(attrs["alpha"]) * np.expm1(np.minimum(x, 0)))


def magnitude(v: Vectors, x: Value) -> Value:
    """|x|"""
    return v.let(v.max(v.number(0.0) - x, x))


def softplus_formula(v: Vectors, x: Value) -> Value:
    """max(x, 0) + ln(1 + e^-|x|): nothing overflows."""
    small = v.exp(v.let(v.number(0.0) - magnitude(v, x)))
    return v.let(v.max(v.number(0.0), x) + v.log(v.let(v.number(1.0) + small)))


def softplus(x: Array, attrs: Attrs) -> Array:
    """ln(1 + exp(x))"""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softsign(v: Vectors, x: Value) -> Value:
    """x / (1 + |x|)"""
    return v.let(x / (v.number(1.0) + magnitude(v, x)))


def mish_formula(v: Vectors, x: Value) -> Value:
    """tanh(ln(1 + n)) = (n^2 + 2n) / (n^2 + 2n + 2) with n = e^x; from x = 20 on it is 1 in float32."""
    n = v.exp(v.let(v.min(v.number(20.0), x)))
    square = v.let(n * (n + v.number(2.0)))
    return v.let(x * (square / (square + v.number(2.0))))


def mish(x: Array, attrs: Attrs) -> Array:
    """x * tanh(ln(1 + exp(x)))  (Misra 2019)"""
    return x * np.tanh(softplus(x, attrs))


def gelu_formula(v: Vectors, x: Value) -> Value:
    half = v.number(0.5)
    return v.let(x * half * (v.number(1.0) + erf_formula(v, v.let(x * v.number(0.7071067811865476)))))


def gelu(x: Array, attrs: Attrs) -> Array:
    """x * (1 + erf(x / sqrt(2))) / 2  (Hendrycks and Gimpel 2016)"""
    return x * (1 + erf(x * x.dtype.type(math.sqrt(0.5)), attrs)) / 2


def gelu_tanh_formula(v: Vectors, x: Value) -> Value:
    cubic = v.let(x * (v.number(1.0) + x * x * v.number(0.044715)))
    return v.let(x * v.number(0.5) * (v.number(1.0) + tanh_formula(v, cubic * v.number(0.7978845608028654))))


def gelu_tanh(x: Array, attrs: Attrs) -> Array:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, an approximation of gelu that some networks are made of"""
    kind = x.dtype.type
    return x * (1 + np.tanh(kind(math.sqrt(2 / math.pi)) * (x + kind(0.044715) * x * x * x))) / 2


def thresholded_relu(v: Vectors, x: Value, alpha: float) -> Value:
    """x if x > alpha, else 0"""
    return v.let(v.select(x <= v.edge(alpha), v.number(0.0), x))


def shrink(v: Vectors, x: Value, shift: float, edge: float) -> Value:
    """x - shift above edge, x + shift below -edge, else 0; NaN stays."""
    inside = v.let(v.select(v.is_nan(x), x, v.number(0.0)))
    lower = v.let(v.select(x < v.edge(-edge), x + v.number(shift), inside))
    return v.let(v.select(x > v.edge(edge), x - v.number(shift), lower))


ALPHA = Number(1.0, Tenths(1, 20))
OPS = pointwise_ops(
    Pointwise(
        "relu",
        lambda v, x: v.let(v.max(v.number(0.0), x)),
        tolerance=0.0,
        finite=Finite.ALWAYS,
        onnx=Onnx("Relu"),
        values=Values.ANY,
        bounds=lambda attrs: (0.0, math.inf),
    ),
    Pointwise(
        "relu6",
        lambda v, x: v.clamp(x, 0.0, 6.0),
        tolerance=0.0,
        finite=Finite.ALWAYS,
        onnx=None,
        values=Values.ANY,
        bounds=lambda attrs: (0.0, 6.0),
    ),
    Pointwise(
        "leaky_relu",
        leaky_relu,
        tolerance=1e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("LeakyRelu", {"alpha": ("slope", 0.01)}),
        values=Values.ANY,
        numbers={"slope": Number(0.01, Tenths(0, 5))},
        optional="slope",
        example="leaky_relu 0.1",
        synonyms=("lrelu", "leaky"),
    ),
    Pointwise(
        "sigmoid",
        sigmoid_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Sigmoid"),
        values=Values.ANY,
        reference=sigmoid,
    ),
    Pointwise(
        "tanh",
        tanh_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Tanh"),
        values=Values.ANY,
        reference=lambda x, attrs: np.tanh(x),
    ),
    Pointwise(
        "hard_sigmoid",
        hard_sigmoid,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("HardSigmoid", {"alpha": ("alpha", 0.2), "beta": ("beta", 0.5)}),
        values=Values.ANY,
        numbers={"alpha": Number(1 / 6, Choice((1 / 6, 0.2))), "beta": Number(0.5, Choice((0.5, 0.25)))},
        synonyms=("hsigmoid",),
    ),
    Pointwise(
        "hard_swish",
        lambda v, x: v.let(x * hard_sigmoid(v, x, 1 / 6, 0.5)),
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("HardSwish"),
        values=Values.ANY,
        reference=hard_swish,
        synonyms=("hswish",),
    ),
    Pointwise(
        "silu",
        lambda v, x: v.let(x * sigmoid_formula(v, x)),
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=None,
        values=Values.ANY,
        reference=lambda x, attrs: x * sigmoid(x, attrs),
        synonyms=("swish",),
    ),
    Pointwise(
        "clip",
        lambda v, x, low, high: v.clamp(x, low, high),
        tolerance=0.0,
        finite=Finite.ALWAYS,
        onnx=None,
        values=Values.ANY,
        numbers={"low": Number(-LARGEST, Tenths(-20, 0)), "high": Number(LARGEST, Tenths(1, 20))},
        example="clip low 0 high 1",
        bounds=lambda attrs: (attrs["low"], attrs["high"]),
    ),
    Pointwise(
        "affine",
        affine,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=None,
        values=Values.ANY,
        numbers={"scale": Number(1.0, Tenths(-20, 20)), "shift": Number(0.0, Tenths(-20, 20))},
        example="affine scale 2 shift 1",
        synonyms=("scaleshift",),
    ),
    Pointwise(
        "elu",
        elu_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Elu", {"alpha": ("alpha", 1.0)}),
        values=Values.ANY,
        numbers={"alpha": ALPHA},
        reference=elu,
        optional="alpha",
    ),
    Pointwise(
        "softplus",
        softplus_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Softplus"),
        values=Values.ANY,
        reference=softplus,
    ),
    Pointwise(
        "softsign",
        softsign,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Softsign"),
        values=Values.ANY,
    ),
    Pointwise(
        "mish",
        mish_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Mish", since=18),
        values=Values.ANY,
        reference=mish,
    ),
    Pointwise(
        "gelu",
        gelu_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=None,
        values=Values.ANY,
        reference=gelu,
    ),
    Pointwise(
        "gelu_tanh",
        gelu_tanh_formula,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=None,
        values=Values.ANY,
        reference=gelu_tanh,
    ),
    Pointwise(
        "thresholded_relu",
        thresholded_relu,
        tolerance=0.0,
        finite=Finite.ALWAYS,
        onnx=Onnx("ThresholdedRelu", {"alpha": ("alpha", 1.0)}),
        values=Values.ANY,
        numbers={"alpha": Number(1.0, Tenths(0, 20))},
        optional="alpha",
        example="thresholded_relu 1",
    ),
    Pointwise(
        "shrink",
        shrink,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Shrink", {"bias": ("shift", 0.0), "lambd": ("edge", 0.5)}),
        values=Values.ANY,
        numbers={"shift": Number(0.0, Tenths(0, 9)), "edge": Number(0.5, Tenths(0, 9))},
        example="shrink shift 0.5 edge 0.5",
    ),
    Pointwise(
        "abs",
        magnitude,
        tolerance=0.0,
        finite=Finite.ALWAYS,
        onnx=Onnx("Abs"),
        values=Values.ANY,
    ),
)
