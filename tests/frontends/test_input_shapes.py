"""Networks for images of another size than their files say, and under another name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cnncc
from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.cli import main
from cnncc.frontends import sources
from cnncc.frontends.input_shapes import parse_shape, parse_shapes, sizes_by_name
from cnncc.ops import reference
from cnncc.passes import with_batch

NET = "net t\ninput image 3x8x8 mean (1, 2, 3)\nconv1: conv 3x3 4 relu\ngap\nfc: fc 2\n"
GREY = NET.replace(" mean (1, 2, 3)", "")
TWO = "net two\ninput a 3x8x8\ninput b 3x8x8\nadd { from a | from b }\nconv 1x1 4\n"


def test_texts() -> None:
    assert parse_shape("3x320x320") == ("", (3, 320, 320))
    assert parse_shape("images:0=1,3,20,30") == ("images:0", (1, 3, 20, 30))
    assert parse_shape("a=b=7") == ("a=b", (7,))
    for wrong in ("", "x", "3x", "3x-1x2", "x:1,3", "3x8x8,3x9x9", "a=3x٣x2"):
        with pytest.raises(CnnccError, match="expected a shape such as 3x320x320 or image=3x320x320") as caught:
            parse_shape(wrong)
        assert caught.value.message.endswith(f", got {wrong!r}")


def test_what_python_may_give() -> None:
    assert sizes_by_name(None) == ({},)
    assert sizes_by_name("a=3x4x5") == ({"a": (3, 4, 5)},)
    assert sizes_by_name([3, np.int64(4), 5]) == ({"": (3, 4, 5)},)
    assert sizes_by_name({"a": (3,), "b": [4, 5]}) == ({"a": (3,), "b": (4, 5)},)
    assert sizes_by_name({"a": "3x4"}) == ({"a": (3, 4)},)
    for wrong in (3, (3, 4.0), (3, "4"), (True, 3, 3), {"a": 3}, (), [[]], {"a": []}):
        with pytest.raises(CnnccError, match="a shape is whole numbers or ranges of them, got"):
            sizes_by_name(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("shapes", [{"": (3, 12, 10)}, {"image": (3, 12, 10)}, {"image": (1, 3, 12, 10)}])
def test_all_shapes_follow_the_input(shapes: dict[str, tuple[int, ...]]) -> None:
    graph = lang.parse(NET, shapes=shapes)
    assert [n.type.shape[1:] for n in graph.nodes] == [(3, 12, 10), (4, 12, 10), (4, 12, 10), (4, 1, 1), (2,)]
    assert graph["image"].attrs["mean"] == (1.0, 2.0, 3.0)
    assert graph == lang.parse(NET.replace("3x8x8", "3x12x10"))


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        (NET, {"x": (3, 8, 8)}, "t has no input 'x'"),
        (NET, {"": (3, 0, 8)}, "input 'image': sizes must be at least 1, got 3x0x8"),
        (NET, {"": ()}, "input 'image': sizes must be at least 1, got "),
        (NET, {"": (2, 3, 8, 8)}, "input 'image': 2x3x8x8 is the shape of 2 images"),
        (TWO, {"": (3, 9, 9)}, "a shape without a name is for networks of one input, two has 2: a, b"),
    ],
)
def test_what_is_no_shape_of_an_input(text: str, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(CnnccError) as caught:
        lang.parse(text, shapes=shapes)
    assert caught.value.message == message
    assert caught.value.hint or "at least" in message


@pytest.mark.parametrize(
    ("text", "shapes", "line", "message"),
    [
        (
            NET.replace("gap", "flatten"),
            {"": (3, 9, 8)},
            5,
            "fc: with input 3x9x8 its weight would be 2x288, and it is 2x256",
        ),
        (
            NET.replace("mean (1, 2, 3)", ""),
            {"": (1, 8, 8)},
            3,
            "conv: with input 1x8x8 its weight would be 4x1x3x3, and it is 4x3x3x3",
        ),
        (NET, {"": (3,)}, 3, "conv: needs an image (channels x height x width), got a vector of 3"),
        (NET.replace("gap", "avgpool 8x8"), {"": (3, 4, 8)}, 4, "avgpool: window 8 does not fit height 4"),
        (NET.replace("gap", "reshape 256"), {"": (3, 9, 8)}, 4, "reshape: "),
        (TWO, {"a": (3, 9, 9)}, 4, "add: arms differ: 3x9x9 and 3x8x8"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(
    text: str, shapes: dict[str, tuple[int, ...]], line: int, message: str
) -> None:
    with pytest.raises(CnnccError) as caught:
        lang.parse(text, "t.net", shapes)
    assert caught.value.message.startswith(message)
    assert caught.value.span is not None
    assert (caught.value.span.file, caught.value.span.line) == ("t.net", line)


def model(path: Path, shape: tuple[Any, ...], channels_last: bool = False) -> Path:
    ports = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
    first = [helper.make_node("Transpose", ["image"], ["t"], perm=[0, 3, 1, 2])] if channels_last else []
    nodes = [
        *first,
        helper.make_node("Conv", ["t" if channels_last else "image", "w"], ["c"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ports, [result], [weight])), path)
    return path


@pytest.mark.parametrize("given", [(3, 12, 10), {"image": (3, 12, 10)}, {"image": (1, 3, 12, 10)}, "image=3x12x10"])
@pytest.mark.parametrize("declared", [(1, 3, 8, 8), ("n", 3, "h", "w"), ("n", "c", "h", "w")])
def test_models(given: Any, declared: tuple[Any, ...], tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", declared)
    assert sources.read(path, *sizes_by_name(given)).inputs[0].type.shape == (1, 3, 12, 10)


@pytest.mark.filterwarnings("ignore:input image is channels first")
def test_models_with_channels_last(tmp_path: Path) -> None:
    """As the text has it, or as the model declares it, with all axes."""
    path = model(tmp_path / "m.onnx", ("n", "h", "w", 3), channels_last=True)
    for given in ("3x12x10", "1,12,10,3"):
        assert sources.read(path, *sizes_by_name(given)).inputs[0].type.shape == (1, 3, 12, 10)


def test_several_inputs_of_a_model(tmp_path: Path) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, "h", "w")) for name in "ab"]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "g", ports, [result])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    with pytest.raises(CnnccError, match="for networks of one input, this one has 2: a, b") as caught:
        sources.read(tmp_path / "m.onnx", {"": (3, 8, 8)})
    assert caught.value.hint == "say which: --shape a=..."
    with pytest.raises(CnnccError, match="the model has no input 'c'"):
        sources.read(tmp_path / "m.onnx", {"c": (3, 8, 8)})
    made = sources.read(tmp_path / "m.onnx", {"a": (3, 8, 8), "b": (3, 8, 8)})
    assert [n.type.shape for n in made.nodes] == [(1, 3, 8, 8)] * 3


def test_python(tmp_path: Path) -> None:
    net = tmp_path / "t.net"
    net.write_text(NET)
    made = cnncc.compile(net, seed=3, shape=(3, 12, 10), name="other")
    assert (made.name, made.inputs[0].shape[1:]) == ("other", (3, 12, 10))
    image = np.random.default_rng(1).standard_normal((1, 3, 12, 10)).astype(np.float32)
    (wanted,) = reference.run(weights.bind(lang.parse(NET, shapes={"": (3, 12, 10)}), seed=3), [image]).values()
    np.testing.assert_allclose(made(image), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(CnnccError, match="a name is letters, digits and _, not beginning with a digit, got '3d'"):
        cnncc.compile(net, seed=3, name="3d")
    with pytest.raises(CnnccError, match="not beginning with a digit, got ''"):
        cnncc.compile(model(tmp_path / "m.onnx", (1, 3, 8, 8)), name="")
    assert cnncc.compile(tmp_path / "m.onnx", shape="3x9x9", name="other").name == "other"
    assert api.Options() == api.DEFAULT


def test_several_sizes() -> None:
    assert parse_shapes("3x4x5") == ("", ((3, 4, 5),))
    assert parse_shapes("images:0=3x4x5,3x6x7") == ("images:0", ((3, 4, 5), (3, 6, 7)))
    assert parse_shapes("x=1,3,20,30") == ("x", ((1, 3, 20, 30),)), "commas without any x are one shape"
    for wrong in ("3x4x5,", "3x4x5,,3x4x5", "3x4x5,a"):
        with pytest.raises(CnnccError, match="expected a shape such as"):
            parse_shapes(wrong)
    assert sizes_by_name(None) == ({},)
    assert sizes_by_name("3x4x5,3x6x7") == ({"": (3, 4, 5)}, {"": (3, 6, 7)})
    assert sizes_by_name([(3, 4, 5), [3, 6, 7]]) == ({"": (3, 4, 5)}, {"": (3, 6, 7)})
    assert sizes_by_name((3, 4, 5)) == ({"": (3, 4, 5)},)
    assert sizes_by_name({"a": "3x4x5,3x6x7", "b": (7,)}) == ({"a": (3, 4, 5), "b": (7,)}, {"a": (3, 6, 7), "b": (7,)})
    with pytest.raises(CnnccError, match="inputs with different numbers of shapes: a 2, b 3"):
        sizes_by_name({"a": "3x4x5,3x6x7", "b": "1x2x3,1x2x4,1x2x5"})


def test_a_model_for_several_sizes(tmp_path: Path) -> None:
    """Of a text and of an ONNX model whose sizes are open, whose batch norms are drawn or in the file."""
    net = tmp_path / "t.net"
    net.write_text(NET)
    dims = ((3, 12, 10), (3, 9, 14))
    for source, seed in ((net, 3), (model(tmp_path / "m.onnx", ("n", 3, "h", "w")), None)):
        made = cnncc.compile(source, seed=seed, shape=dims)
        assert [size.inputs[0].shape[1:] for size in made.sizes] == [*dims]
        for shape in dims:
            image = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
            graph = sources.read_source(source, None, seed or 0, {"": dims[0]}).graph
            if shape != dims[0]:
                other = sources.read(source, {"": shape})
                graph = replace(other, constants=graph.constants)
            (wanted,) = reference.run(with_batch(graph, 2), [image]).values()
            np.testing.assert_allclose(made(image), wanted, rtol=1e-4, atol=1e-5)
    assert cnncc.load(made.save(tmp_path / "m.so")["so"])(image).tobytes() == made(image).tobytes()


# The command line


COMMANDS = [
    ["compile", "-o", "t.so"], ["run", "x.npy"], ["check"], ["profile", "--runs", "1"], ["summary"], ["memory"],
    ["expand"], ["quantize", "--calibrate", "x.npy", "--no-gains", "-o", "q.safetensors"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_commands(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.net").write_text(NET)
    np.save("x.npy", np.ones((1, 3, 12, 10), np.float32))
    head, *rest = command
    assert main([head, "t.net", *rest, "--shape", "image=3x12x10", "--name", "other", "--json"]) == 0
    told = capsys.readouterr().out
    assert head in ("run", "quantize") or "other" in told
    assert main([head, "t.net", *rest, "--shape", "12x10"]) == 2
    assert "t.net:2:1: input: dims 12x10: an image is channels x height x width" in capsys.readouterr().err
    assert main([head, "t.net", *rest, "--shape", "3x12x10", "--shape", "3x8x8"]) == 2
    assert "--shape: two shapes for one input" in capsys.readouterr().err


def test_modules_are_checked_in_their_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.net").write_text(NET)
    assert main(["compile", "t.net", "-o", "m.so", "--shape", "3x12x10", "--name", "other"]) == 0
    assert "#define OTHER_" in Path("m.h").read_text()
    assert main(["check", "m.so"]) == 0
    assert "other: all 1 compared layers" in capsys.readouterr().out
    for option, value in (("--shape", "3x8x8"), ("--name", "t")):
        assert main(["check", "m.so", option, value]) == 2
        assert f"m.so is a compiled module and takes no {option}" in capsys.readouterr().err


def test_several_sizes_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.net").write_text(NET)
    assert main(["compile", "t.net", "-o", "m.so", "--shape", "3x12x10,3x8x8", "--batch", "2"]) == 0
    assert "size: image 3x12x10\nsize: image 3x8x8\n" in capsys.readouterr().out
    assert main(["info", "m.so"]) == 0
    told = capsys.readouterr().out
    assert "size         image 1..2x3x8x8 -> fc 1..2x2; arena " in told
    assert "for 2 images" in told
    assert main(["check", "m.so"]) == 0
    told = capsys.readouterr().out
    assert told.count("all 1 compared layers") == 2
    assert "size 1..2x3x12x10\n" in told
    assert main(["check", "m.so", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["passed"], *(size["shapes"] for size in found["sizes"])] == [True, "1..2x3x12x10", "1..2x3x8x8"]
    assert main(["check", "m.so", "--shape", "3x8x8"]) == 0
    assert capsys.readouterr().out.count("all 1 compared layers") == 1
    np.save("x.npy", np.ones((3, 8, 8), np.float32))
    assert main(["run", "m.so", "x.npy"]) == 2
    told = capsys.readouterr().err
    assert "x.npy: the array is 3x8x8, the input is 3x12x10" in told
    assert "--shape compiles a network for other sizes, and names one of a module" in told
    assert main(["run", "m.so", "x.npy", "--shape", "image=3x8x8"]) == 0
    assert main(["run", "m.so", "x.npy", "--shape", "3x8x9"]) == 2
    assert "m.so has no such size\n  hint: it has 3x12x10; 3x8x8" in capsys.readouterr().err
    assert main(["compile", "t.net", "-o", "n.so", "--shape", "3x12x10,12x10"]) == 2
    assert "channels x height x width" in (told := capsys.readouterr().err)
    assert "(at --shape 12x10)" in " ".join(told.split())
    assert main(["compile", "t.net", "-o", "n.so", "--shape", "3x12x10,3x8x8", "--dtype", "int8"]) == 2
    assert "--dtype int8 without scales takes one size" in capsys.readouterr().err
    assert main(["summary", "t.net", "--shape", "3x12x10,3x8x8"]) == 2
    assert "--shape: 2 sizes, and this command takes one" in capsys.readouterr().err


def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "lenet5", "mnist_cnn", "--name", "x", "--vs", "onnxruntime"]) == 2
    assert "--name is the name of one network, and 2 are named" in capsys.readouterr().err
    brief = ["--vs", "onnxruntime", "--rounds", "1", "--seconds", "0.05", "--threads", "1", "--json"]
    assert main(["bench", "cifar_resnet8", "--shape", "3x40x48", *brief]) == 0
