"""Files of weights of any kind: read, or named with the command that converts them; names of others are recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from weights.test_checkpoint import legacy, zipped

from cnncc import lang, weights
from cnncc.base.errors import CnnccError
from cnncc.frontends import sources
from cnncc.weights.names import origin_hint

TEXT = "net t\ninput 3x8x8\nconv1: conv 3x3 4\nfc: fc 2\n"
ARRAYS = {
    "conv1.weight": np.arange(108, dtype=np.float32).reshape(4, 3, 3, 3),
    "conv1.bias": np.arange(4, dtype=np.float32),
    "fc.weight": np.ones((2, 256), np.float32),
    "fc.bias": np.zeros(2, np.float32),
}


def archive(arrays: dict[str, np.ndarray], path: Path) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "t.net"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(("write", "suffix"), [(zipped, "pth"), (legacy, "pt"), (zipped, "bin"), (archive, "npz")])
def test_weights_of_other_kinds_are_read(net, tmp_path, write, suffix):
    path = write(ARRAYS, tmp_path / f"w.{suffix}")
    graph, origin = sources.read_bound(net, path)
    assert origin == str(path)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(graph.constants[name].value, array)


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("m.onnx", b"\x08\x07", "is no ONNX model: it has no nodes", ""),
        ("m.h5", b"\x89HDF\r\n", "is a file of Keras", "convert the model: python -m tf2onnx.convert --keras MODEL"),
        ("m.weights", b"\x89HDF\r\n", "is a file of Keras", "convert the model"),
        ("m.npz", b"PK\3\4", "is no PyTorch checkpoint, or a damaged one", ""),
        ("m.txt", b"hello", "is not a safetensors file", "other formats that are read end in"),
    ],
)
def test_weights_that_cannot_be_read(net, tmp_path, name, content, message, hint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CnnccError) as caught:
        sources.read_bound(net, tmp_path / name)
    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)


def test_a_damaged_archive(net, tmp_path):
    path = archive(ARRAYS, tmp_path / "w.npz")
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(CnnccError, match=r"w\.npz is a damaged archive of arrays"):
        sources.read_bound(net, path)


NAMES = {
    "torchvision": [f"layer{i}.{j}.conv1.weight" for i in range(1, 5) for j in range(9)],
    "timm": [f"blocks.{i}.{j}.conv_dw.weight" for i in range(5) for j in range(9)],
    "Keras": [f"conv2d_{i}/kernel:0" for i in range(30)],
    "an exporter to ONNX": [f"onnx::Conv_{i}" for i in range(30)],
    "a larger model": [f"backbone.body.layer{i}.weight" for i in range(30)],
}


@pytest.mark.parametrize("library", NAMES)
def test_names_of_libraries_are_recognised(library):
    assert origin_hint(NAMES[library], "w.pth").startswith(f"these look like names of {library}: ")


def test_names_of_a_network_of_ours_tell_nothing():
    assert origin_hint(["conv3.1.a.0.weight", "conv3.1.a.0.bn.bias", "fc.weight"], "w.safetensors") == ""
    assert origin_hint([], "w.safetensors") == ""


def test_ten_of_a_kind_are_named_and_the_command_that_converts_them(tmp_path):
    save_file({name: np.zeros(1, "f4") for name in NAMES["torchvision"]}, tmp_path / "w.safetensors")
    with pytest.raises(CnnccError) as caught:
        weights.bind(lang.parse(TEXT), tmp_path / "w.safetensors")
    lines = caught.value.message.splitlines()
    assert len(lines) == 1 + 4 + 10 + 1
    assert lines[-1] == "  left over: ... and 26 more"
    command = f"`cnncc weights NET --from {tmp_path / 'w.safetensors'} --map torchvision -o FILE` converts them"
    assert caught.value.hint == f"these look like names of torchvision: {command}"
