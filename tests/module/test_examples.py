"""The programs of examples/ are built and run as their first lines say; a small network stands in for ResNet-50."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from module.c_programs import build, write

ROOT = Path(__file__).resolve().parent.parent.parent
STAND_IN = "net resnet50\ninput 3x224x224\nconv 7x7 8 /4 relu\ngap\nfc 1000 softmax\n"


def program(folder: Path, source: str, compiler: str, *flags: str) -> Path:
    text = (ROOT / "examples" / source).read_text()
    (folder / Path(source).name).write_text(text)
    out = folder / "classify"
    command = [
        compiler,
        "-Wall",
        "-Wextra",
        "-Werror",
        *flags,
        Path(source).name,
        "-o",
        out,
        "./resnet50.so",
        "-pthread",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def call(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("examples")
    write(build(STAND_IN), place, "so", "h", name="resnet50")
    return place


def test_c(folder):
    classify = program(folder, "c/classify.c", "cc")
    (folder / "photo.ppm").write_bytes(b"P6 224 224 255\n" + bytes(range(256)) * 588)
    (folder / "bad.ppm").write_bytes(b"P6 10 10 255\n")
    for arguments in ((), ("photo.ppm",)):
        done = call(folder, classify, *arguments)
        assert done.returncode == 0, done.stderr
        assert len(re.findall(r"^ *\d+  [01]\.\d{6}$", done.stdout, re.MULTILINE)) == 5
        assert "best of 10 runs" in done.stdout
    assert call(folder, classify, "bad.ppm").returncode == 2


def test_cpp(tmp_path):
    write(build(STAND_IN), tmp_path, "so", "h", "hpp", "weights", name="resnet50")
    classify = program(tmp_path, "cpp/classify.cpp", "c++", "-std=c++17")
    done = call(tmp_path, classify, "resnet50.weights", 5)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^image \d: class \d+$", done.stdout, re.MULTILINE)) == 5
    assert call(tmp_path, classify).returncode == 2
    missing = call(tmp_path, classify, "none", 1)
    assert (missing.returncode, missing.stderr.startswith("classify_cpp: none: the weights file cannot")) == (1, True)
