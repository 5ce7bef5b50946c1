"""Warnings: what is legal but most likely not meant, on standard error, in --json, in Python and in the module."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cnncc import compile as compile_network
from cnncc import lang
from cnncc.base.errors import CnnccWarning

PLAIN = "net t\ninput 3x16x16\nconv 3x3 4 relu\n"
TORCHVISION = "mean (0.485, 0.456, 0.406) std (0.229, 0.224, 0.225)"
UNIT = f"input: {TORCHVISION} are for pixels of 0 to 1, and pixels are 0 to 255 here"
RANDOM = "no weights for t: using random, seed 0; give --weights FILE"


def said(text: str) -> list[CnnccWarning]:
    """What is doubtful in a text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lang.doubt(lang.parse(text, "t.net"))
    return [warning.message for warning in caught if isinstance(warning.message, CnnccWarning)]


DOUBTS = [
    (f"input 3x32x32 {TORCHVISION}", "2:15", UNIT, "write mean (123.675, 116.28, 103.53) std (58.395, 57.12, 57.375);"),
    ("input 1x28x28 mean (0.1307) std (0.3081)", "2:15", "input: mean (0.1307)", "write mean (33.3285) std (78.5655)"),
    ("input x 3x32x32 mean (0.5)", "2:17", "input: mean (0.5) are for", "write mean (127.5) std (255)"),
    ("input 3x32x32 std (0.5)", "2:15", "input: std (0.5) are for", "write std (127.5)"),
    ("input 3x32x32 std (0.00392)", "2:15", "input: std (0.00392) are for", "write std (255)"),
    ("input 96x96x3", "2:7", "input 96x96x3 has 96 channels, of 96x3 pixels each", "channels come first: 3x96x96"),
    ("input a 480x640x3", "2:9", "input 480x640x3 has 480 channels, of 640x3 pixels", "channels come first: 3x480x640"),
    ("input 28x28x1", "2:7", "input 28x28x1 has 28 channels, of 28x1 pixels each", "channels come first: 1x28x28"),
]


@pytest.mark.parametrize(("line", "place", "message", "hint"), DOUBTS, ids=[case[0] for case in DOUBTS])
def test_a_doubtful_input(line, place, message, hint):
    (found,) = said(f"net t\n{line}\nrelu\n")
    assert str(found.span) == f"t.net:{place}"
    assert found.message.startswith(message)
    assert found.hint.startswith(hint)


NO_DOUBTS = [
    "input 3x224x224 mean (123.675, 116.28, 103.53) std (58.395, 57.12, 57.375)",
    "input 3x32x32 mean (127.5) std (127.5)",
    "input 3x32x32 std (255)",
    "input 3x32x32 mean (0) std (1)",
    "input 1x28x28 std (1)",
    "input 16x8x8 mean (0.5) std (0.5)",
    "input 10",
    "input 40x101x1",
    "input 3x224x224",
    "input 8x8x3",
    "input 512x7x7",
]


@pytest.mark.parametrize("line", NO_DOUBTS)
def test_no_doubt(line):
    assert said(f"net t\n{line}\nrelu\n") == []


def test_a_network_that_turns_its_axes_knows():
    assert said("net t\ninput 96x96x3\npermute 96x96x3 axes 2,0,1 to 3x96x96\nconv 3x3 4\n") == []


def test_a_warning_has_place_carets_and_hint(cnncc):
    result = cnncc("summary", "-", stdin="net t\ninput 96x96x3\nrelu\n")
    assert result.code == 0
    assert result.err == (
        "cnncc: warning: <stdin>:2:7: input 96x96x3 has 96 channels, of 96x3 pixels each\n"
        "  | input 96x96x3\n"
        "  |       ^^^^^^^\n"
        "  hint: channels come first: 3x96x96 if the last number is the colours\n"
    )


def test_quiet_says_nothing_and_json_all(cnncc):
    result = cnncc("summary", "-q", "--json", "-", stdin="net t\ninput 96x96x3\nrelu\n")
    (found,) = result.json["warnings"]
    assert result.err == ""
    assert found["place"] == "<stdin>:2:7"
    assert found["message"] == "input 96x96x3 has 96 channels, of 96x3 pixels each"
    assert found["hint"].startswith("channels come first")
    assert "warnings" not in cnncc("summary", "--json", "-", stdin=PLAIN).json


def test_random_weights_are_told_by_compile_and_by_the_module(cnncc, tmp_path):
    out = tmp_path / "t.so"
    result = cnncc("compile", "-", "-o", out, "--json", stdin=PLAIN)
    assert result.err == f"cnncc: warning: {RANDOM}\n"
    assert [warning["message"] for warning in result.json["warnings"]] == [RANDOM]
    assert cnncc("info", out, "--json").json["weights"]["from"] == "random (seed 0)"
    assert ", random (seed 0), inside\n" in cnncc("info", out).out


def test_quiet_compiles_without_a_word(cnncc, tmp_path):
    result = cnncc("compile", "-", "-q", "-o", tmp_path / "t.so", stdin=PLAIN)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_random_weights_are_told_by_run_alone(cnncc, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 16, 16), np.float32))
    assert cnncc("run", "-", tmp_path / "x.npy", stdin=PLAIN).err == f"cnncc: warning: {RANDOM}\n"
    for name in ("summary", "check", "memory", "expand", "weights"):
        assert cnncc(name, "-", stdin=PLAIN).err == ""


def test_weights_of_a_file_are_named_and_not_warned_of(cnncc, tmp_path):
    file, out = tmp_path / "mine.safetensors", tmp_path / "t.so"
    assert cnncc("weights", "-", "-o", file, stdin=PLAIN).err == ""
    assert cnncc("compile", "-", "--weights", file, "-o", out, stdin=PLAIN).err == ""
    assert cnncc("info", out, "--json").json["weights"]["from"] == "mine.safetensors"
    assert ", mine.safetensors, inside\n" in cnncc("info", out).out


def test_a_network_without_weights_needs_none(cnncc, tmp_path):
    result = cnncc("compile", "-", "-o", tmp_path / "t.so", stdin="net t\ninput 3x8x8\nrelu\n")
    assert result.err == ""
    assert "weights: 0 bytes, none needed" in result.out


def test_doubts_stay_in_the_module(cnncc, tmp_path):
    out = tmp_path / "t.so"
    cnncc("compile", "-", "-o", out, stdin=f"net t\ninput 3x16x16 {TORCHVISION}\nconv 3x3 4\n")
    assert cnncc("info", out, "--json").json["notes"] == [UNIT]
    assert "note         input: mean (0.485" in cnncc("info", out).out


def test_python_warns_at_the_line_that_called(tmp_path):
    file = tmp_path / "t.net"
    file.write_text(f"net t\ninput 3x16x16 {TORCHVISION}\nconv 3x3 4 relu\n")
    with pytest.warns(CnnccWarning) as caught:
        compile_network(file)
    assert [str(w.message).splitlines()[0] for w in caught] == [
        f"{file}:2:15: {UNIT}",
        "no weights for t: using random ones; give weights=FILE, or seed=0 if that is meant",
    ]
    assert {w.filename for w in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_network(PLAIN, seed=0)


def quantised(path) -> None:
    """A rounded image, and what comes of it in float32."""
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])
    zero = helper.make_tensor("z", TensorProto.UINT8, [], [128])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Softmax", ["d"], ["c"], name="head"),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "s", "z"], ["y"]),
    ]
    ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8])] for n in "xy"]
    graph = helper.make_graph(nodes, "g", *ports, [scale, zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), str(path))


def test_what_a_quantised_model_computes_in_float32_is_told(cnncc, tmp_path):
    model, out = tmp_path / "q.onnx", tmp_path / "q.so"
    quantised(model)
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), np.float32))
    text = "computed in float32, since bytes have no such op: head (Softmax)"
    assert f"note: {text}\n" in cnncc("import", model, "-o", tmp_path / "q.net").out
    for command in (("compile", model, "-o", out), ("run", model, tmp_path / "x.npy")):
        assert cnncc(*command).err.startswith(f"cnncc: warning: {text}")
        assert cnncc(*command, "-q").err == ""
    (note,) = cnncc("info", out, "--json").json["notes"]
    assert note == text
