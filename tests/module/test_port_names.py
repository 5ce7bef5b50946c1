"""The names of an ONNX model's inputs and outputs, from its file to all that a compiled module shows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from module.c_programs import compile_and_run
from onnx import TensorProto, helper
from web.node import evaluate, needs_linker, needs_node, write

from cnncc import api, cli, lang
from cnncc.frontends.onnx.export import to_onnx
from cnncc.frontends.onnx.network import import_onnx
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.module.names import parameters
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.runtime.load import load
from cnncc.runtime.model import InputError, Model

INPUTS = ("images:0", "im_shape", "x")
"""The first is an output too; the second is read by nobody."""
OUTPUTS = ("logits/0", "logits:0", "10", "images:0", "add")
PICTURE = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4) - 20
ARRAYS = {"images:0": PICTURE, "im_shape": np.ones((1, 2), np.float32), "x": -PICTURE}
WANTED = {
    "logits/0": np.maximum(PICTURE, 0),
    "logits:0": np.maximum(PICTURE, 0),
    "10": np.abs(PICTURE) - PICTURE,
    "images:0": PICTURE,
    "add": np.full((1, 3, 1, 1), 7, np.float32),
}
"""Two are one value, one is an input, one is known."""


def model() -> onnx.ModelProto:
    """A model with such ports."""
    nodes = [
        helper.make_node("Relu", ["images:0"], ["logits:0"]),
        helper.make_node("Identity", ["logits:0"], ["logits/0"]),
        helper.make_node("Abs", ["images:0"], ["logits"]),
        helper.make_node("Add", ["logits", "x"], ["10"]),
        helper.make_node("Identity", ["seven"], ["add"]),
    ]
    shapes = {**{name: (1, 3, 4, 4) for name in (*INPUTS, *OUTPUTS)}, "im_shape": (1, 2), "add": (1, 3, 1, 1)}
    ports = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()}
    seven = helper.make_tensor("seven", TensorProto.FLOAT, (1, 3, 1, 1), [7.0] * 3)
    graph = helper.make_graph(nodes, "ports", [ports[n] for n in INPUTS], [ports[n] for n in OUTPUTS], [seven])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the model, its text and a module."""
    folder = tmp_path_factory.mktemp("ports")
    onnx.save(model(), folder / "ports.onnx")
    assert cli.main(["import", str(folder / "ports.onnx"), "-o", str(folder / "ports.net")]) == 0
    kinds = ["--emit", "so,h,hpp", "-o", str(folder / "ports")]
    assert cli.main(["compile", str(folder / "ports.net"), *kinds]) == 0
    return folder


@pytest.fixture(scope="module")
def module(folder: Path) -> Model:
    return load(folder / "ports.so")


def same(got: dict[str, np.ndarray]) -> bool:
    return list(got) == list(OUTPUTS) and all(np.array_equal(got[name], WANTED[name]) for name in OUTPUTS)


def test_the_text(folder: Path) -> None:
    text = (folder / "ports.net").read_text()
    assert text == (
        'net ports\ninput "images:0" 3x4x4\ninput im_shape 2 unused\ninput x 3x4x4\nfrom "images:0"; relu\n'
        'output as "logits/0"\noutput as "logits:0"\nadd { from "images:0"; abs | from x }\noutput as 10\n'
        'output "images:0" as "images:0"\nconst 3x1x1\noutput as add\n'
    )


def test_info(module: Model) -> None:
    assert [p["name"] for p in module.info["inputs"]] == [p.name for p in module.inputs] == list(INPUTS)
    assert [p["name"] for p in module.info["outputs"]] == [p.name for p in module.outputs] == list(OUTPUTS)


def test_arrays_by_name(module: Model) -> None:
    backwards = dict(reversed(ARRAYS.items()))
    assert same(module(backwards))
    assert same(module.run_many({name: np.concatenate([a, a])[:1] for name, a in backwards.items()}))
    assert same(dict(zip(OUTPUTS, module(*ARRAYS.values()), strict=True)))
    out = {p.name: np.empty(p.shape, np.float32) for p in reversed(module.outputs)}
    assert module(ARRAYS, out=out) is out
    assert same({name: out[name] for name in OUTPUTS})


@pytest.mark.parametrize(
    ("arrays", "out", "message"),
    [
        ({**ARRAYS, "image": PICTURE}, None, "ports has no 'image'\n  hint: it has 'images:0', 'im_shape', 'x'"),
        ({"x": PICTURE}, None, "ports: 'images:0' is missing\n  hint: given by name: 'images:0', 'im_shape', 'x'"),
        (ARRAYS, PICTURE, "ports: out must be a dictionary, as the inputs are"),
        (
            ARRAYS,
            {},
            "ports: 'logits/0' is missing\n  hint: given by name: 'logits/0', 'logits:0', '10', 'images:0', 'add'",
        ),
    ],
)
def test_wrong_names(module: Model, arrays: dict[str, Any], out: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        module(arrays, out=out)
    assert str(caught.value) == message


def test_run_writes_arrays_by_name(folder: Path) -> None:
    files = []
    for i, array in enumerate(ARRAYS.values()):
        np.save(folder / f"{i}.npy", array)
        files.append(str(folder / f"{i}.npy"))
    assert cli.main(["run", str(folder / "ports.so"), *files, "-o", str(folder / "out.npz")]) == 0
    with np.load(folder / "out.npz") as arrays:
        assert same({name: arrays[name] for name in arrays.files})


PARAMETERS = ["images_0", "im_shape", "x", "logits_0", "logits_0_", "output_10", "images_0_", "add"]


def test_c(folder: Path) -> None:
    """Each port is a parameter and a macro of its own; the tables have the names as they are."""
    assert list(parameters(lang.read(folder / "ports.net"))) == PARAMETERS
    declared = (folder / "ports.h").read_text()
    assert all(f"#define PORTS_{name.upper()}_FLOATS " in declared for name in PARAMETERS)
    program = """\
#include "ports.h"
#include <stdio.h>
int main(void) {
    static float a[PORTS_IMAGES_0_FLOATS], b[2], c[PORTS_LOGITS_0_FLOATS], d[PORTS_LOGITS_0__FLOATS];
    static float e[PORTS_OUTPUT_10_FLOATS], f[PORTS_IMAGES_0__FLOATS], g[PORTS_ADD_FLOATS];
    static _Alignas(PORTS_ARENA_ALIGN) char arena[PORTS_ARENA_BYTES + 1];
    a[5] = 3;
    if (ports_run(ports_model_get(), 1, a, b, a, c, d, e, f, g, arena)) return 1;
    const cnncc_port *table;
    for (size_t i = 0, n = ports_outputs(&table); i < n; ++i) printf("%s ", table[i].name);
    printf("%g %g %g %g %g\\n", c[5], d[5], e[5], f[5], g[2]);
    return 0;
}
"""
    assert compile_and_run(folder, program, folder / "ports.so") == "logits/0 logits:0 10 images:0 add 3 3 6 3 7\n"


def test_cpp(folder: Path) -> None:
    program = """\
#include "ports.hpp"
#include <cstdio>
int main() {
    cnncc::ports_network network;
    std::vector<float> images(48, 2), shape(2), x(48), a(48), b(48), c(48), d(48), e(3);
    network(images, shape, x, a, b, c, d, e);
    std::printf("%s %g %g", network.outputs().data()[1].name, c[7], e[0]);
}
"""
    assert compile_and_run(folder, program, folder / "ports.so") == "logits:0 2 7"


@needs_linker
@needs_node
def test_javascript(tmp_path: Path) -> None:
    text = (
        'net t\ninput "images:0" 2x1x1\ninput x 2x1x1\nadd { from "images:0" | }\noutput as "logits:0"\noutput x as x\n'
    )
    script = write(api.build(lang.parse(text), Options(("wasm32",))), tmp_path)
    body = """
const model = await load();
const results = model.run({ x: Float32Array.of(1, 2), "images:0": Float32Array.of(10, 20) });
console.log(JSON.stringify(Object.entries(results).map(([name, values]) => [name, ...values])));
for (const wrong of [{ y: new Float32Array(2) }, { x: new Float32Array(2) }]) {
  try { model.run(wrong); } catch (error) { console.log(`${error.name}: ${error.message}`); }
}
"""
    assert evaluate(script, body).splitlines() == [
        '[["logits:0",11,22],["x",1,2]]',
        'RangeError: t has no input "y", but images:0, x',
        'TypeError: input "images:0" must be a Float32Array',
    ]
    types = script.with_suffix("").with_suffix(".d.ts").read_text()
    named = (
        'run(inputs: { "images:0": Float32Array; "x": Float32Array }): { "logits:0": Float32Array; "x": Float32Array };'
    )
    assert named in types


def test_export_and_import_again(folder: Path, tmp_path: Path) -> None:
    """With the text inside the model, and from the nodes alone."""
    graph = import_onnx(folder / "ports.onnx").graph
    proto = to_onnx(graph)
    onnx.checker.check_model(proto, full_check=True)
    assert [p.name for p in proto.graph.input] == list(INPUTS)
    assert [p.name for p in proto.graph.output] == list(OUTPUTS)
    onnx.save(proto, tmp_path / "again.onnx")
    assert import_onnx(tmp_path / "again.onnx").graph.output_names == OUTPUTS
    proto.ClearField("metadata_props")
    again = from_onnx(proto).graph
    assert again.output_names == OUTPUTS
    values = reference.run(again, list(ARRAYS.values()))
    assert same({name: values[value].astype(np.float32) for name, value in zip(OUTPUTS, again.outputs, strict=True)})


def test_a_value_that_is_called_as_an_output_of_another_is_renamed_in_onnx() -> None:
    graph = lang.parse("net t\ninput x 3x4x4\na: relu\nb: abs\noutput a as b\noutput b as a\n")
    proto = to_onnx(graph)
    onnx.checker.check_model(proto, full_check=True)
    assert [(n.op_type, list(n.input), list(n.output)) for n in proto.graph.node] == [
        ("Relu", ["x"], ["b"]),
        ("Abs", ["b"], ["a"]),
    ]


def test_shapes_go_by_the_names_of_the_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["import", str(folder / "ports.onnx"), "-o", "-", "--shape"]
    assert cli.main([*arguments, "x=1,3,4,4"]) == 0
    assert 'input "images:0" 3x4x4\n' in capsys.readouterr().out
    assert cli.main([*arguments, "value_x=1,3,4,4"]) == 2
    assert "has no input 'value_x'" in (said := capsys.readouterr().err)
    assert "images:0, im_shape, x" in said


@pytest.mark.parametrize("name", ["0", "3", "input.1", "a", "x", "add", "images:0", "from"])
def test_inputs_that_are_called_as_lines_are(name: str, tmp_path: Path) -> None:
    """Numbers are what lines without a label are called: such lines get one."""
    nodes = [
        helper.make_node(op, [source], [result])
        for op, source, result in (
            ("Relu", name, "p"),
            ("GlobalAveragePool", "p", "q"),
            ("Flatten", "q", "r"),
            ("Tanh", "r", "1"),
        )
    ]
    x = helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 4, 4))
    y = helper.make_tensor_value_info("1", TensorProto.FLOAT, (1, 3))
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y])), tmp_path / "m.onnx")
    network = import_onnx(tmp_path / "m.onnx")
    assert [n.name for n in network.graph.inputs] == [name]
    assert network.graph.output_names == ("1",)
    assert "  " not in network.text.replace("\n  ", "\n")


def test_c_names_are_no_words_of_c_or_of_its_headers(tmp_path: Path) -> None:
    """Keywords, reserved names and macros, in C and C++; and what the interface itself is made of."""
    names = [*"NULL null linux unix errno EOF INT_MAX I int new concept co_await typeof _Bool __x complex bool".split()]
    names += "uint8_t int32_t arena ARENA_BYTES run model t_run t_model std file allow_pickle self out".split()
    names += ["9", "-", "画像", "a/b", "a.b"]
    lines = "".join(f'output as "{name}"\n' for name in names)
    (tmp_path / "t.net").write_text(f"net t\ninput 3x2x2\nrelu\n{lines}")
    assert cli.main(["compile", str(tmp_path / "t.net"), "-o", str(tmp_path / "t"), "--emit", "so,h,hpp", "-q"]) == 0
    headers = "".join(f"#include <{name}.h>\n" for name in ("errno", "limits", "math", "stdio", "stdlib", "complex"))
    body = 'int main(void) { printf("%d", (int)T_INPUT_FLOATS); return 0; }\n'
    for std in ("c11", "gnu17"):
        program = f'{headers}#include "t.h"\n{body}'
        assert compile_and_run(tmp_path, program, flags=(f"-std={std}",)) == "12"
    for std in ("c++17", "gnu++20"):
        program = f'#include <climits>\n#include <cerrno>\n#include <cstdio>\n#include "t.hpp"\n{body}'
        assert compile_and_run(tmp_path, program, tmp_path / "t.so", flags=(f"-std={std}",)) == "12"
    np.save(tmp_path / "x.npy", -PICTURE[:, :, :2, :2])
    assert cli.main(["run", str(tmp_path / "t.so"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "o.npz"), "-q"]) == 0
    with np.load(tmp_path / "o.npz") as arrays:
        assert arrays.files == names
        assert all(np.array_equal(arrays[name], np.maximum(-PICTURE[:, :, :2, :2], 0)) for name in names)


def test_an_output_is_called_as_the_text_calls_its_value(tmp_path: Path) -> None:
    """A label, a saved name and an input; `output` alone has no name in C."""
    text = "net t\ninput image 3x2x2\nfirst: relu relu\nsave second\ntanh\noutput first; output second as third\n"
    (tmp_path / "t.net").write_text(text + "output image; output\n")
    assert cli.main(["compile", str(tmp_path / "t.net"), "-o", str(tmp_path / "t.so"), "-q"]) == 0
    assert [port.name for port in load(tmp_path / "t.so").outputs] == ["first", "third", "image", "1"]
    declared = (tmp_path / "t.h").read_text()
    for name in ("IMAGE", "FIRST", "THIRD", "IMAGE_", "OUTPUT3"):
        assert f"#define T_{name}_FLOATS 12" in declared
    flat = lang.parse(lang.print_net(lang.read(tmp_path / "t.net")))
    assert flat.output_names == ("first", "third", "image", "1")
    assert flat.ports == ("first", "third", "image", "")


def test_a_terminal_gets_no_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a model calls its inputs and outputs; in JSON they are as they are."""
    monkeypatch.chdir(tmp_path)
    names = ["a\nb", "\x1b[31mred", "tab\t", "*/ x", "a\\"]
    nodes = [helper.make_node("Relu", ["in\nput"], [name]) for name in names]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 4, 4)) for name in ("in\nput", *names)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:])), "m.onnx")
    np.save("x.npy", PICTURE)
    for command in (
        ["import", "m.onnx"],
        ["compile", "m.net", "--emit", "so,h,hpp"],
        ["info", "m.so"],
        ["run", "m.so", "x.npy"],
        ["run", "m.so", "x.npy", "-o", "o.npz"],
    ):
        assert cli.main(command) == 0
        told = capsys.readouterr().out
        assert all(character.isprintable() or character == "\n" for character in told)
        assert command[0] == "compile" or '"\\u001b[31mred' in told
    assert load("m.so").outputs[1].name == names[1]
    with np.load("o.npz") as arrays:
        assert arrays.files == names
    assert compile_and_run(tmp_path, '#include "m.h"\nint main(void) { return 0; }\n') == ""
    assert compile_and_run(tmp_path, '#include "m.hpp"\nint main() { return 0; }\n', tmp_path / "m.so") == ""
