"""`cnncc quantize`, and what the other commands do with the file that it writes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import cnncc as package
from cnncc.base.errors import CnnccError
from cnncc.base.resources import directory

DIGITS = Path(__file__).parent.parent.parent / "examples/digits"
LENET = directory("models") / "lenet5.net"


@pytest.fixture(scope="module")
def scales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of LeNet-5 with scales from the digits that ship."""
    from cnncc.cli import main

    path = tmp_path_factory.mktemp("quantized") / "q.safetensors"
    assert main(["-q", "quantize", str(LENET), "--calibrate", str(DIGITS), "-o", str(path)]) == 0
    return path


def test_it_tells_what_bytes_cost_and_writes_a_page(cnncc, tmp_path):
    page, out = tmp_path / "q.html", tmp_path / "q.safetensors"
    done = cnncc("quantize", LENET, "--calibrate", DIGITS, "-o", out, "--html", page, "--range", "mse")
    assert done.code == 0
    assert re.search(r"conv2.relu +relu +0 \.\. 1\d\.\d+", done.out)
    assert re.search(r"outputs +fc5.softmax: \d\d.\d dB, the largest .* 100.0% of 20 images", done.out)
    assert "fc5.softmax (softmax)" in done.out
    assert out.is_file()
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") >= 7
    assert "conv2.relu" in text


def test_json_has_every_value(cnncc, tmp_path):
    arguments = ("--calibrate", DIGITS, "-o", tmp_path / "q.safetensors", "--json", "--no-gains", "--keep", "conv2")
    told = json.loads(cnncc("quantize", LENET, *arguments).out)
    assert told["keep"] == ["conv2"]
    assert told["images"] == 20
    assert {value["name"] for value in told["values"]} >= {"input", "conv3.relu", "pool2", "fc4.relu"}
    assert told["float32"] == [
        {"name": "conv1.relu", "op": "relu"},
        {"name": "pool1", "op": "maxpool"},
        {"name": "conv2", "op": "conv"},
        {"name": "conv2.relu", "op": "relu"},
        {"name": "pool2", "op": "maxpool"},
        {"name": "fc5.softmax", "op": "softmax"},
    ]
    assert told["gains"] == []


def test_check_finds_no_byte_that_differs(cnncc, scales):
    done = cnncc("check", LENET, "--weights", scales)
    assert done.code == 0
    assert re.search(r"bytes: 0 of \d{4,} differ", done.out)
    assert "of the 20 calibration images" in done.out
    told = json.loads(cnncc("check", LENET, "--weights", scales, "--json").out)
    assert told["integers"]["differing"] == 0
    assert told["calibration"]["method"] == "minmax"


def test_a_module_of_bytes_reads_digits_and_is_small(cnncc, scales, tmp_path):
    module, floats = tmp_path / "q.so", tmp_path / "f.so"
    assert cnncc("compile", LENET, "--weights", scales, "-o", module).code == 0
    assert cnncc("compile", LENET, "-o", floats).code == 0
    byte_weights, float_weights = (
        cnncc("info", file, "--json").json["memory"]["weight_bytes"] for file in (module, floats)
    )
    assert byte_weights < 0.4 * float_weights
    found = json.loads(cnncc("run", module, DIGITS, "--json").out)
    for result in found:
        digit = int(Path(result["inputs"][0]).name[0])
        assert result["outputs"][0]["top"][0]["index"] == digit
    assert cnncc("check", module).code == 0


def test_the_network_is_shown_as_it_is_computed(cnncc, scales):
    text = cnncc("expand", LENET, "--weights", scales).out
    assert re.search(r"conv1.relu: qconv 5x5 6 .*to uint8 scale 0\.\d+ ", text)
    again = cnncc("expand", "-", stdin=text).out
    assert again == text


def test_python_does_the_same(scales, tmp_path):
    digits = np.random.default_rng(0).uniform(0, 255, (3, 1, 32, 32)).astype(np.float32)
    found = package.quantize(LENET, digits, method="percentile", percent=99.9)
    found.save(tmp_path / "p.safetensors")
    model = package.compile(LENET, weights=tmp_path / "p.safetensors")
    (port,) = model.outputs
    assert port.dtype == "float32"
    assert model(digits[:1]).shape == (1, 10)
    with pytest.raises(CnnccError, match="at least one image"):
        package.quantize(LENET, digits[:0])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--range", "minmx"), "no method 'minmx' finds ranges"),
        (("--range", "percentile"), "--range percentile takes one number"),
        (("--range", "percentile", "12"), "a number above 50, at most 100"),
        (("--range", "mse", "3"), "--range mse takes no number"),
        (("--keep", "conv7"), "has no layer 'conv7' to keep"),
        (("--calibrate", "nowhere"), "nowhere: no such file or folder"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(cnncc, tmp_path, arguments, told):
    given = {"--calibrate": str(DIGITS), "-o": str(tmp_path / "q.safetensors")}
    given |= {arguments[0]: None} if arguments[0] in given else {}
    flat = [part for key, value in given.items() if value for part in (key, value)]
    done = cnncc("quantize", LENET, *flat, *arguments)
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "q.safetensors").exists()


def test_scales_are_not_made_of_scales(cnncc, scales, tmp_path):
    out = tmp_path / "q.safetensors"
    done = cnncc("quantize", LENET, "--weights", scales, "--calibrate", DIGITS, "-o", out)
    assert done.code == 2
    assert "has scales already" in done.err


def test_a_network_without_layers_on_bytes_is_refused(cnncc, tmp_path):
    done = cnncc(
        "quantize", "-", "--calibrate", DIGITS, "-o", tmp_path / "q.safetensors", stdin="net t\ninput 1x8x8\nsoftmax\n"
    )
    assert done.code == 2
    assert "no layer that could be computed on bytes" in done.err


def test_without_scales_those_of_random_images(cnncc, tmp_path):
    module = tmp_path / "m.so"
    done = cnncc("compile", LENET, "--dtype", "int8", "-o", module)
    assert done.code == 0
    assert "good for its speed, not for its answers" in done.err
    assert "ranges are those of random images" in cnncc("info", module).out
    assert "all 1 compared layers within their tolerance" in cnncc("check", module).out
    assert "bytes: 0 of 9108 differ" in cnncc("check", LENET, "--dtype", "int8").out


def test_a_network_of_several_images_gets_ranges_of_single_ones(cnncc, tmp_path):
    net = tmp_path / "four.net"
    net.write_text("net four\ninput 3x8x8 batch 4\nconv 3x3 8 relu\nfc 3\n")
    assert "bytes: 0 of " in cnncc("check", net, "--dtype", "int8").out


def test_scales_that_are_there_are_taken(cnncc, scales):
    done = cnncc("check", LENET, "--weights", scales, "--dtype", "int8")
    assert "random" not in done.err
    assert "of the 20 calibration images" in done.out


def test_nothing_in_it_becomes_bytes(cnncc):
    done = cnncc("check", "-", "--dtype", "int8", stdin="net t\ninput 1x8x8\nsoftmax\n")
    assert done.code == 2
    assert "t has no layer that could be computed on bytes" in done.err


def test_run_compares_bytes_with_float32_on_labelled_images(cnncc, scales, tmp_path):
    table = tmp_path / "truth.csv"
    table.write_text("".join(f"{path.name},{path.name[0]}\n" for path in DIGITS.glob("*.png")))
    arguments = ("run", LENET, DIGITS, "--weights", scales, "--truth", table)
    told = json.loads(cnncc(*arguments, "--json").out)["accuracy"]
    assert [score["network"] for score in told["scores"]] == ["on bytes", "float32"]
    assert [score["top1"] for score in told["scores"]] == [20, 20]
    assert told["same"] == 20
    lines = cnncc(*arguments, "-q").out.splitlines()
    assert lines[0].startswith("on bytes     20 of 20 right (100.0%)")
    assert lines[2] == "same answer  20 of 20"


def test_a_module_says_how_much_of_it_is_on_bytes(cnncc, scales, tmp_path):
    assert cnncc("compile", LENET, "--weights", scales, "-o", tmp_path / "m.so").code == 0
    assert re.search(r"int8 +5 of 5 layers with weights multiply bytes", cnncc("info", tmp_path / "m.so").out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compile", "--dtype", "bfloat16", "-o", "m.so"), "--dtype bfloat16: by the scales in "),
        (("quantize", "--calibrate", DIGITS, "-o", "q.onnx"), "-o q.onnx: what is written is weights"),
        (("quantize", "--calibrate", DIGITS, "-o", "q.safetensors", "--keep", "pool1"), "no layer 'pool1' to keep"),
    ],
)
def test_what_does_not_go_with_bytes(cnncc, scales, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    command, *others = arguments
    with_scales = ("--weights", scales) if command == "compile" else ()
    done = cnncc(command, LENET, *with_scales, *others)
    assert done.code == 2
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_all_layers_kept_leaves_nothing(cnncc, tmp_path):
    arguments = ("--calibrate", DIGITS, "-o", tmp_path / "q.safetensors", "--keep", "conv1,conv2,conv3,fc4,fc5")
    assert "all of its layers are to stay float32" in cnncc("quantize", LENET, *arguments).err


def test_one_name_is_a_list_of_one():
    images = np.zeros((1, 1, 32, 32), np.float32)
    assert package.quantize(LENET, images, keep="conv1").scheme.keep == {"conv1"}


def test_the_text_of_an_exported_network_on_bytes_comes_back(cnncc, scales, tmp_path):
    model, net = tmp_path / "q.onnx", tmp_path / "back.net"
    assert cnncc("export", LENET, "--weights", scales, "-o", model).code == 0
    assert cnncc("import", model, "-o", net).code == 0
    assert "conv1.relu: qconv 5x5 6" in net.read_text()


def test_bench_of_scales_is_one_on_bytes(cnncc, scales):
    done = cnncc("bench", LENET, "--weights", scales, "--vs", "onnxruntime", "--rounds", 2, "--seconds", 0.02, "--json")
    assert done.code == 0
    assert done.json["dtype"] == "int8"


def test_a_file_of_a_folder_that_cannot_be_read_is_told_and_left_out(cnncc, tmp_path):
    """As `cnncc run` does it: the file is written, the exit code is 2. One that is named is an error."""
    folder, out = tmp_path / "digits", tmp_path / "q.safetensors"
    folder.mkdir()
    for picture in list(DIGITS.glob("*.png"))[:3]:
        shutil.copy(picture, folder)
    (folder / "bad.png").write_bytes(b"\x89PNG broken")
    done = cnncc("quantize", LENET, "--calibrate", folder, "-o", out, "--no-gains", "--json")
    assert (done.code, done.json["images"]) == (2, 3)
    assert done.err.count("bad.png") == 1
    assert "cnncc: 1 of 4 files could not be read" in done.err
    assert cnncc("check", LENET, "--weights", out).code == 0
    named = cnncc("quantize", LENET, "--calibrate", folder / "bad.png", "-o", tmp_path / "n.safetensors")
    assert (named.code, (tmp_path / "n.safetensors").exists()) == (2, False)
    for picture in folder.glob("[0-9]*.png"):
        picture.unlink()
    none = cnncc("quantize", LENET, "--calibrate", folder, "-o", tmp_path / "n.safetensors")
    assert (none.code, (tmp_path / "n.safetensors").exists()) == (2, False)
    assert "none of the files can be read as an image of the network" in none.err
