"""float32 operations that are rounded one by one: the CUDA compiler would make one operation of a product and a sum.

Layers on bytes compute with these, so that their bytes are those of every other machine.
"""

from __future__ import annotations

from tvm import tirx

from cnncc.kernels.shared.builder import Expr


def times(a: Expr, b: Expr) -> Expr:
    """a b."""
    return tirx.call_pure_extern("float32", "__fmul_rn", a, b)


def plus(a: Expr, b: Expr) -> Expr:
    """a + b."""
    return tirx.call_pure_extern("float32", "__fadd_rn", a, b)


def quotient(a: Expr, b: Expr) -> Expr:
    """a / b."""
    return tirx.call_pure_extern("float32", "__fdiv_rn", a, b)


def nearest_int(value: Expr) -> Expr:
    """The nearest int32, ties to even; the least or the largest one for what is beyond."""
    return tirx.call_pure_extern("int32", "__float2int_rn", value)


def truncated_int(value: Expr) -> Expr:
    """The int32 without what is behind the point; the least or the largest one for what is beyond."""
    return tirx.call_pure_extern("int32", "__float2int_rz", value)
