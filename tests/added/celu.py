"""celu (Barron 2017): a pointwise op as someone would add it, all of it in one file of `cnncc/ops`."""

from __future__ import annotations

from cnncc.ops.domains import Tenths, Values
from cnncc.ops.onnx import Onnx
from cnncc.ops.pointwise import Number, Pointwise, pointwise_ops
from cnncc.ops.traits import Finite
from cnncc.ops.vectors import Value, Vectors


def celu(v: Vectors, x: Value, alpha: float) -> Value:
    """x if x > 0, else alpha * (exp(x / alpha) - 1)"""
    zero = v.number(0.0)
    below = v.let(v.exp(v.let(v.min(zero, x) / v.number(alpha))) - v.number(1.0))
    return v.let(v.max(zero, x) + below * v.number(alpha))


OPS = pointwise_ops(
    Pointwise(
        "celu",
        celu,
        tolerance=2e-6,
        finite=Finite.ALWAYS,
        onnx=Onnx("Celu", {"alpha": ("alpha", 1.0)}),
        values=Values.ANY,
        numbers={"alpha": Number(1.0, Tenths(1, 20))},
        optional="alpha",
        example="celu 0.5",
    )
)
