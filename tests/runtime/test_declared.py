"""Arrays as an ONNX file declares its inputs and outputs: types, shapes, axes, from Python and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import cnncc
import cnncc.contrib.onnx_backend as backend
from cnncc import cli
from cnncc.base.errors import CnnccError
from cnncc.runtime.declared import Declared
from cnncc.runtime.model import InputError

RNG = np.random.default_rng(5)
FILTER = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
Ports = dict[str, tuple[int, tuple[Any, ...]]]


def saved(folder: Path, nodes: list[Any], inputs: Ports, outputs: Ports, tensors: dict[str, np.ndarray]) -> Path:
    sides = [[helper.make_tensor_value_info(n, *port) for n, port in side.items()] for side in (inputs, outputs)]
    stored = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "net", *sides, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def detector(folder: Path, height: int = 6, width: int = 8) -> Path:
    """A picture of bytes, channels last, as tf2onnx writes it; the class as a whole number."""
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    inputs: Ports = {"image": (TensorProto.UINT8, (1, height, width, 3))}
    outputs: Ports = {"scores": (TensorProto.FLOAT, (1, 4)), "label": (TensorProto.INT64, (1,))}
    return saved(folder, nodes, inputs, outputs, {"w": FILTER})


def expected(path: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {port.name: a for port, a in zip(session.get_inputs(), arrays, strict=True)})


def test_bytes_channels_last(tmp_path: Path) -> None:
    path = detector(tmp_path)
    image = RNG.integers(0, 256, (1, 6, 8, 3), np.uint8)
    model = cnncc.compile(path)
    scores, label = model(image)
    wanted = expected(path, image)
    np.testing.assert_allclose(scores, wanted[0], rtol=1e-4)
    assert (label.dtype, label.shape, label.tolist()) == (wanted[1].dtype, wanted[1].shape, wanted[1].tolist())
    ours = image.transpose(0, 3, 1, 2)
    for same in (ours, ours.astype(np.float32), image.astype(np.float32)):
        np.testing.assert_array_equal(model(same)[0], scores)
    assert str(model.inputs[0]) == "image: float32 1..64x3x6x8 or uint8 1x6x8x3"
    several, labels = model.run_many(np.concatenate([image, image[:, ::-1], image]))
    np.testing.assert_array_equal(several[[0, 2]], scores[[0, 0]])
    assert labels.dtype == np.int64
    found = backend.run_model(onnx.load(path), [image])
    assert found.label.dtype == np.int64


def test_channels_last_of_a_cube_stay_last(tmp_path: Path) -> None:
    """Its shape does not tell whether an array is as the file declares it, so there is no other way."""
    path = detector(tmp_path, 3, 3)
    image = RNG.integers(0, 256, (1, 3, 3, 3), np.uint8)
    np.testing.assert_allclose(cnncc.compile(path)(image)[0], expected(path, image)[0], rtol=1e-4)


def test_import_tells_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import", str(detector(tmp_path)), "-o", str(tmp_path / "d.net")]) == 0
    shown = capsys.readouterr()
    assert "note: input image is float32 here, uint8 in the model" in shown.out + shown.err
    assert "input image 3x6x8 std (1.0)" in (tmp_path / "d.net").read_text()


def test_what_fits_neither(tmp_path: Path) -> None:
    model = cnncc.compile(detector(tmp_path))
    with pytest.raises(InputError, match="must be float32 or uint8, got int16"):
        model(np.zeros((1, 6, 8, 3), np.int16))
    with pytest.raises(InputError, match=r"must be 1\.\.64x3x6x8 or, as in the file, 1\.\.64x6x8x3, got"):
        model(np.zeros((1, 6, 8, 4), np.uint8))
    out = tuple(np.zeros((1, *port.shape[1:]), np.float32) for port in model.outputs)
    assert model(np.ones((1, 6, 8, 3), np.uint8), out=out) is out


KINDS = ["uint8", "int8", "int32", "int64", "bool", "float16", "float64"]


@pytest.mark.parametrize("kind", KINDS)
def test_types(kind: str, tmp_path: Path) -> None:
    """Of a vector that is cast, added to and given back in its own type."""
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=1), helper.make_node("Relu", ["f"], ["y"])]
    path = saved(tmp_path, nodes, {"x": (number, (1, 7))}, {"y": (TensorProto.FLOAT, (1, 7))}, {})
    array = RNG.integers(0, 2 if kind == "bool" else 100, (1, 7)).astype(kind)
    np.testing.assert_array_equal(cnncc.compile(path)(array), expected(path, array)[0])


def test_scalars_and_five_axes(tmp_path: Path) -> None:
    """A number that is added, frames that are folded, a sum over all: each in the file's shape."""
    nodes = [
        helper.make_node("Add", ["video", "number"], ["a"]),
        helper.make_node("Reshape", ["a", "s"], ["f"]),
        helper.make_node("Conv", ["f", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Reshape", ["c", "t"], ["frames"]),
        helper.make_node("ReduceSum", ["frames"], ["sum"], keepdims=0),
    ]
    inputs: Ports = {"video": (1, (1, 2, 3, 5, 6)), "number": (1, ())}
    outputs: Ports = {"frames": (1, (1, 2, 4, 5, 6)), "sum": (1, ())}
    tensors = {"w": FILTER, "s": np.array([-1, 3, 5, 6]), "t": np.array([1, 2, 4, 5, 6])}
    path = saved(tmp_path, nodes, inputs, outputs, tensors)
    video, number = RNG.standard_normal((1, 2, 3, 5, 6)).astype(np.float32), np.float32(0.5)
    wanted = expected(path, video, np.asarray(number))
    for found, right in zip(cnncc.compile(path)(video, number), wanted, strict=True):
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-4)
    pair = cnncc.compile(path, batch=2)(np.concatenate([video, 2 * video]), number)
    np.testing.assert_allclose(pair[0][:1], wanted[0], rtol=1e-3, atol=1e-4)
    many = cnncc.compile(path).run_many(np.concatenate([video, 2 * video, video]), number)
    np.testing.assert_allclose(many[0][2:], wanted[0], rtol=1e-3, atol=1e-4)


def test_a_batch_that_the_file_declares(tmp_path: Path) -> None:
    """A call takes as many images as the file says, or any other number."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])]
    path = saved(tmp_path, nodes, {"x": (1, (2, 3, 4, 4))}, {"y": (1, (2, 16))}, {"w": FILTER})
    images = RNG.standard_normal((5, 3, 4, 4)).astype(np.float32)
    model = cnncc.compile(path)
    np.testing.assert_allclose(model(images[:2]), expected(path, images[:2])[0], rtol=1e-4, atol=1e-5)
    assert model(images).shape == (5, 16)


def test_arrays_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cnncc run` takes what the file declares; bytes of a picture are no shares of 255 there."""
    path = detector(tmp_path)
    image = RNG.integers(0, 256, (1, 6, 8, 3), np.uint8)
    shown = []
    for array in (image, image.transpose(0, 3, 1, 2), image.astype(np.float32)):
        np.save(tmp_path / "image.npy", array)
        assert cli.main(["run", str(path), str(tmp_path / "image.npy"), "--json"]) == 0
        shown.append(json.loads(capsys.readouterr().out)[0]["outputs"])
    assert shown[0] == shown[1] == shown[2]
    scores, label = expected(path, image)
    best = shown[0][0]["top"][0]
    assert (best["index"], best["value"]) == (label[0], pytest.approx(float(scores.max()), rel=1e-4))


def test_sizes_that_are_open(tmp_path: Path) -> None:
    """The error says what to type."""
    nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
    inputs: Ports = {"x": (1, ("n", 3, "h", "w")), "z": (1, (1, 3, "h", 1))}
    path = saved(tmp_path, nodes, inputs, {"y": (1, ("n", 3, "h", "w"))}, {})
    with pytest.raises(CnnccError) as caught:
        cnncc.compile(path)
    assert caught.value.message == "input x has no fixed shape: n,3,h,w; input z has no fixed shape: 1,3,h,1"
    options = "--shape x=1,3,224,224 --shape z=1,3,224,1"
    assert f"say the size you want by `{options}`" in str(caught.value.hint)
    assert "in Python by shape={'x': [1, 3, 224, 224], 'z': [1, 3, 224, 1]}" in str(caught.value.hint)
    assert cnncc.compile(path, shape={"x": [1, 3, 6, 5], "z": (3, 6, 1)}).inputs[0].shape[1:] == (3, 6, 5)
    assert cli.main(["import", str(path), *options.split(), "-o", str(tmp_path / "model.net")]) == 0


def test_other_orders_of_axes_keep_ours() -> None:
    """Results whose axes lie otherwise keep the module's shape; types are the file's."""
    turned = Declared("int64", (1, 2, 3, 4), (0, 2, 3, 1), batched=True)
    array = np.arange(24, dtype=np.float32).reshape(1, 4, 2, 3) + np.float32(0.25)
    assert turned.from_ours(array).shape == array.shape
    assert turned.from_ours(array).dtype == np.int64
    assert str(Declared("float32", (), (), batched=False)) == "float32 scalar"
