"""Commands with ranges: `--shape '3xhxw where h in 16..32 step 8, w in 16..40 step 8'`, and texts that have them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import cnncc as package

NET = "net tiny\ninput 3 x h x w where h in 16..32 step 8, w in 16..40 step 8\nconv 3x3 8 /2 relu\nconv 3x3 4\n"
FIXED = NET.replace("3 x h x w where h in 16..32 step 8, w in 16..40 step 8", "3x24x24")
SHAPE = "3xhxw where h in 16..32 step 8, w in 16..40 step 8"
SAID = "3 x h x w where h in 16..32 step 8, w in 16..40 step 8"
EXACT = ("--max-error", "0")


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixed.net").write_text(FIXED)
    for name, shape in (("a", (2, 3, 16, 24)), ("b", (3, 32, 40)), ("outside", (3, 17, 24))):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random(shape, np.float32))
    Image.new("RGB", (50, 30), (200, 100, 50)).save(tmp_path / "p.png")
    path = tmp_path / "tiny.net"
    path.write_text(NET)
    return path


def test_commands_that_need_numbers_take_the_size_in_the_middle(cnncc, net):
    assert "3x24x24" in cnncc("summary", net).out
    assert cnncc("summary", net, "--json").json == cnncc("summary", "fixed.net", "--json").json
    assert cnncc("summary", "fixed.net", "--shape", SHAPE).out == cnncc("summary", "fixed.net").out
    assert "3x16x40" in cnncc("summary", net, "--shape", "3x16x40").out
    assert f"input {SAID}" in cnncc("expand", "fixed.net", "--shape", SHAPE).out


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (["3x17x24"], f"input 'input': 3x17x24 is not within {SAID}"),
        (["3xhx24 where h in 32..16"], "argument --shape: h in 32..16: a range goes up (write h in 16..32)"),
        (
            ["3x16x16,3xhx24 where h in 16..32"],
            "argument --shape: a range together with several sizes (a range has all",
        ),
        (["3xhx24"], "argument --shape: expected a shape such as 3x320x320 or image=3x320x320, got '3xhx24' (a range"),
    ],
)
def test_what_is_no_shape(cnncc, net, shape, message):
    result = cnncc("compile", net, "--shape", *shape)
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize("target", ["host", "x86-64-v2,x86-64-v3"])
def test_one_module_for_all_sizes(cnncc, net, target):
    made = cnncc("compile", net, *EXACT, "--target", target, "--json").json
    assert made["ranges"] == {"input": SAID}
    assert made["sizes"] == [{"input": [3, 24, 24]}]
    model = package.load("tiny.so")
    for size in ((16, 16), (32, 24)):
        one = np.random.default_rng(0).random((1, 3, *size), np.float32)
        with pytest.warns(package.CnnccWarning, match="no weights"):
            expected = package.compile(net, shape=(3, *size), max_error=0, target=target)
        assert np.array_equal(model(one), expected(one))


def test_what_compile_says(cnncc, net):
    result = cnncc("compile", "fixed.net", "--shape", SHAPE, *EXACT, "-o", "m.so")
    assert f"any size: input {SAID}\n" in result.out
    assert " of the largest size from the caller" in result.out


def test_a_module_is_checked_at_sizes_of_its_range(cnncc, net):
    assert cnncc("compile", "fixed.net", "--shape", SHAPE, *EXACT, "-o", "m.so").code == 0
    result = cnncc("check", "m.so")
    assert (result.code, result.out.splitlines()[-1]) == (
        0,
        "tiny: all outputs within their tolerance at 10 sizes of the range",
    )
    for size in ("h = 16, w = 16", "h = 32, w = 40", "h = 24, w = 24"):
        assert size in result.out
    found = cnncc("check", "m.so", "--json").json
    assert found["passed"]
    assert len(found["sizes"]) == 10
    (net.parent / "fixed.net").write_text(FIXED.replace("relu", "elu"))
    assert "was compiled from another network than this one" in cnncc("check", "m.so").err


def test_a_network_is_checked_at_sizes_of_its_range(cnncc, net):
    few = "3xhx24 where h in 16..24 step 8"
    found = cnncc("check", net, "--shape", few, *EXACT, "--json").json
    assert [size["shapes"] for size in found["sizes"]] == ["h = 16", "h = 24"]
    assert cnncc("check", net, *EXACT, "-q").out == ""


def test_a_size_that_is_wrong_is_shown(cnncc, net, monkeypatch):
    from cnncc.report import check

    honest = check.checked_values

    def wrong(source, inputs, got, options):
        bad = source.inputs[0].attrs["dims"] == (3, 32, 40)
        return honest(source, inputs, {name: array + bad for name, array in got.items()}, options)

    monkeypatch.setattr(check, "checked_values", wrong)
    result = cnncc("check", net, *EXACT)
    assert result.code == 1
    assert "OUTSIDE" in result.out
    assert "size h = 32, w = 40\nfirst layer outside its tolerance: 1 (conv)" in result.out


@pytest.mark.parametrize("compiled", [False, True])
def test_files_of_any_size_are_run(cnncc, net, compiled):
    if compiled:
        assert cnncc("compile", net, *EXACT).code == 0
    what = ("tiny.so",) if compiled else (net, *EXACT)
    found = cnncc("run", *what, "a.npy", "b.npy", "p.png", "--json").json
    assert [r["inputs"] for r in found] == [["a.npy[0]"], ["a.npy[1]"], ["b.npy"], ["p.png"]]
    assert [r["outputs"][0]["shape"] for r in found] == [[4, 8, 12], [4, 8, 12], [4, 16, 20], [4, 12, 12]]
    (one,) = cnncc("run", *what, "p.png", "--shape", "3x32x40", "--json").json
    assert one["outputs"][0]["shape"] == [4, 16, 20]
    assert "h = 17 is not one of 16, 24, 32" in cnncc("run", *what, "outside.npy").err
    mixed = cnncc("run", *what, "a.npy", "b.npy", "-o", "y.npy")
    assert "b.npy: output 1 is 4x16x20, and that of the images before 4x8x12" in mixed.err
    assert cnncc("run", *what, "a.npy", "-o", "y.npy").code == 0
    assert np.load("y.npy").shape == (2, 4, 8, 12)


def test_a_module_takes_a_shape_of_its_range_only(cnncc, net):
    assert cnncc("compile", net, *EXACT).code == 0
    result = cnncc("run", "tiny.so", "p.png", "--shape", "1x32x40")
    assert "--shape: tiny.so has no such size" in result.err
    assert "where h in 16..32 step 8, w in 16..40 step 8" in result.err
    assert "h = 20 is not one of 16, 24, 32" in cnncc("run", "tiny.so", "p.png", "--shape", "3x20x40").err


def test_a_target_without_ranges(cnncc, net):
    result = cnncc("compile", net, "--target", "cuda", "-o", "out")
    assert result.code == 2
    assert "target cuda: a module has one size of its inputs, no range" in result.refusal


def test_import_writes_the_range(cnncc, net):
    assert cnncc("export", "fixed.net", "-o", "m.onnx").code == 0
    found = cnncc("import", "m.onnx", "-o", "again.net", "--shape", SHAPE, "--json").json
    assert found["inputs"][0]["range"] == SAID
    assert (net.parent / "again.net").read_text().splitlines()[1] == f'input "input" {SAID}'
    assert cnncc("import", "m.onnx", "-o", "again.net", "--shape", SHAPE).out.splitlines()[2] == f"inputs: input {SAID}"
    assert cnncc("check", "again.net", *EXACT).code == 0


def test_import_refuses_what_breaks_a_rule_within_the_range(cnncc, net):
    (net.parent / "odd.net").write_text("net odd\ninput 3x32x32\nadd { maxpool 2x2 /2; upsample 2 | }\n")
    assert cnncc("export", "odd.net", "-o", "odd.onnx").code == 0
    result = cnncc("import", "odd.onnx", "--shape", "3xhx32 where h in 16..64")
    assert result.code == 2
    assert "at h = 17: add: arms differ" in result.err
    assert cnncc("import", "odd.onnx", "--shape", "3xhx32 where h in 16..64 step 2").code == 0


def test_the_origin_of_a_module_says_the_range(cnncc, net):
    assert cnncc("compile", "fixed.net", "--shape", SHAPE, *EXACT, "-o", "m.so").code == 0
    assert package.load("m.so").info["origin"]["shape"] == [["", [SAID]]]
    json.dumps(package.load("m.so").info)
