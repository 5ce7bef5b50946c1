"""`cnncc fmt` and `cnncc expand`."""

from __future__ import annotations

import pytest

from cnncc import lang

UGLY = "net   t\ninput 3x8x8 # small\nconv 3x3 4   relu x2\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ugly.net"
    path.write_text(UGLY)
    return path


def test_fmt_prints_and_leaves_the_file(cnncc, file):
    result = cnncc("fmt", file)
    assert result.code == 0
    assert "conv 3x3 4 relu x2" in result.out
    assert "# small" in result.out
    assert file.read_text() == UGLY


def test_fmt_reads_standard_input(cnncc, file):
    assert cnncc("fmt", "-", stdin=UGLY).out == cnncc("fmt", file).out


def test_fmt_writes_back_once(cnncc, file):
    assert cnncc("fmt", "--check", file).code == 1
    assert cnncc("fmt", "-w", file).out == ""
    written = file.read_text()
    assert written != UGLY
    check = cnncc("fmt", "--check", file)
    assert (check.code, check.out) == (0, "")
    assert cnncc("fmt", file).out == written


def test_fmt_check_names_the_file_and_what_to_do(cnncc, file):
    assert cnncc("fmt", "--check", file).out == f"{file}: not formatted; `cnncc fmt -w {file}` does it\n"
    assert file.read_text() == UGLY


def test_fmt_check_and_write_exclude_each_other(cnncc, file):
    assert cnncc("fmt", "--check", "-w", file).code == 2


def test_fmt_refuses_what_it_cannot_parse_and_leaves_the_file(cnncc, tmp_path):
    bad = tmp_path / "bad.net"
    bad.write_text("net t\ninput 3x8x8\nconv {{{\n")
    result = cnncc("fmt", "-w", bad)
    assert result.code == 2
    assert f"{bad}:3:" in result.err
    assert bad.read_text() == "net t\ninput 3x8x8\nconv {{{\n"


@pytest.mark.parametrize("content", [None, b"", b"net \xff\xfe"])
@pytest.mark.parametrize("command", ["fmt", "expand", "summary", "weights"])
def test_unreadable_texts_are_one_message_that_names_the_file(cnncc, tmp_path, command, content):
    path = tmp_path / "x.net"
    if content is not None:
        path.write_bytes(content)
    result = cnncc(command, path)
    assert (result.code, result.out) == (2, "")
    assert str(path) in result.err


def test_expand_is_flat_with_shapes_and_reads_back(cnncc, file):
    result = cnncc("expand", file)
    assert result.code == 0
    assert result.out.count("conv 3x3 4") == 2
    assert "4x8x8" in result.out
    assert lang.read(result.out) == lang.read(UGLY)
    assert "4x8x8" not in cnncc("expand", "--no-shapes", file).out


def test_weights_lists_names_and_shapes(cnncc, file):
    result = cnncc("weights", file)
    assert result.code == 0
    rows = [line.split() for line in result.out.splitlines()]
    assert [row[1] for row in rows if row and row[0].endswith(".weight")] == ["4x3x3x3", "4x4x3x3"]
    tensors = cnncc("weights", file, "--json").json["tensors"]
    assert [t["shape"] for t in tensors if t["name"].endswith(".bias")] == [[4], [4]]


def test_weights_writes_a_file_that_fits(cnncc, file, tmp_path):
    out = tmp_path / "w.safetensors"
    assert "4 tensors of t (random, seed 3)" in cnncc("weights", file, "-o", out, "--seed", 3).out
    first = out.read_bytes()
    assert cnncc("weights", file, "-o", out, "--seed", 3).code == 0
    assert out.read_bytes() == first
    assert cnncc("weights", file, "--weights", out, "--json").json["weights"] == str(out)


def test_weights_are_not_written_over_what_is_read(cnncc, file, tmp_path):
    for out, what in ((file, "the network"), (tmp_path / "w", "the weights file")):
        (tmp_path / "w").write_bytes(b"old")
        result = cnncc("weights", file, "-o", out, "--weights", tmp_path / "w")
        assert (result.code, result.out) == (2, "")
        assert f"cannot write the weights to {out}: that is {what}" in result.err
    assert file.read_text() == UGLY
    assert (tmp_path / "w").read_bytes() == b"old"


def test_weights_from_a_file_have_no_seed(cnncc, file, tmp_path):
    cnncc("weights", file, "-o", file.with_suffix(".safetensors"), "--seed", 3)
    assert b"seed" in file.with_suffix(".safetensors").read_bytes()
    cnncc("weights", file, "-o", tmp_path / "copy")
    assert b"seed" not in (tmp_path / "copy").read_bytes()


def test_a_folder_as_weights_is_one_message(cnncc, file, tmp_path):
    result = cnncc("weights", file, "--weights", tmp_path)
    assert (result.code, result.err) == (2, f"cnncc: cannot read weights from {tmp_path}: it is a folder\n")


def test_weights_beside_the_network_are_found(cnncc, file):
    beside = file.with_suffix(".safetensors")
    cnncc("weights", file, "-o", beside)
    assert cnncc("weights", file, "--json").json["weights"] == str(beside)


def test_weights_of_another_network_are_refused(cnncc, file, tmp_path):
    out = tmp_path / "w.safetensors"
    cnncc("weights", file, "-o", out)
    result = cnncc("weights", "-", "--weights", out, stdin="net u\ninput 3x8x8\nfc: fc 10\n")
    assert result.code == 2
    assert "missing: fc.weight" in result.err
    assert "left over" in result.err


def test_fmt_json(cnncc, tmp_path):
    ugly, fine = tmp_path / "ugly.net", tmp_path / "fine.net"
    ugly.write_text("net t\ninput   3x8x8\nrelu\n")
    fine.write_text("net t\ninput 3x8x8\nrelu\n")
    printed = cnncc("fmt", ugly, fine, "--json").json["files"]
    assert [file["changed"] for file in printed] == [True, False]
    assert [file["text"] for file in printed] == [fine.read_text()] * 2
    checked = cnncc("fmt", "--check", ugly, "--json")
    assert (checked.code, checked.json) == (1, {"files": [{"file": str(ugly), "changed": True}]})
    assert cnncc("fmt", "--check", "-q", ugly).out == ""
    assert cnncc("fmt", "-w", ugly, "--json").json == {"files": [{"file": str(ugly), "changed": True}]}
    assert ugly.read_text() == fine.read_text()


def test_expand_json(cnncc):
    found = cnncc("expand", "-", "--json", stdin="net t\ninput 3x8x8\nconv 3x3 4 relu x2\n").json
    assert found["name"] == "t"
    assert found["text"] == cnncc("expand", "-", stdin="net t\ninput 3x8x8\nconv 3x3 4 relu x2\n").out
    assert found["values"][1] == {"name": "0.0", "op": "conv", "inputs": ["input"], "shape": [1, 4, 8, 8]}
    assert found["outputs"] == ["0.1.relu"]


@pytest.mark.parametrize("name", ["a.npz", "a.onnx", "a.pth"])
def test_weights_are_not_called_what_they_are_not(cnncc, tmp_path, name):
    (tmp_path / name).write_text("mine")
    result = cnncc("weights", "lenet5", "-o", tmp_path / name)
    assert result.code == 2
    assert f"{name}: weights are written as safetensors" in result.err
    assert (tmp_path / name).read_text() == "mine"
