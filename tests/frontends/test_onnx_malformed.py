"""Models that break the rules of ONNX, or ask for more than there is: refused in one line, at once."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cnncc import api
from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx import external as onnx_external
from cnncc.frontends.onnx.convert import RULES
from cnncc.frontends.onnx.file import read_model
from cnncc.frontends.onnx.network import import_onnx
from cnncc.frontends.onnx.reader import from_onnx

IMAGE = (1, 3, 8, 8)
FILTER = np.ones((4, 3, 3, 3), np.float32)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    names = [n if n != "_" else "" for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=f"the {op}", **attributes)


def model(*nodes: NodeProto, shape: tuple[Any, ...] = IMAGE, opset: int = 17, **tensors: Any) -> ModelProto:
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = [
        t if isinstance(t, TensorProto) else numpy_helper.from_array(np.asarray(t), n) for n, t in tensors.items()
    ]
    graph = helper.make_graph(list(nodes), "g", [port], [result], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def relu() -> ModelProto:
    return model(node("Relu", "x", "y"))


def changed(change: Callable[[ModelProto], object], start: Callable[[], ModelProto] = relu) -> ModelProto:
    made = start()
    change(made)
    return made


def refusal(proto: ModelProto) -> str:
    """The text of the error; that there is one, of one line, and soon, is checked."""
    before = time.process_time()
    with pytest.raises(CnnccError) as caught:
        from_onnx(proto, strict=True)
    assert time.process_time() - before < 5
    assert "\n" not in caught.value.message
    return caught.value.message


# Versions, names and edges


def not_utf8(proto: ModelProto) -> ModelProto:
    data = proto.SerializeToString().replace(b"the Relu", b"the Re\xff\xfe")
    return ModelProto.FromString(data)


def several(count: int) -> list[NodeProto]:
    return [node("Relu", "x" if i == 0 else f"v{i}", "y" if i == count - 1 else f"v{i + 1}") for i in range(count)]


def with_function(body: list[NodeProto], calls: str = "F", more: int = 0) -> ModelProto:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F", ["a"], ["b"], body, imports)]
    for i in range(more):  # each calls the one before twice
        inner = [helper.make_node(f"F{i - 1}" if i else "F", [a], [b], domain="own") for a, b in ("am", "mb")]
        functions.append(helper.make_function("own", f"F{i}", ["a"], ["b"], inner, imports))
    proto = model(helper.make_node(calls, ["x"], ["y"], domain="own"))
    proto.functions.extend(functions)
    proto.opset_import.append(imports[1])
    return proto


A, B = helper.make_node("Add", ["x", "c"], ["b"], name="one"), helper.make_node("Relu", ["b"], ["c"], name="two")
CALL = helper.make_node("F", ["a"], ["b"], domain="own")
MALFORMED: dict[str, ModelProto] = {
    "the model does not say which opset it is of": changed(lambda m: m.opset_import.pop()),
    "the model says that it is of opsets 13 and 17": changed(lambda m: m.opset_import.add(domain="", version=13)),
    "the model is of opset 6; models are read from opset 7 on": model(node("Relu", "x", "y"), opset=6),
    "the model is of opset 999, {newest} is the newest known": model(node("Relu", "x", "y"), opset=999),
    "the model is of IR version 99, {ir} is the newest known": changed(lambda m: setattr(m, "ir_version", 99)),
    "the model has no outputs": changed(lambda m: m.graph.output.pop()),
    "one of the model's inputs has no name": changed(lambda m: setattr(m.graph.input[0], "name", "")),
    "one of the model's tensors has no name": changed(lambda m: m.graph.initializer.add()),
    "one of the model's outputs has no name": changed(lambda m: m.graph.output.add()),
    "input x is there twice": changed(lambda m: m.graph.input.append(m.graph.input[0])),
    "tensor t is there twice": changed(lambda m: m.graph.initializer.extend([TensorProto(name="t")] * 2)),
    "y is the name of two values": model(node("Relu", "x", "y"), node("Abs", "x", "y")),
    "x is the name of two values": model(node("Relu", "x", "x"), node("Abs", "x", "y")),
    "a name is not UTF-8: the Re\\xff\\xfe": not_utf8(relu()),
    "node the Add (Add) reads nothing, which nothing computes": model(node("Add", "x nothing", "y")),
    "nodes read each other in a circle: one (Add), two (Relu)": model(A, B, node("Relu", "c", "y")),
    "tensor s is sparse, which is not read": changed(
        lambda m: m.graph.sparse_initializer.add(values=TensorProto(name="s"))
    ),
    "the model has two functions of one name": changed(lambda m: m.functions.append(m.functions[0]), lambda: (
        with_function([helper.make_node("Relu", ["a"], ["b"])]))
    ),
    "function F calls itself": with_function([CALL]),
    "the functions of the model stand for more than 1048576 nodes": with_function(
        [helper.make_node("Relu", ["a"], ["b"])], "F39", 40
    ),
    "functions call too deep": with_function([helper.make_node("Relu", ["a"], ["b"])], "F119", 120),
    "the functions of the model cannot be put in place: ": changed(
        lambda m: m.graph.node[0].input.append("x"), lambda: with_function([helper.make_node("Relu", ["a"], ["b"])])
    ),
    "input x is no tensor": changed(lambda m: m.graph.input[0].type.sequence_type.elem_type.Clear()),
    "the model cannot be converted: input x: the input is of type STRING": changed(
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING)
    ),
    "the model cannot be converted: input x: the input is of type number 77": changed(
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77)
    ),
    "the model cannot be converted: output y: the output is of type STRING": changed(
        lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", TensorProto.STRING)
    ),
    "the model cannot be converted: output z: no node computes it": changed(lambda m: m.graph.output.add(name="z")),
    "the model cannot be converted: node the  (): this op is not supported": model(node("", "x", "y")),
}  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_a_model_that_breaks_the_rules(text: str) -> None:
    from onnx import IR_VERSION, defs

    found = refusal(MALFORMED[text])
    wanted = text.format(newest=defs.onnx_opset_version(), ir=IR_VERSION)
    assert found.startswith(wanted) if wanted.endswith(": ") else found == wanted


def test_a_long_circle_is_told_in_part() -> None:
    ring = [helper.make_node("Relu", [f"v{i}"], [f"v{(i + 1) % 30000}"], name=f"n{i}") for i in range(30000)]
    text = refusal(model(*ring, node("Add", "x v0", "y")))
    assert text.startswith("nodes read each other in a circle: n")
    assert text.endswith(", 29994 more")


def test_nodes_in_any_order_are_sorted() -> None:
    """The float16 converter appends its casts; a branch may be out of order too."""
    nodes = several(50)
    wanted = from_onnx(model(*nodes)).graph
    turned = model(*nodes[::-1])
    assert from_onnx(turned).graph.nodes == wanted.nodes
    assert turned.graph.node[0].output[0] == "y"  # the caller's model stays as it is
    branch = helper.make_graph([*reversed(several(3))], "b", [], [helper.make_tensor_value_info("y", 1, None)])
    for inner in branch.node:  # its result is called otherwise than the model's
        for names in (inner.input, inner.output):
            for i, name in enumerate(names):
                names[i] = name.replace("y", "z")
    branch.output[0].name = "z"
    chosen = model(node("If", "c", "y", then_branch=branch, else_branch=branch), c=np.array(True))
    assert [n.op for n in from_onnx(chosen).graph.nodes] == ["input", "relu", "relu", "relu"]


def test_no_more_than_some_faults_are_told() -> None:
    nodes = [helper.make_node("Det", ["x"], [f"y{i}"], name=f"n{i}") for i in range(100)]
    proto = model(*nodes, node("Sum", " ".join(f"y{i}" for i in range(100)), "y"))
    with pytest.raises(CnnccError) as caught:
        from_onnx(proto)
    lines = caught.value.message.splitlines()
    assert lines[0] == "the model has 100 nodes that cannot be converted:"
    assert lines[1] == "  node n0 (Det): this op is not supported"
    assert lines[-1] == "  and 60 more"


def test_names_that_cannot_be_shown_are_escaped() -> None:
    assert refusal(model(helper.make_node("Det", ["x"], ["y"], name="a\nb\x1b[1m"))) == (
        "the model cannot be converted: node a\\nb\\x1b[1m (Det): this op is not supported"
    )


# Tensors


def tensor(change: Callable[[TensorProto], object]) -> ModelProto:
    proto = model(node("Conv", "x w", "y"), w=FILTER)
    change(proto.graph.initializer[0])
    return proto


def typed(kind: int, dims: list[int], **data: Any) -> ModelProto:
    return model(node("Conv", "x w", "y"), w=TensorProto(name="w", data_type=kind, dims=dims, **data))


TENSORS = {
    "shape [4, 3, 3, 3] of FLOAT needs 432 bytes, there are 428": tensor(lambda t: setattr(t, "raw_data", b"\0" * 428)),
    "shape [4, 3, 3, 4] of FLOAT needs 576 bytes, there are 432": tensor(lambda t: t.dims.__setitem__(3, 4)),
    "shape [2] of FLOAT needs 2 numbers, there are 3": typed(1, [2], float_data=[1, 2, 3]),
    "shape [3] of INT4 needs 2 numbers, there are 3": typed(TensorProto.INT4, [3], int32_data=[1, 2, 3]),
    "shape [3] of INT4 needs 2 bytes, there are 3": typed(TensorProto.INT4, [3], raw_data=b"123"),
    "shape [1] of COMPLEX64 needs 2 numbers, there are 1": typed(TensorProto.COMPLEX64, [1], float_data=[1]),
    "no shape of a tensor: [-1]": typed(1, [-1]),
    "no shape of a tensor: [1099511627776]": typed(1, [1 << 40]),
    "a tensor of type STRING": typed(TensorProto.STRING, [1], string_data=[b"a"]),
    "a tensor of type UNDEFINED": typed(0, [1]),
    "a tensor of type number 99": typed(99, [1]),
    "its data lies in another file, which has not been read": tensor(lambda t: setattr(t, "data_location", 1)),
}


@pytest.mark.parametrize("text", TENSORS)
def test_a_tensor_that_is_none(text: str) -> None:
    assert refusal(TENSORS[text]) == f"the model cannot be converted: tensor w: its data: {text}"


def test_a_tensor_inside_an_attribute() -> None:
    value = TensorProto(data_type=1, dims=[5], raw_data=b"1234")
    assert refusal(model(node("Constant", "", "c", value=value), node("Add", "x c", "y"))) == (
        "the model cannot be converted: node the Constant (Constant): attribute value: shape [5] of FLOAT needs 20 "
        "bytes, there are 4"
    )


def test_a_tensor_that_nobody_needs_may_be_wrong() -> None:
    assert from_onnx(model(node("Relu", "x", "y"), w=TensorProto(name="w", data_type=1, dims=[5]))).outputs


# Attributes: the kinds; each reader has its own test in test_onnx_attributes.py


ATTRIBUTES = {
    "the Conv (Conv): attribute strides: expected 2 whole numbers of at least 1, got [0, 1]": model(
        node("Conv", "x w", "y", strides=[0, 1]), w=FILTER
    ),
    "the Conv (Conv): attribute pads: expected 4 whole numbers of at least 0, got [1, 1]": model(
        node("Conv", "x w", "y", pads=[1, 1]), w=FILTER
    ),
    "the Conv (Conv): attribute group: expected a whole number of 1 to 3, got 10000000": model(
        node("Conv", "x w", "y", group=10**7), w=FILTER
    ),
    "the Conv (Conv): attribute kernel_shape: expected [3, 3], the size of the filter": model(
        node("Conv", "x w", "y", kernel_shape=[5, 5]), w=FILTER
    ),
    "the MaxPool (MaxPool): attribute kernel_shape: missing, MaxPool needs it": model(node("MaxPool", "x", "y")),
    "the Concat (Concat): attribute axis: expected one of type INT, got STRING": model(
        node("Concat", "x x", "y", axis="1")
    ),
    "the Transpose (Transpose): an axis is named twice: [0, 1, 1, 2]": model(
        node("Transpose", "x", "y", perm=[0, 1, 1, 2])
    ),
    "the Softmax (Softmax): axis 9 of a tensor of rank 4": model(node("Softmax", "x", "y", axis=9)),
    "the Relu (Relu): has 2 inputs, Relu takes 1": model(node("Relu", "x x", "y")),
    "the LRN (LRN): attribute size: missing, LRN needs it": model(node("LRN", "x", "y")),
    "the Celu (Celu): attribute alpha: divides, and is 0": model(node("Celu", "x", "y", alpha=0.0)),
    "the Upsample (Upsample): the scales: 8 times 3.4e+38 is no size": model(
        node("Upsample", "x s", "y"), opset=9, s=np.float32([1, 1, 3.4e38, 1])
    ),
    "the DepthToSpace (DepthToSpace): attribute blocksize: 2 x 2 pixels of 3 channels": model(
        node("DepthToSpace", "x", "y", blocksize=2)
    ),
    "the Reshape (Reshape): shape: -1 stands more than once in [-1, -1]": model(
        node("Reshape", "x s", "y"), s=np.array([-1, -1])
    ),
    "the Expand (Expand): do not broadcast: [1, 3, 8, 8], [5]": model(node("Expand", "x s", "y"), s=np.array([5])),
    "the Gather (Gather): the indices: 8 of an axis of 3": model(node("Gather", "x i", "y", axis=1), i=np.array([8])),
    "the Concat (Concat): concat of [1, 3, 8, 8] and [3] along axis 0": model(
        node("Concat", "x k", "y", axis=0), k=np.ones(3, np.float32)
    ),
    "the MatMul (MatMul): a product with a number in place of a matrix": model(
        node("MatMul", "x k", "y"), k=np.float32(1)
    ),
    "the GroupNormalization (GroupNormalization): 3 channels in 2 groups": model(
        node("GroupNormalization", "x a a", "y", num_groups=2), opset=21, a=np.ones(3, np.float32)
    ),
}


@pytest.mark.parametrize("text", ATTRIBUTES)
def test_an_attribute_or_input_that_is_wrong(text: str) -> None:
    assert refusal(ATTRIBUTES[text]) == f"the model cannot be converted: node {text}"


# Sizes


def grown(*nodes: NodeProto, **tensors: Any) -> ModelProto:
    return model(*nodes, node("Add", "x big", "y"), **tensors)


NONE = np.float32([])
HUGE = {
    "an input": model(node("Relu", "x", "y"), shape=(1, 1, 1, 10**8)),
    "an input of many axes": model(node("Relu", "x", "y"), shape=(1, 1 << 12, 1 << 12, 1 << 12)),
    "dims beyond 2^63 together": model(node("Relu", "x", "y"), shape=(1, 1 << 40, 1 << 40, 1 << 40)),
    "Pad": model(node("Pad", "x p", "y"), p=np.array([0, 0, 0, 10**9, 0, 0, 0, 0])),
    "Pad that wraps": model(node("Pad", "x p", "y", mode="wrap"), opset=19, p=np.array([0, 0, 0, 10**9, 0, 0, 0, 0])),
    "pads of Conv": model(node("Conv", "x w", "y", pads=[10**9] * 4), w=FILTER),
    "pads and strides of Conv": model(node("Conv", "x w", "y", pads=[10**9] * 4, strides=[10**9] * 2), w=FILTER),
    "pads of MaxPool": model(node("MaxPool", "x", "y", kernel_shape=[10**9, 2], pads=[10**8, 0, 10**9, 0])),
    "strides of ConvTranspose": model(
        node("ConvTranspose", "x w", "y", strides=[10**9] * 2, pads=[10**9] * 4), w=np.ones((3, 4, 3, 3), np.float32)
    ),
    "a dilated average": model(
        node("AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 10**7, 1, 1]), opset=19
    ),
    "a dilated average of a wide image": model(
        node(
            "AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2], count_include_pad=1, pads=[10**7, 1, 1, 1]
        ),
        shape=(1, 4, 6, 80),
        opset=19,
    ),
    "Tile": model(node("Tile", "x r", "y"), r=np.array([1, 1, 1, 10**8])),
    "Expand": model(node("Expand", "x s", "y"), s=np.array([10**8, 3, 8, 8])),
    "Resize by scales": model(node("Resize", "x r s", "y"), r=NONE, s=np.float32([1, 1, 1e7, 1e7])),
    "Resize to sizes": model(node("Resize", "x r e z", "y"), r=NONE, e=NONE, z=np.array([1, 3, 1 << 40, 8])),
    "Upsample": model(node("Upsample", "x s", "y"), opset=9, s=np.float32([1, 1, 1e9, 1])),
    "ConstantOfShape": grown(node("ConstantOfShape", "s", "big"), s=np.array([1 << 40, 1 << 40])),
    "ConstantOfShape of 1 GiB": grown(node("ConstantOfShape", "s", "big"), s=np.array([1 << 28])),
    "Range": grown(node("Range", "a b c", "big"), a=np.array(0), b=np.array(10**12), c=np.array(1)),
    "OneHot": grown(node("OneHot", "i d v", "big"), i=np.array([1]), d=np.array(10**9), v=np.float32([0, 1])),
    "Tile of a constant": grown(node("Tile", "k r", "big"), k=np.ones(9, np.float32), r=np.array([10**9])),
    "Pad of a constant": grown(node("Pad", "k p", "big"), k=np.ones(9, np.float32), p=np.array([0, 10**9])),
    "a product of constants": grown(
        node("MatMul", "a b", "big"), a=np.ones((1 << 14, 1), np.float32), b=np.ones((1, 1 << 14), np.float32)
    ),
    "many constants": grown(
        *(node("ConstantOfShape", "s", f"c{i}") for i in range(9)),
        node("Concat", " ".join(f"c{i}" for i in range(9)), "big", axis=0),
        s=np.array([1 << 23]),
    ),
    "constants that are repeated": model(
        *(node("Add", f"{f'v{i}' if i else 'x'} k", f"v{i + 1}" if i < 59 else "y") for i in range(60)),
        shape=(1, 64, 256, 256),
        k=np.arange(256, dtype=np.float32),
    ),
    "constants beside sizes that are only claimed": grown(
        *(node("ConstantOfShape", "s", f"c{i}") for i in range(9)),
        node("Concat", " ".join(f"c{i}" for i in range(9)), "big", axis=0),
        s=np.array([1 << 23]),
        claimed=TensorProto(name="claimed", data_type=1, dims=[1 << 30, 1 << 30]),
    ),
    "a constant that is repeated in an image": model(
        node("Add", "x k", "y"), shape=(1, 64, 4096, 4096), k=np.arange(4096, dtype=np.float32)
    ),
    "a slow op": grown(node("Einsum", "k k k", "big", equation="i,j,k->"), k=np.ones(1 << 13, np.float32)),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_is_huge_is_refused_at_once(name: str) -> None:
    assert refusal(HUGE[name])


def test_a_number_for_each_channel_of_a_large_image_is_no_large_constant() -> None:
    proto = model(node("Add", "x k", "y"), shape=(1, 64, 4096, 4096), k=np.ones((64, 1, 1), np.float32))
    assert [c.shape for c in from_onnx(proto, strict=True).graph.constants.values()] == [(1, 64, 1, 1)]


def test_what_takes_long_to_evaluate_is_computed_by_the_network() -> None:
    """A Resize of a large constant is a loop in Python there, and a kernel here."""
    nodes = [node("Resize", "k r s", "big", mode="linear"), node("Add", "x big", "y")]
    proto = model(
        *nodes, shape=(1, 8, 64, 64), k=np.ones((1, 8, 32, 32), np.float32), r=NONE, s=np.float32([1, 1, 2, 2])
    )
    assert "upsample" in [n.op for n in from_onnx(proto).graph.nodes]


@pytest.mark.parametrize("op", ["GatherElements", "Gather", "ScatterElements"])
def test_known_indices_that_are_no_integers_are_refused_at_once(op: str) -> None:
    known = {"k": np.arange(6, dtype=np.float32).reshape(2, 3), "i": np.full((2, 3), np.nan, np.float32)}
    inputs = "k i k" if op == "ScatterElements" else "k i"
    proto = model(node(op, inputs, "z"), node("Add", "x z", "y"), shape=(1, 4, 2, 3), **known)
    assert "input 1 (indices) must be of integers" in refusal(proto)


def test_a_network_of_constants_is_not_compiled() -> None:
    value = numpy_helper.from_array(np.ones((1, 3), np.float32))
    graph = from_onnx(model(node("Constant", "", "c", value=value), node("Relu", "c", "y"))).graph
    with pytest.raises(CnnccError, match="g has no input: its outputs are constants, and there is nothing to compile"):
        api.build(replace(graph, nodes=[n for n in graph.nodes if n.op != "input"]))


# Mistakes of ours


def test_a_mistake_of_ours_names_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(site: Any) -> Any:
        raise ZeroDivisionError("what\nnow")

    monkeypatch.setitem(RULES, "Relu", wrong)  # type: ignore[arg-type]
    with pytest.raises(CnnccError) as caught:
        from_onnx(relu())
    assert caught.value.message == (
        "the model cannot be converted: node the Relu (Relu): a mistake of cnncc (ZeroDivisionError: what now); "
        "please report it with the model"
    )
    with pytest.raises(ZeroDivisionError):
        from_onnx(relu(), strict=True)


# Files


def saved(folder: Path, data: bytes) -> Path:
    file = folder / "m.onnx"
    file.write_bytes(data)
    return file


WHOLE = relu().SerializeToString()
FILES = {
    "empty": b"",
    "text": b"net t\ninput 3x8x8\n" * 20,
    "cut": WHOLE[:-3],
    "zeros": bytes(100),
    "claims 2 GB": b"\x0a\xff\xff\xff\xff\x07" + WHOLE,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_model(tmp_path: Path, name: str) -> None:
    file = saved(tmp_path, FILES[name])
    with pytest.raises(CnnccError, match="is no ONNX model: ") as caught:
        import_onnx(file)
    assert "\n" not in caught.value.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CnnccError, match=r"cannot read .*nowhere.onnx: no such file or folder"):
        read_model(tmp_path / "nowhere.onnx")
    with pytest.raises(CnnccError, match=r"cannot read .*: it is a folder"):
        read_model(tmp_path)
    with pytest.raises(CnnccError, match="cannot read /dev/zero: it is a device"):
        read_model("/dev/zero")
    with pytest.raises(CnnccError, match=r"cannot read .*: embedded null byte"):
        read_model("a\0b")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(CnnccError, match="is no ONNX model: such files are smaller than 2 GiB"):
        read_model(tmp_path / "large.onnx")


# Data in other files


def external(folder: Path, location: str, **more: str) -> Path:
    """A model whose filter lies elsewhere."""
    proto = model(node("Conv", "x w", "y"), w=FILTER)
    stored = proto.graph.initializer[0]
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        stored.external_data.add(key=key, value=value)
    folder.mkdir(exist_ok=True)
    return saved(folder, proto.SerializeToString())


def test_data_beside_the_model_is_read(tmp_path: Path) -> None:
    data = FILTER * 2
    inner = tmp_path / "m" / "data"
    inner.mkdir(parents=True)
    (inner / "w.bin").write_bytes(b"1234" + data.tobytes() + b"rest")
    (tmp_path / "m" / "link").symlink_to(inner / "w.bin")
    for location in ("data/w.bin", "link", "./data//w.bin"):
        for more in ({"offset": "4"}, {"offset": "4", "length": str(data.nbytes), "checksum": "any"}):
            proto = read_model(external(tmp_path / "m", location, **more))
            np.testing.assert_array_equal(numpy_helper.to_array(proto.graph.initializer[0]), data)


def test_a_folder_may_be_a_link(tmp_path: Path) -> None:
    external(tmp_path / "m", "w.bin")
    (tmp_path / "m" / "w.bin").write_bytes(FILTER.tobytes())
    (tmp_path / "l").symlink_to(tmp_path / "m")
    assert read_model(tmp_path / "l" / "m.onnx")


OUTSIDE = "its data lies outside the model's folder: "
WRONG = {
    "../secret": OUTSIDE + "../secret",
    "a/../../secret": OUTSIDE + "a/../../secret",
    "a/../w.bin": OUTSIDE + "a/../w.bin",
    "/etc/passwd": OUTSIDE + "/etc/passwd",
    "link": OUTSIDE + "link is a link to elsewhere",
    "folder/secret": OUTSIDE + "folder/secret is a link to elsewhere",
    "": "its data has no file: ",
    "a\0b": "its data has no file: a\\x00b",
    "pipe": "its data pipe is no regular file",
    ".": "cannot read its data m: it is a folder",
    "socket": "cannot read its data socket: no such device or address",
    "circle": "cannot read its data circle",
    "nowhere": "cannot read its data nowhere: no such file or folder",
    "short": "its data would be bytes 0 to 432 of short, which has 3",
}


@pytest.mark.parametrize("location", WRONG)
def test_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "m"
    file = external(folder, location)
    (tmp_path / "secret").write_bytes(FILTER.tobytes())
    (folder / "w.bin").write_bytes(FILTER.tobytes())
    (folder / "link").symlink_to("../secret")
    (folder / "folder").symlink_to("..")
    (folder / "circle").symlink_to("circle")
    (folder / "short").write_bytes(b"123")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # a socket's path may have 108 characters at most
        bound.bind("socket")
        with pytest.raises(CnnccError) as caught:
            read_model(file)
    assert caught.value.message.startswith(f"tensor w: {WRONG[location]}")
    assert "\n" not in caught.value.message


OFFSETS = {
    "its offset: expected a whole number of at least 0, got -1": {"offset": "-1"},
    "its offset: expected a whole number of at least 0, got x": {"offset": "x"},
    "its length: expected a whole number of at least 0, got 1e3": {"length": "1e3"},
    "its shape and type need 432 bytes, its length says 431": {"length": "431"},
    "its data would be bytes 1 to 433 of w.bin, which has 432": {"offset": "1"},
    "its data would be bytes 9223372036854775807 to ": {"offset": str((1 << 63) - 1)},
}


@pytest.mark.parametrize("text", OFFSETS)
def test_places_that_are_not_in_the_file(tmp_path: Path, text: str) -> None:
    file = external(tmp_path, "w.bin", **OFFSETS[text])
    (tmp_path / "w.bin").write_bytes(FILTER.tobytes())
    with pytest.raises(CnnccError) as caught:
        read_model(file)
    assert caught.value.message.startswith(f"tensor w: {text}")


def test_a_small_file_cannot_be_read_any_number_of_times(tmp_path: Path) -> None:
    proto = ModelProto.FromString(external(tmp_path, "w.bin").read_bytes())
    for i in range(onnx_external.SHARED):
        proto.graph.initializer.append(proto.graph.initializer[0])
        proto.graph.initializer[-1].name = f"w{i}"
    (tmp_path / "w.bin").write_bytes(FILTER.tobytes())
    with pytest.raises(CnnccError, match="tensor w3: the model reads 4 times what its data files hold"):
        read_model(saved(tmp_path, proto.SerializeToString()))
