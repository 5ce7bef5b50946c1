"""Ranges of sizes over texts, networks of the zoo and ONNX models: the same weights at all sizes, or an error that says
at which one the network is another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cnncc
from cnncc import api
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.calibrate.random_ranges import with_random_ranges
from cnncc.frontends import sources
from cnncc.frontends.input_shapes import parse_shapes, sizes_by_name
from cnncc.frontends.onnx.network import import_onnx
from cnncc.ir.ranged import Ranged
from cnncc.module.ranged import check
from cnncc.options import Options

NET = "net t\ninput 3 x h x w where h in 16..32 step 8, w in 16..40 step 8\nconv 3x3 8 /2 relu\nconv 3x3 4\n"
SHAPE = "3xhxw where h in 16..32 step 8, w in 16..40 step 8"
H, W = Symbol(0, "h", 16, 32, 8), Symbol(1, "w", 16, 40, 8)


@pytest.mark.parametrize(
    ("text", "name", "shape"),
    [
        (SHAPE, "", (3, H, W)),
        ("x=1,3,h,w where h in 16..32 step 8,w in 16..40 step 8", "x", (1, 3, H, W)),
        ("a=b=3 x h x 8  where  h in 16 .. 32 step 8", "a=b", (3, H, 8)),
        ("3xmaxxmax where max in 1..9", "", (3, Symbol(0, "max", 1, 9), Symbol(0, "max", 1, 9))),
    ],
)
def test_texts(text: str, name: str, shape: tuple[int | Symbol, ...]) -> None:
    assert parse_shapes(text) == (name, (shape,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3xhxw where h in 1..4", "expected numbers and h with x between in '3xhxw'"),
        ("3xhx4 where h in 4..1", "h in 4..1: a range goes up"),
        ("3xhx4 where h in 1-4", "expected a range such as h in 32..1024 step 32, got 'h in 1-4'"),
        ("3xhx4 where h in 1..4, h in 1..4", "h has two ranges"),
        ("3x4x4 where h in 1..6", "'h' is no size of '3x4x4'"),
        ("3xh,4 where h in 1..6", "expected numbers and h with x between in '3xh,4'"),
        ("3x8x8,3xhx8 where h in 1..6", "a range together with several sizes"),
        ("3xhxw", "expected a shape such as 3x320x320 or image=3x320x320, got '3xhxw'"),
    ],
)
def test_wrong_texts(text: str, message: str) -> None:
    with pytest.raises(CnnccError) as caught:
        sizes_by_name(text)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_what_python_may_give() -> None:
    assert sizes_by_name((3, range(16, 33, 8), range(16, 41, 8))) == ({"": (3, H, W)},)
    assert sizes_by_name((3, range(16, 39, 8), range(16, 17))) == ({"": (3, H, 16)},)
    given = {"a": (3, range(16, 33, 8), 8), "b": (1, 1, range(16, 33, 8), 8), "c": (3, range(16, 25, 8), 8)}
    assert sizes_by_name(given) == ({"a": (3, H, 8), "b": (1, 1, H, 8), "c": (3, Symbol(1, "h2", 16, 24, 8), 8)},)
    wrong: list[tuple[Any, str]] = [
        ([(3, range(1, 4), 4), (3, 5, 5)], "a range together with several sizes"),
        ({"a": [(3, 5, 5), (3, 6, 6)], "b": (3, range(1, 4), 4)}, "a range together with several sizes"),
        ((3, range(5, 5), 4), r"range\(5, 5\) has no sizes"),
        ((3, range(8, 2, -1), 4), "h: the step must be at least 1, got -1"),
        (range(3), "a shape is whole numbers or ranges of them"),
    ]
    for shape, message in wrong:
        with pytest.raises(CnnccError, match=message):
            sizes_by_name(shape)


# Texts


def read(source: str | Path, shape: Any = None, seed: int = 0) -> tuple[sources.NetworkSource, Ranged]:
    (given,) = sizes_by_name(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sources.read_source(source, None, seed, given)
    assert found.ranged
    return found, found.ranged


def values(graph: Any) -> dict[str, np.ndarray]:
    return {name: constant.value for name, constant in graph.constants.items()}


def assert_same_weights(found: sources.NetworkSource) -> None:
    assert found.ranged
    for steps in (found.ranged.least, found.ranged.typical, found.ranged.most):
        made = values(found.ranged.graph(steps))
        assert made.keys() == found.graph.constants.keys()
        assert all(np.array_equal(made[name], value) for name, value in values(found.graph).items())


def test_weights_are_those_of_the_graph_at_all_sizes() -> None:
    found, ranged = read(NET)
    assert found.graph.inputs[0].attrs["dims"] == (3, 24, 24)
    assert ranged.shapes == {"input": (3, H, W)}
    assert check(ranged)[0].inputs[0].type.shape == (1, 3, 32, 40)
    assert_same_weights(found)
    assert sources.read_source(NET, None, 0, {"": (3, 16, 24)}).ranged is None


def test_a_text_from_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(NET.encode())))
    _, ranged = read("-")
    assert check(ranged)


def test_a_network_of_the_zoo() -> None:
    found, ranged = read("squeezenet1_1", "3xhxw where h in 64..96 step 32, w in 64..96 step 32")
    assert check(ranged)[0].inputs[0].attrs["dims"] == (3, 96, 96)
    assert found.graph.inputs[0].attrs["dims"] == (3, 64, 64)


def test_the_name_is_that_which_is_asked_for() -> None:
    found = sources.read_source(NET, None, 0, {}, "other")
    assert found.ranged
    assert found.ranged.graph(found.ranged.least).name == "other"


def test_a_rule_that_fails_is_told_with_its_size_and_place() -> None:
    text = "net t\ninput 3 x h x h where h in 32..128 step 4\nmaxpool 2x2 /2 exact\nmaxpool 2x2 /2 exact\n"
    pools = text + "maxpool 2x2 /2 exact\n"
    with pytest.raises(
        CnnccError, match="at h = 36: maxpool: window 2 with stride 2 does not fit height 9: "
    ) as caught:
        check(read(pools)[1])
    assert (caught.value.span and caught.value.span.line, "heights that fit: 8 and 10" in caught.value.hint) == (
        5,
        True,
    )
    assert check(read(text)[1])


def test_a_network_on_bytes_is_so_at_all_sizes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = with_random_ranges(read(NET)[0], Options(threads=1))
    assert found.ranged
    ops = [node.op for node in found.graph.nodes]
    assert "quantize" in ops
    for steps in (found.ranged.least, found.ranged.most):
        assert [node.op for node in found.ranged.graph(steps).nodes] == ops


# ONNX


def model(path: Path, nodes: Sequence[onnx.NodeProto], *more: onnx.TensorProto, name: str = "m.onnx") -> Path:
    """A model of a convolution to 8 channels with open height and width, which `nodes` follow, from `c` to `y`."""
    weight = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "height", "width"]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    conv = helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1])
    made = helper.make_graph([conv, *nodes], "g", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w"), *more])
    file = path / name
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


RELU = [helper.make_node("Relu", ["c"], ["y"])]


def test_open_axes_stay_open(tmp_path: Path) -> None:
    file = model(tmp_path, RELU)
    for shape in (SHAPE, f"x={SHAPE}", "1,3,h,w where h in 16..32 step 8, w in 16..40 step 8"):
        found, ranged = read(file, shape)
        assert found.graph.inputs[0].attrs["range"] == (3, H, W)
        assert found.weights == str(file)
        assert check(ranged)
        assert_same_weights(found)
    assert import_onnx(file, sizes_by_name(SHAPE)[0]).text.splitlines()[1:] == [
        "input x 3 x h x w where h in 16..32 step 8, w in 16..40 step 8",
        "conv 3x3 8 nobias relu",
        "output as y",
    ]


def test_without_a_range_it_is_said_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(CnnccError, match="input x has no fixed shape: batch,3,height,width") as caught:
        sources.read_source(model(tmp_path, RELU))
    assert "--shape x=1,3,224,224`, in Python by shape={'x': [1, 3, 224, 224]}" in caught.value.hint
    assert (
        "`--shape 'x=1,3,height,width where height in 32..1024 step 32, width in 32..1024 step 32'`"
        in caught.value.hint
    )


def test_channels_last(tmp_path: Path) -> None:
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "h", "w", 3]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    turned = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"]),
        helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
    ]
    weight = np.random.default_rng(0).standard_normal((8, 3, 1, 1)).astype(np.float32)
    made = helper.make_graph(turned, "g", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    shape = "1,h,w,3 where h in 16..32 step 8, w in 16..40 step 8"
    _, ranged = read(tmp_path / "m.onnx", shape)
    assert ranged.shapes["x"] == (3, H, W)
    found = compiled(tmp_path / "m.onnx", shape)
    x = np.random.default_rng(1).standard_normal((1, 16, 40, 3)).astype(np.float32)
    assert np.allclose(found(x), np.einsum("nhwc,oc->nohw", x, weight[:, :, 0, 0]), atol=1e-5)


ROWS = [
    helper.make_node("Reshape", ["c", "to"], ["r"]),
    helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[3, 1]),
]
TO = numpy_helper.from_array(np.array([1, 8, -1, 1]), "to")


def test_a_constant_that_depends_on_the_size_is_refused(tmp_path: Path) -> None:
    half = [
        helper.make_node("Shape", ["c"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["f", "axis"], ["n"]),
        helper.make_node("Div", ["c", "n"], ["y"]),
    ]
    file = model(tmp_path, half, numpy_helper.from_array(np.array(2), "axis"))
    refused = import_onnx(file, sizes_by_name(SHAPE)[0]).refused
    assert refused
    assert refused.message.startswith("at h = 16, w = 16, the ")
    with pytest.raises(CnnccError, match=r"at h = 16, w = 16: conv: the constant .* has other values") as caught:
        check(read(file, SHAPE)[1])
    assert "has the same ops, attributes and constants at all sizes" in caught.value.hint


def test_numbers_that_depend_on_the_size_have_no_text(tmp_path: Path) -> None:
    """The model is read for each size, under the names of the size in the middle."""
    file = model(tmp_path, ROWS, TO)
    found, ranged = read(file, SHAPE)
    refused = import_onnx(file, sizes_by_name(SHAPE)[0]).refused
    assert refused
    assert refused.message.startswith("at h = 16, w = 16: reshape: ")
    assert "has the same ops, attributes and constants at all sizes" in refused.hint
    largest, changing = check(ranged)
    assert changing
    assert [n.name for n in largest.nodes] == [n.name for n in found.graph.nodes]
    assert largest["y" if "y" in largest.by_name else largest.outputs[0]].type.shape == (1, 8, 32 * 40 - 2, 1)
    assert_same_weights(found)


def test_a_model_whose_numbers_depend_on_the_size_is_compiled(tmp_path: Path) -> None:
    file = model(tmp_path, ROWS, TO)
    found = compiled(file, "3x16xw where w in 16..40 step 8")
    for width in (16, 24, 40):
        x = np.random.default_rng(0).standard_normal((2, 3, 16, width)).astype(np.float32)
        assert np.array_equal(found(x), compiled(file, (3, 16, width))(x))


def test_other_ops_at_another_size_are_refused(tmp_path: Path) -> None:
    """An upsampling by a factor at sizes that are even, and to a size of its own at others."""
    pool = [
        helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["c"], ["s"]),
        helper.make_node("Resize", ["p", "", "", "s"], ["y"], mode="linear"),
    ]
    file = model(tmp_path, pool)
    assert check(read(file, SHAPE)[1])
    with pytest.raises(CnnccError, match="upsample at h = 32 is not what it is at h = 15"):
        check(read(file, "3xhx16 where h in 15..32")[1])


def test_only_heights_and_widths_have_ranges(tmp_path: Path) -> None:
    file = model(tmp_path, RELU)
    with pytest.raises(CnnccError, match="input x: n,3,16,16 is no shape of images"):
        read(file, "n,3,16,16 where n in 1..3")
    for shape, message in (("z=3xhx8 where h in 1..9", "has no input 'z'"), ("3x8xhx8 where h in 1..9", "conv takes")):
        with pytest.raises(CnnccError, match=message):
            read(file, shape)


def test_an_output_of_a_shape_of_its_own_is_told(tmp_path: Path) -> None:
    rows = [helper.make_node("Reshape", ["c", "to"], ["y"])]
    file = model(tmp_path, rows, numpy_helper.from_array(np.array([1, 8, -1]), "to"))
    network = import_onnx(file, sizes_by_name(SHAPE)[0])
    assert "output y has the shape of its value, 1,8,24,24 at the size in the middle, not 1,8,576" in network.notes


@pytest.mark.parametrize(("to", "shape"), [([1, 8, -1], (1, 8, 24)), ([1, 1, 8, 1, -1], (1, 1, 8, 1, 24))])
def test_an_output_with_other_axes_of_one_element_keeps_them(
    to: list[int], shape: tuple[int, ...], tmp_path: Path
) -> None:
    rows = [
        helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[16, 1]),
        helper.make_node("Reshape", ["m", "to"], ["y"]),
    ]
    file = model(tmp_path, rows, numpy_helper.from_array(np.array(to), "to"))
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 24)).astype(np.float32)
    found = compiled(file, "3x16xw where w in 16..40 step 8")(x)
    assert found.shape == shape
    assert np.allclose(found, compiled(file, (3, 16, 24))(x), atol=1e-6)


# Compiled


def compiled(source: str | Path, shape: Any = None, **more: Any) -> cnncc.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cnncc.compile(source, seed=0, shape=shape, max_error=0, batch=2, **more)


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (32, 24)])
def test_a_model_takes_every_size(size: tuple[int, int], tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    found, one = compiled(model(tmp_path, RELU), SHAPE), compiled(model(tmp_path, RELU), (3, *size))
    assert found(x).shape == one(x).shape
    assert np.array_equal(found(x), one(x))


def test_a_model_is_saved_for_all_sizes_and_targets(tmp_path: Path) -> None:
    found = compiled(NET, target="x86-64-v2,x86-64-v3")
    files = found.save(tmp_path / "t.so")
    x = np.random.default_rng(0).standard_normal((1, 3, 24, 32)).astype(np.float32)
    assert np.array_equal(cnncc.load(files["so"])(x), found(x))


def test_what_has_no_modules_for_ranges(tmp_path: Path) -> None:
    found, ranged = read(NET)
    with pytest.raises(CnnccError, match="target cuda-sm_90: a module has one size of its inputs, no range"):
        api.build(found.graph, Options(("cuda-sm_90",)), ranged=ranged)


def test_padding_by_what_a_stride_leaves(tmp_path: Path) -> None:
    """SAME_UPPER pads even sizes otherwise than odd ones; the smallest, the middle and the largest are even here."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad="SAME_UPPER")
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, "h", "w"]), ("y", None))]
    graph = helper.make_graph([node], "same", ports[:1], ports[1:], [weight])
    path = tmp_path / "same.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    with pytest.raises(CnnccError, match="how it follows from the size is not understood"):
        cnncc.compile(path, shape="x=1,3,h,w where h in 16..64, w in 16..64")
    even = cnncc.compile(path, shape="x=1,3,h,w where h in 16..64 step 2, w in 16..64 step 2")
    assert np.asarray(even(np.ones((1, 3, 18, 34), np.float32))).shape == (1, 4, 9, 17)
