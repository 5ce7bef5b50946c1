"""`cnncc export`."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest

from cnncc import cli

TINY = "net tiny\ninput image 2x4x4 mean (1, 2)\nconv 3x3 3 relu\nfc 5\n"


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.net"
    path.write_text(TINY)
    return path


def test_it_writes_a_model_and_says_so(cnncc, net, tmp_path):
    result = cnncc("export", net, "--batch", "2", "--seed", "3")
    assert result.code == 0
    onnx.checker.check_model(tmp_path / "tiny.onnx", full_check=True)
    assert result.out.startswith("tiny.onnx  ")
    assert "inputs: image 2x2x4x4\noutputs: 1 2x5\nweights: random, seed 3\n" in result.out


def test_json(cnncc, net, tmp_path):
    result = cnncc("export", net, "-o", "x.onnx", "--json").json
    assert result == {
        "name": "tiny",
        "model": "x.onnx",
        "bytes": (tmp_path / "x.onnx").stat().st_size,
        "weights": "random, seed 0",
        "opset": 17,
        "ir_version": 8,
        "nodes": 5,
        "inputs": [{"name": "image", "shape": [1, 2, 4, 4]}],
        "outputs": [{"name": "1", "shape": [1, 5]}],
    }


def test_the_weights_are_those_of_the_file(cnncc, net):
    assert cnncc("weights", net, "-o", "w.safetensors", "--seed", "9").code == 0
    for name, options in (("a", ("--weights", "w.safetensors")), ("b", ("--seed", "9")), ("c", ("--seed", "8"))):
        assert cnncc("export", net, "-o", name, *options).code == 0
    a, b, c = ((net.parent / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_directory_that_is_not_there(cnncc, net):
    result = cnncc("export", net, "-o", "nowhere/x.onnx")
    assert (result.code, result.out) == (2, "")
    assert result.err == "cnncc: cannot write nowhere/x.onnx: folder nowhere does not exist\n"


def test_without_the_package_nothing_is_written(cnncc, net, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = cnncc("export", net, "-o", "x.onnx")
    assert result.code == 2
    assert "ONNX needs the package onnx\n  hint: pip install" in result.err
    assert not (net.parent / "x.onnx").exists()


def test_the_command_line_alone_does_not_import_onnx():
    assert "export" in {command.name for command in cli.COMMANDS}
    code = "import sys, cnncc.cli, cnncc.frontends.onnx.export; cnncc.cli.parser(); assert 'onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_network_itself_is_not_overwritten(cnncc, net):
    result = cnncc("export", net, "-o", net)
    assert (result.code, result.out) == (2, "")
    assert "that is the network" in result.err
    assert net.read_text() == TINY
