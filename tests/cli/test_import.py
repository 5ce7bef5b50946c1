"""`cnncc import`, and ONNX models where other commands take a network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

import cnncc
import cnncc.frontends.sources
from cnncc import lang, weights
from cnncc.base.errors import CnnccError
from cnncc.base.files import check_replaceable
from cnncc.cli import main
from cnncc.ops import reference

FILTER = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)


def model(path: Path, size: object = 8, op: str = "Relu") -> Path:
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 3, size, 8)), ("y", None))]
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight"], ["a"], pads=[1] * 4),
        helper.make_node(op, ["a"], ["y"], name="last"),
    ]
    tensors = [numpy_helper.from_array(FILTER, "conv1.weight")]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], tensors)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def test_text_and_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, net = model(tmp_path / "m.onnx"), tmp_path / "n.net"
    assert main(["import", str(file), "-o", str(net)]) == 0
    assert net.read_text() == "net small\ninput x 3x8x8\nconv1: conv 3x3 4 nobias relu\noutput as y\n"
    out = capsys.readouterr().out
    assert f"{net}  4 lines for 3 ops" in out
    assert "inputs: x 1x3x8x8\noutputs: y 1x4x8x8\n" in out
    graph = weights.bind(lang.read(net), tmp_path / "n.safetensors")
    np.testing.assert_array_equal(graph.constants["conv1.weight"].value, FILTER)


def test_json_and_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, net, tensors = model(tmp_path / "m.onnx", "H"), tmp_path / "n.net", tmp_path / "w.safetensors"
    assert main(["import", str(file), "-o", str(net), "--weights", str(tensors), "--shape", "x=1,3,5,8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == [{"name": "x", "shape": [1, 3, 5, 8]}]
    assert found["outputs"] == [{"name": "y", "shape": [1, 4, 5, 8]}]
    assert found["weights"] == str(tensors)
    assert tensors.is_file()


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_standard_output_gets_the_text_alone(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights go where they are told to, or nowhere."""
    monkeypatch.chdir(tmp_path)
    file = model(tmp_path / "m.onnx")
    assert main(["import", str(file), "-o", output]) == 0
    assert capsys.readouterr().out == "net small\ninput x 3x8x8\nconv1: conv 3x3 4 nobias relu\noutput as y\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx"]
    assert main(["import", str(file), "-o", output, "--weights", "w.safetensors"]) == 0
    assert lang.parse(capsys.readouterr().out).constants.keys() == load_file("w.safetensors").keys()
    assert main(["import", str(file), "-o", output, "--json"]) == 2
    assert "the text and the JSON of --json would both go to standard output" in capsys.readouterr().err


def test_notes_go_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 8, 8, 3)) for n in ("x", "y")]
    nodes = [helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]), helper.make_node("Relu", ["a"], ["b"])]
    nodes.append(helper.make_node("Transpose", ["b"], ["y"], perm=[0, 2, 3, 1]))
    onnx.save(helper.make_model(helper.make_graph(nodes, "last", ports[:1], ports[1:])), tmp_path / "m.onnx")
    assert main(["import", str(tmp_path / "m.onnx"), "-o", "-"]) == 0
    said = capsys.readouterr()
    assert "input x is channels first here" in said.err
    assert said.out == "net last\ninput x 3x8x8\nrelu\noutput as y\n"


@pytest.mark.parametrize("path", ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/1"])
def test_streams_are_never_replaced(path: str) -> None:
    """Even where they lead to a regular file: the link itself would be gone."""
    with pytest.raises(CnnccError, match=rf"^cannot write {path}: it is a stream, not a regular file$"):
        check_replaceable(Path(path))


def test_nothing_is_written_where_something_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = model(tmp_path / "m.onnx", op="Det")
    assert main(["import", str(file), "-o", str(tmp_path / "n.net")]) == 2
    err = capsys.readouterr().err
    assert "the model cannot be converted: node last (Det): this op is not supported" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx"]


def test_open_sizes_and_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = model(tmp_path / "m.onnx", "H")
    assert main(["import", str(file), "-o", str(tmp_path / "n.net")]) == 2
    assert "--shape x=1,3,224,8" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        main(["import", str(file), "--shape", "x:1,3"])
    assert "expected a shape such as 3x320x320 or image=3x320x320, got 'x:1,3'" in capsys.readouterr().err
    assert main(["import", str(file), "-o", str(file)]) == 2
    assert re.search("the network .*the model", capsys.readouterr().err)


def test_models_in_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, module = model(tmp_path / "m.onnx"), tmp_path / "m.so"
    assert main(["summary", str(file)]) == 0
    assert main(["compile", str(file), "-o", str(module)]) == 0
    capsys.readouterr()
    assert main(["check", str(module)]) == 0
    assert "all 1 compared layers within their tolerance" in capsys.readouterr().out
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (wanted,) = reference.run(cnncc.frontends.sources.read(file), [image]).values()
    np.testing.assert_allclose(cnncc.compile(file)(image), wanted, atol=1e-5)
    np.testing.assert_allclose(cnncc.load(module)(image), wanted, atol=1e-5)


def test_a_module_is_checked_against_what_it_was_made_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, module = model(tmp_path / "m.onnx"), tmp_path / "m.so"
    assert main(["compile", str(file), "-o", str(module)]) == 0
    model(file, op="Tanh")
    assert main(["check", str(module)]) == 2
    assert "the module small was compiled from another network than this one" in capsys.readouterr().err
    file.unlink()
    assert main(["check", str(module)]) == 2
    assert f"was compiled from {file}, which is not there" in capsys.readouterr().err


def test_models_without_onnx_are_refused_kindly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = model(tmp_path / "m.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert main(["import", str(file), "-o", str(tmp_path / "n.net")]) == 2


assert onnx.__version__
