"""Attributes and known inputs that are missing, of another type or out of range: told in one line, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import AttributeProto, NodeProto, helper, numpy_helper

from cnncc.frontends.onnx.attributes import attributes_of
from cnncc.frontends.onnx.schema import check_schema
from cnncc.frontends.onnx.site import OnnxSite
from cnncc.frontends.onnx.values import Builder, Unsupported


def site(*known: np.ndarray | None, **attributes: Any) -> OnnxSite:
    names = [f"i{n}" for n in range(len(known))]
    given = attributes_of(helper.make_node("Any", names, ["y"], **attributes))
    return OnnxSite("Any", names, ["y"], given, known, 17, Builder(1), frozenset("y"))


READS: dict[str, tuple[Callable[[OnnxSite], Any], OnnxSite, Any]] = {
    "integer": (lambda s: s.integer("a"), site(a=3), 3),
    "integer by default": (lambda s: s.integer("a", 2, low=1), site(), 2),
    "integers": (lambda s: s.integers("a", count=2), site(a=[1, 2]), (1, 2)),
    "number": (lambda s: s.number("a"), site(a=1e-5), 1e-5),
    "unbounded": (lambda s: s.unbounded("a", 0.0), site(a=float("-inf")), float("-inf")),
    "numbers": (lambda s: s.numbers("a", count=2), site(a=[1.5, 0.1]), (1.5, 0.1)),
    "flag": (lambda s: s.flag("a"), site(a=1), True),
    "choice": (lambda s: s.choice("a", ("b", "c")), site(a="c"), "c"),
    "ints": (lambda s: s.ints(0, "it", 2), site(np.array([1, -2])), (1, -2)),
    "scalar": (lambda s: s.scalar(0, "it"), site(np.float32([[2.5]])), 2.5),
    "infinite scalar": (lambda s: s.scalar(0, "it", finite=False), site(np.float32(np.inf)), float("inf")),
    "flag_at": (lambda s: s.flag_at(0, "it"), site(np.array(True)), True),
    "ints_or of an input": (lambda s: s.ints_or(0, "a"), site(np.array([4])), (4,)),
    "ints_or of an attribute": (lambda s: s.ints_or(0, "a"), site(a=[4]), (4,)),
    "ints_or of neither": (lambda s: s.ints_or(0, "a"), site(), None),
}

MISTAKES: dict[str, tuple[Callable[[OnnxSite], Any], OnnxSite]] = {
    "attribute a: missing, expected a whole number of 1 to 4": (lambda s: s.integer("a", low=1, high=4), site()),
    "attribute a: expected a whole number of at least 1, got 0": (lambda s: s.integer("a", low=1), site(a=0)),
    "attribute a: expected a whole number of at most 4, got 5": (lambda s: s.integer("a", high=4), site(a=5)),
    "attribute a: expected a whole number, got one of type STRING": (lambda s: s.integer("a"), site(a="x")),
    "attribute a: expected 2 whole numbers of at least 1, got [0, 1]": (
        lambda s: s.integers("a", count=2, low=1),
        site(a=[0, 1]),
    ),
    "attribute a: expected 1 whole number, got [1, 2]": (lambda s: s.integers("a", count=1), site(a=[1, 2])),
    "attribute a: expected a finite number, got nan": (lambda s: s.number("a"), site(a=float("nan"))),
    "attribute a: expected a number, got nan": (lambda s: s.unbounded("a", 0.0), site(a=float("nan"))),
    "attribute a: expected 2 finite numbers of at least 0, got [1.0, -1.0]": (
        lambda s: s.numbers("a", count=2, low=0),
        site(a=[1.0, -1.0]),
    ),
    "attribute a: expected a whole number of 0 to 1, got 2": (lambda s: s.flag("a"), site(a=2)),
    "attribute a: expected one of b, c, got \ufffd": (lambda s: s.choice("a", ("b", "c")), site(a=b"\xff")),
    "attribute a: expected one of b, c, got \\x02": (lambda s: s.choice("a", ("b", "c")), site(a="\x02")),
    "input 0 is missing": (lambda s: s.tensor_at(0), site(None)),
    "input 0 has 2 axes, expected 3 or 4: [1, 2]": (lambda s: s.value(0, (3, 4)), site(np.ones((1, 2)))),
    "it is missing": (lambda s: s.const(3, "it"), site()),
    "it: expected numbers, got complex128": (lambda s: s.vector(0, "it"), site(np.array([1j]))),
    "it: expected 3 numbers, got shape [2]": (lambda s: s.vector(0, "it", 3), site(np.ones(2))),
    "it: expected whole numbers, got float64 of shape [2]": (lambda s: s.ints(0, "it"), site(np.ones(2))),
    "it: expected whole numbers of at least 0, got [2, -1]": (
        lambda s: s.ints(0, "it", low=0),
        site(np.array([2, -1])),
    ),
    "it: expected a finite number, got inf": (lambda s: s.scalar(0, "it"), site(np.float32(np.inf))),
    "it: expected a number, got nan": (lambda s: s.scalar(0, "it", finite=False), site(np.float32(np.nan))),
}


@pytest.mark.parametrize("name", READS)
def test_what_is_right_is_read(name: str) -> None:
    read, of, wanted = READS[name]
    assert read(of) == wanted


@pytest.mark.parametrize("text", MISTAKES)
def test_what_is_wrong_is_told(text: str) -> None:
    read, of = MISTAKES[text]
    with pytest.raises(Unsupported) as caught:
        read(of)
    assert caught.value.message == text


def node(op: str, inputs: str, count: int = 1, **attributes: Any) -> NodeProto:
    names = [name if name != "_" else "" for name in inputs.split()]
    return helper.make_node(op, names, [f"y{i}" for i in range(count)], **attributes)


def twice() -> NodeProto:
    made = node("Elu", "x", alpha=1.0)
    made.attribute.append(made.attribute[0])
    return made


def untyped() -> NodeProto:
    made = node("Elu", "x", alpha=1.0)
    made.attribute[0].type = AttributeProto.UNDEFINED
    return made


MISUSES = {
    "has 1 inputs, Conv takes 2 to 3": node("Conv", "x"),
    "has 3 inputs, Add takes 2": node("Add", "x y z"),
    "has 0 inputs, Concat takes at least 1": node("Concat", "", axis=1),
    "input 1 (W) is missing": node("Conv", "x _ b"),
    "has 2 results, Relu has 1": node("Relu", "x", 2),
    "attribute beta: Elu has none of that name; it has: alpha": node("Elu", "x", beta=1.0),
    "attribute alpha: given twice": twice(),
    "attribute alpha: expected one of type FLOAT, got INT": node("Elu", "x", alpha=1),
    "attribute alpha: expected one of type FLOAT, got UNDEFINED": untyped(),
    "attribute axis: missing, Concat needs it": node("Concat", "x y"),
}


@pytest.mark.parametrize("text", MISUSES)
def test_a_node_that_is_no_use_of_its_op(text: str) -> None:
    with pytest.raises(Unsupported) as caught:
        check_schema(MISUSES[text], 17)
    assert caught.value.message == text


FINE = {
    "ends in empty names": node("Conv", "x w _ _"),
    "of an opset to come": node("Relu", "x"),
    "retired": node("Upsample", "x s", mode="nearest"),
    "of another domain": helper.make_node("Conv", [], ["y"], domain="elsewhere"),
    "a tensor as an attribute": helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones(1))),
}


@pytest.mark.parametrize("name", FINE)
def test_nothing_is_said_of_a_node_that(name: str) -> None:
    check_schema(FINE[name], 999)
