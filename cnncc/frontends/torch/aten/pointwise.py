"""Ops that look at one element at a time: activations, functions, arithmetic, comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cnncc.frontends.onnx.convert.arithmetic import convert
from cnncc.frontends.onnx.site import Tensor
from cnncc.frontends.onnx.values import Unsupported
from cnncc.frontends.torch.call import AtenCall, AtenRule, Operand

CAPITAL = """
    abs neg exp log sqrt reciprocal sin cos tan asin acos atan sinh cosh asinh acosh atanh erf floor ceil round sign
    relu sigmoid tanh mish
"""
SAME = {
    **{name: name.capitalize() for name in CAPITAL.split()},
    "hardswish": "HardSwish",
    "isnan": "IsNaN",
    "isinf": "IsInf",
    "silu": "Swish",
}
"""Ops of one tensor that are the same in ONNX, by its name."""
SAME_OF_TWO = {
    "mul": "Mul",
    "maximum": "Max",
    "minimum": "Min",
}
"""Ops of two tensors, of which one may be a number."""
ONE, TWO = "self", "other"


def same(op: str) -> AtenRule:
    return lambda call: call.onnx(op, ONE)


def same_of_two(op: str) -> AtenRule:
    return lambda call: call.onnx(op, ONE, TWO)


def named(op: str, **numbers: tuple[str, float]) -> AtenRule:
    """An op of ONNX with numbers: each by its name there, with its name and default here."""

    def rule(call: AtenCall) -> Tensor:
        return call.onnx(op, ONE, **{theirs: call.float_of(*ours) for theirs, ours in numbers.items()})

    return rule


# Activations


def bounded(low: str, high: str, lowest: float | None = None, highest: float | None = None) -> AtenRule:
    """Bounds by the names of arguments; either may be left out."""

    def rule(call: AtenCall) -> Tensor:
        least, most = call[low], call[high]
        return call.onnx("Clip", ONE, *(b if b is not None else d for b, d in ((least, -math.inf), (most, math.inf))))

    return rule


def gelu(call: AtenCall) -> Tensor:
    return call.onnx("Gelu", ONE, approximate=call["approximate"])


def elu(call: AtenCall) -> Tensor:
    """scale x above 0, else scale alpha (exp(input_scale x) - 1): with 1 / alpha in there, Celu of ONNX."""
    alpha, scale, inner = (call.float_of(name, 1.0) for name in ("alpha", "scale", "input_scale"))
    if inner not in (1, 1 / alpha):
        raise Unsupported(f"elu with alpha={alpha} and input_scale={inner}")
    made = call.onnx("Elu" if inner == 1 else "Celu", ONE, alpha=alpha)
    return made if scale == 1 else call.onnx("Mul", made, scale)


def softplus(call: AtenCall) -> Tensor:
    """softplus(beta x) / beta, without the threshold beyond which PyTorch takes x: that is the same in float32."""
    beta = call.float_of("beta", 1.0)
    if beta == 1:
        return call.onnx("Softplus", ONE)
    inner = call.onnx("Softplus", call.onnx("Mul", ONE, beta))
    return call.onnx("Mul", inner, 1 / beta)


def log_sigmoid(call: AtenCall) -> Tensor:
    """-softplus(-x)"""
    return call.onnx("Neg", call.onnx("Softplus", call.onnx("Neg", ONE)))


def prelu(call: AtenCall) -> Tensor:
    """One slope, or one for each channel, which is the second axis."""
    slope, rank = call["weight"], len(call.shape(ONE))
    if isinstance(slope, np.ndarray) and slope.ndim == 1 and slope.size > 1:
        slope = slope.reshape(-1, *(1,) * (rank - 2))
    return call.onnx("PRelu", ONE, slope)


def softshrink(call: AtenCall) -> Tensor:
    edge = call.float_of("lambd", 0.5)
    return call.onnx("Shrink", ONE, lambd=edge, bias=edge)


def threshold(call: AtenCall) -> Tensor:
    """x above the threshold, else the value."""
    if call["value"] == 0:
        return call.onnx("ThresholdedRelu", ONE, alpha=call.float_of("threshold", 0.0))
    above = call.onnx("Greater", ONE, "threshold")
    return call.onnx("Where", above, ONE, np.array(call["value"], np.float32))


def glu(call: AtenCall) -> Tensor:
    """The first half times the sigmoid of the second."""
    axis = call["dim"]
    first, second = (half for half in call.several("Split", 2, ONE, axis=axis))
    return call.onnx("Mul", first, call.onnx("Sigmoid", second))


# Arithmetic


def plus(op: str) -> AtenRule:
    """self + alpha other, or the difference."""

    def rule(call: AtenCall) -> Tensor:
        other: Operand = TWO
        if call["alpha"] not in (None, 1):
            other = (
                call.onnx("Mul", TWO, call["alpha"])
                if not isinstance(call[TWO], int | float)
                else call[TWO] * call["alpha"]
            )
        return call.onnx(op, ONE, other)

    return rule


def minus_reversed(call: AtenCall) -> Tensor:
    """other - alpha self"""
    first = ONE if call["alpha"] in (None, 1) else call.onnx("Mul", ONE, call["alpha"])
    return call.onnx("Sub", TWO, first)


def divide(call: AtenCall) -> Tensor:
    """Of whole numbers too the whole quotient, unless it is rounded."""
    quotient = call.onnx("Div", *as_floats(call))
    how = {None: None, "floor": "Floor", "trunc": "trunc"}[call["rounding_mode"]]
    if how == "trunc":
        return call.site("Identity", quotient).pointwise("round_to_zero", quotient)
    return quotient if how is None else call.onnx(how, quotient)


def as_floats(call: AtenCall) -> tuple[Operand, Operand]:
    """Both operands without their types: a quotient of whole numbers is a fraction in PyTorch."""
    return call[ONE], call[TWO]


def floor_divide(call: AtenCall) -> Tensor:
    return call.onnx("Floor", call.onnx("Div", *as_floats(call)))


def power(call: AtenCall) -> Tensor:
    return call.onnx("Pow", ONE, "exponent")


def square(call: AtenCall) -> Tensor:
    return call.onnx("Mul", ONE, ONE)


def inverse_root(call: AtenCall) -> Tensor:
    return call.onnx("Reciprocal", call.onnx("Sqrt", ONE))


def logarithm(base: float) -> AtenRule:
    return lambda call: call.onnx("Mul", call.onnx("Log", ONE), 1 / math.log(base))


def log_of_more(call: AtenCall) -> Tensor:
    """ln(1 + x)"""
    return call.onnx("Log", call.onnx("Add", ONE, 1.0))


def exp_less_one(call: AtenCall) -> Tensor:
    return call.onnx("Sub", call.onnx("Exp", ONE), 1.0)


def truncated(call: AtenCall) -> Tensor:
    return call.site("Identity", ONE).pointwise("round_to_zero", call.value(ONE))


def product_added(op: str) -> AtenRule:
    """self + value tensor1 tensor2, or the quotient."""

    def rule(call: AtenCall) -> Tensor:
        product = call.onnx(op, "tensor1", "tensor2")
        if call["value"] not in (None, 1):
            product = call.onnx("Mul", product, call["value"])
        return call.onnx("Add", ONE, product)

    return rule


def between(call: AtenCall) -> Tensor:
    """start + weight (end - start)"""
    return call.onnx("Add", ONE, call.onnx("Mul", "weight", call.onnx("Sub", "end", ONE)))


# Types and copies


def typed(call: AtenCall) -> Tensor:
    """The tensor as the type of the result has it."""
    value, old = call.value(ONE), call.kinds.get(ONE)
    return value if old == call.kind else convert(call.site("Identity", ONE), value, old, call.kind)


def unchanged(call: AtenCall) -> Tensor:
    return call.onnx("Identity", ONE)


def dropout(call: AtenCall) -> Tensor:
    """Kept in the text, unless nothing is ever dropped."""
    if not call["p"]:
        return call.value("input")
    if call["train"]:
        raise Unsupported("dropout in training")
    return call.onnx("Dropout", "input", ratio=float(call["p"]))


RULES: Mapping[str, AtenRule] = {
    **{f"aten.{name}": same(op) for name, op in SAME.items()},
    **{f"aten.{name}": same_of_two(op) for name, op in SAME_OF_TWO.items()},
    "aten.hardtanh": bounded("min_val", "max_val"),
    "aten.relu6": lambda call: call.onnx("Clip", ONE, 0.0, 6.0),
    "aten.clamp": bounded("min", "max"),
    "aten.clamp_min": bounded("min", ""),
    "aten.clamp_max": bounded("", "max"),
    "aten.leaky_relu": named("LeakyRelu", alpha=("negative_slope", 0.01)),
    "aten.hardsigmoid": lambda call: call.onnx("HardSigmoid", ONE, alpha=1 / 6, beta=0.5),
    "aten.celu": named("Celu", alpha=("alpha", 1.0)),
    "aten.selu": same("Selu"),
    "aten.elu": elu,
    "aten.gelu": gelu,
    "aten.softplus": softplus,
    "aten.log_sigmoid": log_sigmoid,
    "aten.prelu": prelu,
    "aten.hardshrink": named("Shrink", lambd=("lambd", 0.5)),
    "aten.softshrink": softshrink,
    "aten.threshold": threshold,
    "aten.glu": glu,
    "aten.add": plus("Add"),
    "aten.sub": plus("Sub"),
    "aten.rsub": minus_reversed,
    "aten.div": divide,
    "aten.floor_divide": floor_divide,
    "aten.remainder": lambda call: call.onnx("Mod", ONE, TWO),
    "aten.fmod": lambda call: call.onnx("Mod", ONE, TWO, fmod=1),
    "aten.pow": power,
    "aten.square": square,
    "aten.rsqrt": inverse_root,
    "aten.log2": logarithm(2),
    "aten.log10": logarithm(10),
    "aten.log1p": log_of_more,
    "aten.expm1": exp_less_one,
    "aten.trunc": truncated,
    "aten.addcmul": product_added("Mul"),
    "aten.addcdiv": product_added("Div"),
    "aten.lerp": between,
    "aten._to_copy": typed,
    **{f"aten.{name}": unchanged for name in ("clone", "alias", "detach", "lift_fresh_copy")},
    "aten.dropout": dropout,
}
