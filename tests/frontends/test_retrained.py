"""New weights for a text from a new export of the same model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import cnncc
from cnncc import lang, weights
from cnncc.base.errors import CnnccError
from cnncc.cli import main
from cnncc.frontends import sources
from cnncc.ops import reference


class Model:
    """An ONNX model that grows, node by node; `learned` gives its tensors their values."""

    def __init__(self, learned: Callable[..., np.ndarray], prefix: str = "") -> None:
        self.learned, self.prefix = learned, prefix
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, np.ndarray] = {}

    def tensor(self, name: str, *shape: int) -> str:
        self.tensors[self.prefix + name] = self.learned(*shape)
        return self.prefix + name

    def add(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=self.prefix + name, **attributes))
        return name

    def conv(self, x: str, name: str, channels: int, out: int, kernel: int = 3, bias: bool = True) -> str:
        taken = [x, self.tensor(f"{name}.weight", out, channels, kernel, kernel)]
        taken += [self.tensor(f"{name}.bias", out)] if bias else []
        return self.add("Conv", taken, name, pads=[kernel // 2] * 4)

    def norm(self, x: str, name: str, channels: int) -> str:
        slots = [self.tensor(f"{name}.{slot}", channels) for slot in ("weight", "bias", "mean", "var")]
        return self.add("BatchNormalization", [x, *slots], name)

    def save(self, path: Path, outputs: list[str], shape: tuple[object, ...] = (1, 3, 8, 8)) -> Path:
        ports = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        tensors = [numpy_helper.from_array(array, name) for name, array in self.tensors.items()]
        graph = helper.make_graph(self.nodes, "retrained", ports, results, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, path)
        return path


def random(seed: int) -> Callable[..., np.ndarray]:
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.uniform(0.1, 1, shape).astype(np.float32)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def network(m: Model, swapped: bool = False) -> str:
    """Every way to write a bias, two arms of one form, and a layer of one output."""
    x = m.add("Relu", [m.conv("image", "a", 3, 4)], "a_relu")
    arms = [m.conv(x, "b", 4, 4, bias=False), x]
    x = m.add("Add", arms[::-1] if swapped else arms, "sum")
    x = m.norm(x, "n", 4)
    x = m.add("Concat", [m.conv(x, "c", 4, 4), m.conv(x, "d", 4, 4)], "both", axis=1)
    one = m.conv(x, "one", 8, 1, bias=False)
    m.add("Add", [one, m.tensor("one.bias", 1, 1, 1)], "map")
    x = m.add("Flatten", [m.add("GlobalAveragePool", [x], "pooled")], "flat")
    x = m.add("MatMul", [x, m.tensor("f.weight", 8, 6)], "f")
    x = m.add("Relu", [m.add("Add", [x, m.tensor("f.bias", 6)], "f_sum")], "f_relu")
    return m.add("Gemm", [x, m.tensor("g.weight", 5, 6), m.tensor("g.bias", 5)], "y", transB=1)


def same_as(model: Path, net: Path, tensors: Path) -> None:
    """The text with these weights gives what ONNX Runtime computes of the model."""
    graph = weights.bind(lang.read(net), tensors)
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(str(model)).run(None, {"image": image})
    values = reference.run(graph, [image])
    for value, array in zip(graph.outputs, wanted, strict=True):
        np.testing.assert_allclose(values[value].reshape(array.shape), array, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [zeros, random(2)], ids=["zero biases", "random"])
def test_new_values_of_the_same_model(first: Callable[..., np.ndarray], tmp_path: Path) -> None:
    """Also where weights were zero when the text was written, with other names, and arms in another order."""
    old, new = Model(first), Model(random(7), "onnx::")
    network(old)
    network(new, swapped=True)
    source = old.save(tmp_path / "old.onnx", ["y", "map"])
    model = new.save(tmp_path / "new.onnx", ["y", "map"])
    net, out = tmp_path / "t.net", tmp_path / "t.safetensors"
    assert main(["import", str(source), "-o", str(net), "-q"]) == 0
    assert main(["weights", str(net), "--from", str(model), "-o", str(out)]) == 0
    same_as(model, net, out)
    for path, call in ((model, cnncc.compile(net, weights=model)), (source, cnncc.compile(source))):
        image = np.ones((1, 3, 8, 8), np.float32)
        wanted = onnxruntime.InferenceSession(str(path)).run(None, {"image": image})
        for got, array in zip(call(image), wanted, strict=True):
            np.testing.assert_allclose(np.asarray(got).reshape(array.shape), array, rtol=1e-4, atol=1e-4)


def test_norms_that_the_text_has_inside_layers(tmp_path: Path) -> None:
    """The text is of an export with folded norms; the new one has them. Not the other way: the text's would be lost."""
    folded, whole = Model(random(2)), Model(random(3))
    folded.add("Relu", [folded.conv("image", "c", 3, 4)], "y")
    whole.add("Relu", [whole.norm(whole.conv("image", "c", 3, 4, bias=False), "n", 4)], "y")
    old, new = folded.save(tmp_path / "old.onnx", ["y"]), whole.save(tmp_path / "new.onnx", ["y"])
    net, out = tmp_path / "t.net", tmp_path / "w.safetensors"
    assert main(["import", str(old), "-o", str(net), "-q"]) == 0
    assert main(["weights", str(net), "--from", str(new), "-o", str(out)]) == 0
    same_as(new, net, out)
    with pytest.raises(CnnccError, match=r"where the text has 0\.bn \(bn\), the model has 0\.relu \(relu\)") as caught:
        sources.bind_model(sources.read(new), old)
    assert "export it without folding them" in caught.value.hint


def test_open_sizes_are_those_of_the_text(tmp_path: Path) -> None:
    """An input without a size, one of another size, and one with the channels last."""
    small = Model(random(2))
    small.conv("image", "y", 3, 4)
    net = tmp_path / "t.net"
    net.write_text("net t\ninput image 3x12x10\nconv 3x3 4\noutput as y\n")
    last = Model(random(3))
    last.conv(last.add("Transpose", ["image"], "first", perm=[0, 3, 1, 2]), "y", 3, 4)
    for model, shape in ((small, ("n", 3, "h", "w")), (small, (1, 3, 8, 8)), (last, (1, "h", "w", 3))):
        path = model.save(tmp_path / "m.onnx", ["y"], shape)
        bound = sources.bind_model(lang.read(net), path)
        (weight,) = (bound.constants[n.weights["weight"]].compute() for n in bound.nodes if n.weights)
        np.testing.assert_array_equal(weight, model.tensors["y.weight"])


def difference(text: str, build: Callable[[Model], object], path: Path, outputs: list[str]) -> CnnccError:
    model = Model(random(1))
    build(model)
    with pytest.raises(CnnccError, match="of another network than t") as caught:
        sources.bind_model(lang.parse(text), model.save(path / "m.onnx", outputs))
    assert caught.value.hint.startswith("`cnncc import ")
    return caught.value


HEAD = "net t\ninput image 3x8x8\n"


@pytest.mark.parametrize(
    ("text", "outputs", "message"),
    [
        (f"{HEAD}a: conv 3x3 8\noutput as y\n", ["y"], "text has a (conv 3x3 8), the model has 0 (conv 3x3 4)"),
        (f"{HEAD}a: conv 3x3 4\nrelu\noutput as y\n", ["y"], "text has 1 (relu), the model has nothing more"),
        (
            f"{HEAD}a: conv 3x3 4\noutput as y\noutput input as z\n".replace("input as", "image as"),
            ["y"],
            "outputs are y, those of the text y, z",
        ),
    ],
)
def test_what_differs_is_told(text: str, outputs: list[str], message: str, tmp_path: Path) -> None:
    found = difference(text, lambda m: m.conv("image", "y", 3, 4), tmp_path, outputs)
    assert message in found.message
    if "text has" in message:
        assert found.span is not None


def test_other_numbers_in_the_text(tmp_path: Path) -> None:
    text = f"{HEAD}conv 3x3 4\nleaky_relu 0.2\noutput as y\n"
    found = difference(
        text, lambda m: m.add("LeakyRelu", [m.conv("image", "c", 3, 4)], "y", alpha=0.1), tmp_path, ["y"]
    )
    assert (
        "where the text has 1 (leaky_relu slope 0.2), the model has 0.leaky_relu (leaky_relu slope 0.1)"
        in found.message
    )


def test_one_layer_for_two(tmp_path: Path) -> None:
    """Two layers with weights of their own do not fit one that is used twice."""
    text = f"{HEAD}a: conv 3x3 4\nadd {{ relu | sigmoid }}\noutput as y\n"

    def build(m: Model) -> None:
        m.add(
            "Add",
            [m.add("Relu", [m.conv("image", "c", 3, 4)], "r"), m.add("Sigmoid", [m.conv("image", "d", 3, 4)], "s")],
            "y",
        )

    assert "where the text has a (conv 3x3 4), the model has" in difference(text, build, tmp_path, ["y"]).message


def test_biases_that_one_side_leaves_out(tmp_path: Path) -> None:
    """PyTorch's exporter leaves out a bias of zeros. One that is there later has no place in the text."""
    bare, zero, full = Model(random(1)), Model(random(5)), Model(random(3))
    bare.conv("image", "y", 3, 4, bias=False)
    full.conv("image", "y", 3, 4)
    zero.conv("image", "y", 3, 4)
    zero.tensors["y.bias"] = zeros(4)
    paths = [m.save(tmp_path / f"{i}.onnx", ["y"]) for i, m in enumerate((bare, zero, full))]
    with_bias, without = f"{HEAD}conv 3x3 4\noutput as y\n", f"{HEAD}conv 3x3 4 nobias\noutput as y\n"
    for text, path, bias in ((with_bias, paths[0], True), (without, paths[1], False)):
        bound = sources.bind_model(lang.parse(text), path)
        assert [bound.constants[name].compute().any() for name in bound.constants] == [True, *[False] * bias]
    with pytest.raises(CnnccError, match=r"0 has no bias, and in .*2\.onnx it has one") as caught:
        sources.bind_model(lang.parse(without), paths[2])
    assert caught.value.hint == "leave `nobias` out, or import the model anew"
    assert caught.value.span is not None


@pytest.mark.parametrize(("raw", "fits"), [(True, True), (False, False)], ids=["plain pixels", "normalised"])
def test_what_the_text_does_to_pictures(raw: bool, fits: bool, tmp_path: Path) -> None:
    """A text may normalise what the model takes as it is; if the model does it itself, both do the same."""
    m = Model(lambda *shape: np.full(shape, 0.5, np.float32))
    m.conv("image" if raw else m.add("Sub", ["image", m.tensor("mean", 1, 3, 1, 1)], "centred"), "y", 3, 4)
    path = m.save(tmp_path / "m.onnx", ["y"])
    text = "net t\ninput image 3x8x8 mean {} resize 9 crop 0.9\nconv 3x3 4\noutput as y\n"
    graph = lang.parse(text.format("(1, 2, 3)"))
    assert raw or sources.bind_model(lang.parse(text.format("(0.5)")), path)
    if fits:
        assert sources.bind_model(graph, path).constants["0.bias"].compute().tolist() == [0.5] * 4
        return
    with pytest.raises(CnnccError, match=r"mean \(1\.0, 2\.0, 3\.0\)\), the model has .* mean \(0\.5\)\)"):
        sources.bind_model(graph, path)


def test_inputs_and_outputs_go_by_their_names(tmp_path: Path) -> None:
    """Two branches of one form, in another order: names tell them apart."""
    lines = "input {0} 3x8x8\ninput {1} 3x8x8\nfrom a; conv 3x3 4\noutput as p\nfrom b; conv 3x3 4\noutput as q\n"
    text = "net t\n" + lines.format("b", "a")
    m = Model(random(4))
    m.conv("a", "p", 3, 4)
    m.conv("b", "q", 3, 4)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 8, 8)) for name in "ab"]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "qp"]
    tensors = [numpy_helper.from_array(array, name) for name, array in m.tensors.items()]
    onnx.save(helper.make_model(helper.make_graph(m.nodes, "g", ports, results, tensors)), tmp_path / "m.onnx")
    bound = sources.bind_model(lang.parse(text), tmp_path / "m.onnx")
    for value, name in zip(bound.outputs, bound.output_names, strict=True):
        constant = bound.constants[bound[value].weights["weight"]]
        np.testing.assert_array_equal(constant.compute(), m.tensors[f"{name}.weight"])


def test_options_of_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Model(random(1))
    model.conv("image", "y", 3, 4)
    path, net = model.save(tmp_path / "m.onnx", ["y"]), tmp_path / "t.net"
    net.write_text(f"{HEAD}conv 3x3 4\n")
    for option, value in (("--map", "order"), ("--eps", "1e-3")):
        assert main(["weights", str(net), "--from", str(path), option, value]) == 2
        assert f"{option} is for checkpoints" in capsys.readouterr().err
