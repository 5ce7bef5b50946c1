"""Sums, means, extremes and what is found along axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnncc.frontends.onnx.site import Tensor
from cnncc.frontends.onnx.values import Unsupported, axis_of
from cnncc.frontends.torch.aten.shapes import vector
from cnncc.frontends.torch.call import AtenCall, AtenRule


def along(call: AtenCall, op: str, source: Any = "self") -> Any:
    """A reduction of the axes that the call names, of all if it names none."""
    axes = call.ints("dim")
    return call.onnx(op, source, vector(axes) if axes else None, keepdims=bool(call["keepdim"]))


def reduction(op: str) -> AtenRule:
    return lambda call: along(call, op)


def extreme(reduce: str, pick: str, merge: str) -> AtenRule:
    """The largest of all, of an axis with its place, or of two tensors."""

    def rule(call: AtenCall) -> Any:
        if "other" in call.given:
            return call.onnx(merge, "self", "other")
        if "dim" not in call.given:
            return call.onnx(reduce, "self", keepdims=0)
        found = [along(call, reduce)]
        return [*found, place(pick)(call)] if 1 in call.read else found

    return rule


def place(op: str) -> AtenRule:
    """Where the largest or smallest is; without an axis among all elements."""

    def rule(call: AtenCall) -> Tensor:
        if call["dim"] is None:
            flat = call.onnx("Reshape", "self", vector([-1]))
            return call.onnx(op, flat, axis=0, keepdims=bool(call["keepdim"]))
        return call.onnx(op, "self", axis=call["dim"], keepdims=bool(call["keepdim"]))

    return rule


def spread(call: AtenCall) -> Tensor:
    """The variance: the mean of squares of what is left without the mean, over n - correction."""
    shape = call.shape("self")
    axes = [axis_of(a, len(shape)) for a in call.ints("dim") or range(len(shape))]
    correction = call["correction"] if "correction" in call.given else int(bool(call["unbiased"]))
    count = math.prod(shape[a] for a in axes)
    rest = count - (1 if correction is None else correction)
    if rest <= 0:
        raise Unsupported(f"the variance of {count} numbers")
    centred = call.onnx("Sub", "self", call.onnx("ReduceMean", "self", vector(axes), keepdims=1))
    squares = call.onnx("ReduceMean", call.onnx("Mul", centred, centred), vector(axes), keepdims=bool(call["keepdim"]))
    return squares if rest == count else call.onnx("Mul", squares, count / rest)


def deviation(call: AtenCall) -> Tensor:
    return call.onnx("Sqrt", spread(call))


def spread_and_mean(call: AtenCall) -> list[Tensor]:
    return [spread(call), along(call, "ReduceMean")]


def deviation_and_mean(call: AtenCall) -> list[Tensor]:
    return [deviation(call), along(call, "ReduceMean")]


NORMS = {1.0: "ReduceL1", 2.0: "ReduceL2", math.inf: "ReduceMax", -math.inf: "ReduceMin"}


def vector_norm(call: AtenCall) -> Tensor:
    order = call.float_of("ord", 2.0)
    if order not in NORMS:
        raise Unsupported(f"a norm of order {order}")
    return along(call, NORMS[order], call.onnx("Abs", "self") if math.isinf(order) else "self")


def largest(call: AtenCall) -> list[Tensor]:
    count, axis = vector([call["k"]]), call["dim"]
    return call.several("TopK", 2, "self", count, axis=axis, largest=bool(call["largest"]), sorted=bool(call["sorted"]))


def in_order(call: AtenCall) -> list[Tensor]:
    """All of an axis."""
    axis = call["dim"]
    count = vector([call.shape("self")[axis]])
    return call.several("TopK", 2, "self", count, axis=axis, largest=bool(call["descending"]), sorted=1)


def running_sum(call: AtenCall) -> Tensor:
    return call.onnx("CumSum", "self", np.array([call["dim"]]))


def of_truths(op: str) -> AtenRule:
    """Whether any or all are true."""
    return lambda call: along(call, op, call.truth("self"))


RULES: Mapping[str, AtenRule] = {
    "aten.sum": reduction("ReduceSum"),
    "aten.mean": reduction("ReduceMean"),
    "aten.amax": reduction("ReduceMax"),
    "aten.amin": reduction("ReduceMin"),
    "aten.prod": reduction("ReduceProd"),
    "aten.logsumexp": reduction("ReduceLogSumExp"),
    "aten.max": extreme("ReduceMax", "ArgMax", "Max"),
    "aten.min": extreme("ReduceMin", "ArgMin", "Min"),
    "aten.argmax": place("ArgMax"),
    "aten.argmin": place("ArgMin"),
    "aten.var": spread,
    "aten.std": deviation,
    "aten.var_mean": spread_and_mean,
    "aten.std_mean": deviation_and_mean,
    "aten.linalg_vector_norm": vector_norm,
    "aten.topk": largest,
    "aten.sort": in_order,
    "aten.cumsum": running_sum,
    "aten.any": of_truths("ReduceMax"),
    "aten.all": of_truths("ReduceMin"),
}
