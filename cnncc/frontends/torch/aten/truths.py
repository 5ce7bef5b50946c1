"""Comparisons, truth values and choices."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.frontends.onnx.site import Tensor
from cnncc.frontends.onnx.values import Unsupported
from cnncc.frontends.torch.call import AtenCall, AtenRule

COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}
ONE, TWO = "self", "other"


def comparison(op: str) -> AtenRule:
    return lambda call: call.onnx(op, ONE, TWO)


def not_equal(call: AtenCall) -> Tensor:
    return call.onnx("Not", call.onnx("Equal", ONE, TWO))


def where(call: AtenCall) -> Tensor:
    return call.onnx("Where", "condition", ONE, TWO)


def masked_fill(call: AtenCall) -> Tensor:
    return call.onnx("Where", "mask", "value", ONE)


def logical(op: str, *operands: str) -> AtenRule:
    """Of numbers, those that are not 0 are true."""
    return lambda call: call.onnx(op, *map(call.truth, operands))


def of_truths(op: str, *operands: str) -> AtenRule:
    """A bitwise op of truth values; of whole numbers there is none."""

    def rule(call: AtenCall) -> Tensor:
        if any(call.kinds[name].kind != "b" for name in operands if name in call.kinds):
            raise Unsupported("bits of whole numbers")
        return call.onnx(op, *operands)

    return rule


RULES: Mapping[str, AtenRule] = {
    **{f"aten.{name}": comparison(op) for name, op in COMPARISONS.items()},
    "aten.ne": not_equal,
    "aten.where": where,
    "aten.masked_fill": masked_fill,
    "aten.logical_not": logical("Not", ONE),
    "aten.logical_and": logical("And", ONE, TWO),
    "aten.logical_or": logical("Or", ONE, TWO),
    "aten.logical_xor": logical("Xor", ONE, TWO),
    "aten.bitwise_not": of_truths("Not", ONE),
    "aten.bitwise_and": of_truths("And", ONE, TWO),
    "aten.bitwise_or": of_truths("Or", ONE, TWO),
    "aten.bitwise_xor": of_truths("Xor", ONE, TWO),
}
