"""Two modules in one program, made from files whose graphs have one name, as those of most exporters do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from module.c_programs import compile_and_run
from onnx import TensorProto, helper, numpy_helper, save

from cnncc import cli
from cnncc.frontends.network_name import is_generic, network_name
from cnncc.module.guards import NAMED_TWICE, guarded

PROGRAM = """\
#include "one.h"
#include "two.h"
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    float in[12], a[@ONE@_OUTPUT_FLOATS], b[@TWO@_OUTPUT_FLOATS];
    for (int i = 0; i < 12; ++i) in[i] = (float)i - 5;
    void *arena = aligned_alloc(64, (@ONE@_ARENA_BYTES + @TWO@_ARENA_BYTES + 64) / 64 * 64);
    if (@one@_run(@one@_model_get(), 1, in, a, arena) || @two@_run(@two@_model_get(), 1, in, b, arena)) return 1;
    printf("%zu %g %g %zu %g %g\\n", sizeof a, a[0], a[11], sizeof b, b[0], b[3]);
    return 0;
}
"""


def model(factor: float, channels: int) -> object:
    """A graph `main_graph` of a 1x1 convolution that multiplies by a factor and, if it has one channel, adds 40."""
    array = np.zeros((channels, 3, 1, 1), np.float32)
    for c in range(channels):
        array[c, c] = factor
    weight = numpy_helper.from_array(array, "w")
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 2, 2))
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, channels, 2, 2))
    bias = numpy_helper.from_array(np.full(channels, 0 if channels == 3 else 40, np.float32), "b")
    node = helper.make_node("Conv", ["input", "w", "b"], ["output"])
    return helper.make_model(helper.make_graph([node], "main_graph", [x], [y], [weight, bias]))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    save(model(2.0, 3), str(tmp_path / "one.onnx"))
    save(model(13.5, 1), str(tmp_path / "two.onnx"))
    return tmp_path


def expected() -> str:
    x = np.arange(12, dtype=np.float32) - 5
    one, two = 2 * x, 13.5 * x[:4] + 40
    return f"48 {one[0]:g} {one[11]:g} 16 {two[0]:g} {two[3]:g}\n"


def compiled(folder: Path, file: str, *options: str) -> None:
    assert cli.main(["compile", str(folder / f"{file}.onnx"), "-o", str(folder / file), *options]) == 0


def program(one: str, two: str) -> str:
    source = PROGRAM
    for key, name in (("one", one), ("two", two)):
        source = source.replace(f"@{key}@", name).replace(f"@{key.upper()}@", name.upper())
    return source


@pytest.mark.parametrize("kind", ["so", "a", "o"])
def test_each_is_named_after_its_file(files: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("one", "two"):
        compiled(files, file, "--emit", f"{kind},h")
    libraries = [f"./one.{kind}", f"./two.{kind}"]
    assert compile_and_run(files, program("one", "two"), *libraries) == expected()


def test_names_from_the_command_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(files, "one", "--emit", "so,h", "--name", "Detector")
    compiled(files, "two", "--emit", "so,h", "--name", "classifier")
    assert compile_and_run(files, program("Detector", "classifier"), "./one.so", "./two.so") == expected()
    assert cli.main(["check", str(files / "one.so")]) == 0


@pytest.mark.parametrize("name", ["same", "SAME"])
def test_one_name_is_refused_by_the_c_compiler(files: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where they differ in capitals alone: macros are in capitals."""
    compiled(files, "one", "--emit", "so,h", "--name", "same")
    compiled(files, "two", "--emit", "so,h", "--name", name)
    with pytest.raises(AssertionError, match="named alike"):
        compile_and_run(files, program("same", name), "./one.so", "./two.so")


def test_a_header_may_be_included_twice(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(files, "one", "--emit", "so,h")
    compile_and_run(files, '#include "one.h"\n#include "one.h"\nint main(void) { return 0; }\n', "./one.so")


def test_guards_differ_where_texts_do() -> None:
    a, b = (guarded(f"// a net\n#define X {i}\n", "net", "H") for i in range(2))
    assert a.splitlines()[1] != b.splitlines()[1]
    assert NAMED_TWICE in a
    assert NAMED_TWICE not in guarded("// a net\n", "net", "HPP", claims=False)


def test_import_names_the_text(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, name in (([], "one"), (["--name", "detector"], "detector")):
        assert cli.main(["import", str(files / "one.onnx"), "-o", str(files / "text.net"), *options]) == 0
        assert (files / "text.net").read_text().startswith(f"net {name}\n")


def test_what_export_wrote_is_renamed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "lenet5", "-o", str(tmp_path / "a.onnx")]) == 0
    assert cli.main(["import", str(tmp_path / "a.onnx"), "-o", str(tmp_path / "a.net"), "--name", "digits"]) == 0
    assert cli.main(["summary", str(tmp_path / "a.net"), "--json"]) == 0
    assert '"name": "digits"' in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a b", "1st", "", "größe", "a-b"])
def test_a_name_has_to_be_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["compile", "lenet5", "--name", name])
    assert stop.value.code == 2
    assert f"expected letters, digits and _, not beginning with a digit, got {name!r}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["main_graph", "torch-jit-export", "torch_jit", "tf2onnx", "Model1", "12", ""])
def test_names_of_exporters_say_nothing(name: str) -> None:
    assert is_generic(name)
    assert network_name(name, "some/yolo.v5.onnx") == "yolo.v5"


@pytest.mark.parametrize("name", ["resnet50", "unet", "lenet", "ssd_mobilenet", "pointnet2", "mnist-8", "CNTKnet_of_x"])
def test_names_of_networks_stay(name: str) -> None:
    assert network_name(name, "model.onnx") == name
