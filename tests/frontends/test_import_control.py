"""Branches, sequences, optional tensors and constants of ONNX: what is known when compiling is part of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from frontends.test_import_onnx import agrees, model, node, ops
from onnx import TensorProto, helper, numpy_helper

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.reader import from_onnx

IMAGE = (1, 4, 4, 5)


def branch(nodes: list[Any], outputs: list[str], tensors: dict[str, np.ndarray] | None = None) -> onnx.GraphProto:
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    stored = [numpy_helper.from_array(array, name) for name, array in (tensors or {}).items()]
    return helper.make_graph(nodes, "branch", [], results, stored)


def choice(condition: str, result: str, yes: onnx.GraphProto, no: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", [condition], [result], name=result, then_branch=yes, else_branch=no)


YES = branch([node("Relu", "x", "bt"), node("Mul", "bt k", "bo")], ["bo"], {"k": np.full(1, 3, np.float32)})
NO = branch([node("Sigmoid", "a", "bo")], ["bo"])


@pytest.mark.parametrize(("channels", "expected"), [(4, "relu"), (3, "sigmoid")])
def test_a_known_condition(channels: int, expected: str) -> None:
    """The branch reads tensors around it, which nothing else may read."""
    nodes = [
        node("Tanh", "x", "a"), node("Shape", "x", "s"), node("Gather", "s i", "d", axis=0),
        node("Equal", "d e", "c"), choice("c", "r", YES, NO), node("Add", "r x", "y"),
    ]  # fmt: skip
    found = ops(agrees(model(nodes, {"x": IMAGE}, ["y"], {"i": np.array(1), "e": np.array(channels)})))
    assert found[expected] == 1
    assert found["tanh"] == (expected == "sigmoid")


def test_branches_in_branches_have_names_of_their_own() -> None:
    inner = choice("c", "i", branch([node("Abs", "x", "bo")], ["bo"]), NO)
    yes = branch([inner, node("Add", "i x", "bo")], ["bo"])
    nodes = [node("Tanh", "x", "a"), choice("c", "p", yes, NO), choice("c", "q", YES, NO), node("Add", "p q", "y")]
    agrees(model(nodes, {"x": IMAGE}, ["y"], {"c": np.array(True)}))


def test_a_branch_that_only_names() -> None:
    nodes = [node("Tanh", "x", "a"), choice("c", "y", branch([node("Identity", "a", "b")], ["b"]), NO)]
    agrees(model(nodes, {"x": IMAGE}, ["y"], {"c": np.array([True])}))


def refused(nodes: list[Any], tensors: dict[str, np.ndarray] | None = None, **inputs: tuple[int, ...]) -> str:
    with pytest.raises(CnnccError) as caught:
        from_onnx(model(nodes, inputs or {"x": IMAGE}, ["y"], tensors))
    return caught.value.message


def test_refused_branches() -> None:
    text = refused([choice("c", "y", YES, YES)], x=IMAGE, c=(1,))
    assert "y (If): the condition is computed, but has to be known when compiling" in text
    text = refused([choice("c", "y", YES, YES)], {"c": np.array([True, False])})
    assert "y (If): the condition: expected one truth value" in text
    two = branch([node("Relu", "x", "p"), node("Abs", "x", "q")], ["p", "q"])
    text = refused([choice("c", "y", two, YES)], {"c": np.array(True)})
    assert "y (If): then_branch has 2 results, the node 1" in text
    text = refused([choice("c", "y", branch([node("Det", "x", "b")], ["b"]), YES)], {"c": np.array(True)})
    assert "b (Det): this op is not supported" in text


def test_loops_and_recurrent_layers_say_so() -> None:
    ports = [helper.make_tensor_value_info(n, t, []) for n, t in (("it", 7), ("cc", 9), ("z", 1))]
    results = [helper.make_tensor_value_info(n, t, []) for n, t in (("co", 9), ("zo", 1))]
    body = helper.make_graph([node("Identity", "cc", "co"), node("Relu", "z", "zo")], "body", ports, results)
    loop = helper.make_node("Loop", ["n", "c", "x"], ["y"], name="loop", body=body)
    text = refused([loop], {"n": np.array(2), "c": np.array(True)})
    assert "loop (Loop): loops are not supported: a module does the same steps in every run" in text
    weights = {"w": np.zeros((1, 12, 5), np.float32), "r": np.zeros((1, 12, 3), np.float32)}
    text = refused([node("LSTM", "x w r", "y", hidden_size=3)], weights, x=(4, 1, 5))
    assert "y (LSTM): recurrent layers are not supported" in text


SEQUENCES = {
    "split and joined": (
        [node("SplitToSequence", "x s", "q", axis=1), node("SequenceAt", "q i", "a"), node("SequenceAt", "q j", "b"),
         node("Add", "a b", "c"), node("SequenceInsert", "q c", "q2"), node("ConcatFromSequence", "q2", "y", axis=1)],
        {"s": np.array(2), "i": np.array(0), "j": np.array(-1)},
    ),
    "uneven parts": (
        [node("SplitToSequence", "x s", "q", axis=2), node("SequenceErase", "q i", "p"),
         node("SequenceAt", "p i", "y")],
        {"s": np.array([1, 3]), "i": np.array(0)},
    ),
    "stacked": (
        [node("SplitToSequence", "x", "q", axis=1, keepdims=0), node("SequenceAt", "q i", "a"),
         node("ConcatFromSequence", "q", "b", axis=1, new_axis=1), node("Mul", "b a", "y")],
        {"i": np.array(2)},
    ),
    "of a shape": (
        [node("Shape", "x", "sh"), node("SplitToSequence", "sh", "q", axis=0), node("SequenceAt", "q i", "a"),
         node("SequenceAt", "q j", "b"), node("Concat", "a b m", "r", axis=0), node("Reshape", "x r", "y")],
        {"i": np.array(0), "j": np.array(2), "m": np.array([-1])},
    ),
    "made of tensors": (
        [node("Relu", "x", "a"), node("SequenceConstruct", "x a", "q"), node("SequenceLength", "q", "n"),
         node("Cast", "n", "f", to=1), node("ConcatFromSequence", "q", "b", axis=1), node("Mul", "b f", "y")],
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SEQUENCES)
def test_sequences(case: str) -> None:
    nodes, tensors = SEQUENCES[case]
    agrees(model(nodes, {"x": IMAGE}, ["y"], tensors))


SEQUENCE_FAULTS = {
    "read by another op": ([node("SplitToSequence", "x", "q"), node("Relu", "q", "y")], {}, "a sequence of tensors"),
    "no sequence": ([node("SequenceAt", "x i", "y")], {"i": np.array(0)}, "needs a sequence of tensors"),
    "outside": (
        [node("SequenceConstruct", "x x", "q"), node("SequenceAt", "q i", "y")],
        {"i": np.array(2)}, "position 2 of a sequence of 2",
    ),
    "parts of 0": (
        [node("SplitToSequence", "x i", "q", axis=1), node("SequenceAt", "q i", "y")],
        {"i": np.array(0)}, "split: parts of 0 of an axis of 4",
    ),
    "other parts": (
        [node("SplitToSequence", "x i", "q", axis=1), node("SequenceLength", "q", "y")],
        {"i": np.array([3, 3])}, r"split: [3, 3] of an axis of 4",
    ),
    "as an output": ([node("SequenceConstruct", "x x", "y")], {}, "output y: a sequence of tensors"),
    "emptied": (
        [node("SequenceConstruct", "x", "q"), node("SequenceErase", "q", "p"),
         node("ConcatFromSequence", "p", "y", axis=1)], {}, "joins an empty sequence",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SEQUENCE_FAULTS)
def test_refused_sequences(case: str) -> None:
    nodes, tensors, text = SEQUENCE_FAULTS[case]
    assert text in refused(nodes, tensors)


def test_optional_tensors_that_are_there() -> None:
    nodes = [
        node("Relu", "x", "a"), node("Optional", "a", "o"), node("OptionalHasElement", "o", "h"),
        choice("h", "y", branch([node("OptionalGetElement", "o", "g")], ["g"]), branch([node("Abs", "x", "g")], ["g"])),
    ]  # fmt: skip
    assert ops(agrees(model(nodes, {"x": IMAGE}, ["y"], opset=18)))["relu"] == 1


def sparse(indices: list[int], shape: list[int], values: int = 2) -> Any:
    places = helper.make_tensor(
        "i", 7, [values, len(indices) // values] if len(indices) > values else [values], indices
    )
    return helper.make_sparse_tensor(helper.make_tensor("v", 1, [values], [1.5, 2.5][:values]), places, shape)


CONSTANTS: dict[str, Any] = {
    "value": numpy_helper.from_array(np.float32(3)),
    "value_float": 2.0,
    "value_floats": [1.0, 2.0, 3.0, 4.0, 5.0],
    "sparse_value": sparse([1, 3], [5]),
}


@pytest.mark.parametrize("attribute", CONSTANTS)
def test_constants(attribute: str) -> None:
    nodes = [node("Constant", "", "k", **{attribute: CONSTANTS[attribute]}), node("Mul", "x k", "y")]
    agrees(model(nodes, {"x": IMAGE}, ["y"]))


def test_constants_of_whole_numbers() -> None:
    nodes = [node("Constant", "", "k", value_ints=[1, -1]), node("Reshape", "x k", "y")]
    agrees(model(nodes, {"x": IMAGE}, ["y"]))
    nodes = [node("Constant", "", "k", value_int=1), node("Gather", "x k", "y", axis=1)]
    agrees(model(nodes, {"x": IMAGE}, ["y"]))


def test_sparse_constants_of_several_axes() -> None:
    nodes = [node("Constant", "", "k", sparse_value=sparse([0, 3, 1, 1], [4, 5])), node("Add", "x k", "y")]
    (const,) = [n for n in from_onnx(model(nodes, {"x": IMAGE}, ["y"])).graph.nodes if n.op == "const"]
    imported = from_onnx(model(nodes, {"x": IMAGE}, ["y"]))
    expected = np.zeros((4, 5))
    expected[0, 3], expected[1, 1] = 1.5, 2.5
    np.testing.assert_array_equal(imported.graph.constants[const.weights["value"]].value[0, 0], expected)


@pytest.mark.parametrize(
    ("indices", "shape", "text"), [([1, 9], [5], "indices [2] for 2 values of [5]"), ([0, 1], [1 << 30], "a tensor of")]
)
def test_refused_sparse_constants(indices: list[int], shape: list[int], text: str) -> None:
    nodes = [node("Constant", "", "k", sparse_value=sparse(indices, shape)), node("Mul", "x k", "y")]
    assert text in refused(nodes)
