"""Binding weights from files and from a seed, and saving them."""

import json
import math
import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.ops import reference
from cnncc.ops.conv import transpose_products
from cnncc.weights import files
from cnncc.weights.initial import second_moments

TEXT = """
net tiny
input 3x8x8
first: conv 3x3 16 bn relu
block: add { conv 3x3 16 bn | }; relu
last: fc 10 softmax
"""


@pytest.fixture
def graph() -> Graph:
    return lang.parse(TEXT)


@pytest.fixture
def arrays(graph) -> dict[str, np.ndarray]:
    return {name: c.value for name, c in weights.bind(graph).constants.items()}


@pytest.fixture
def file(tmp_path, arrays):
    """Writes the tiny net's tensors with some changed; None leaves one out."""

    def write(**changes: np.ndarray | None) -> Path:
        dotted = {name.replace("__", "."): value for name, value in changes.items()}
        save_file({n: a for n, a in {**arrays, **dotted}.items() if a is not None}, tmp_path / "w.safetensors")
        return tmp_path / "w.safetensors"

    return write


def values(graph: Graph) -> dict[str, np.ndarray]:
    return {name: c.value for name, c in graph.constants.items()}


def only(graph: Graph, ending: str) -> np.ndarray:
    (name,) = [n for n in graph.constants if n.endswith(ending)]
    return graph.constants[name].value


# Files


def test_saved_weights_come_back(graph, tmp_path):
    bound = weights.bind(graph, seed=3)
    weights.save(bound, tmp_path / "w.safetensors", seed=3)
    again = weights.bind(graph, tmp_path / "w.safetensors")
    assert again.nodes == graph.nodes
    assert list(again.constants) == list(graph.constants)
    for name, value in values(bound).items():
        np.testing.assert_array_equal(again.constants[name].value, value)
        assert again.constants[name].value.dtype == np.float32


def test_metadata_and_same_bytes_each_time(graph, tmp_path):
    files = [tmp_path / f"{i}.safetensors" for i in range(5)]
    for path in files:
        weights.save(weights.bind(graph, seed=7), path, seed=7)
    assert len({path.read_bytes() for path in files}) == 1
    with safe_open(files[0], framework="numpy") as stored:
        assert json.loads(stored.metadata()["cnncc"]) == {"net": "tiny", "seed": 7}


def test_saved_file_is_as_readable_as_any_other(graph, tmp_path):
    weights.save(weights.bind(graph), tmp_path / "w.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_no_seed_in_the_metadata_of_other_weights(graph, tmp_path):
    weights.save(weights.bind(graph), tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="numpy") as stored:
        assert json.loads(stored.metadata()["cnncc"]) == {"net": "tiny"}


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_converted(graph, arrays, file, dtype):
    name = next(n for n in arrays if n.endswith("weight"))
    bound = weights.bind(graph, file(**{name.replace(".", "__"): arrays[name].astype(dtype)}))
    assert bound.constants[name].value.dtype == np.float32
    np.testing.assert_array_equal(bound.constants[name].value, arrays[name].astype(dtype).astype(np.float32))


def test_bfloat16_is_converted(tmp_path):
    graph = lang.parse("net t\ninput 1x2x2\nf: fc 2\n")
    header = {
        "f.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "f.weight": {"dtype": "BF16", "shape": [2, 4], "data_offsets": [8, 24]},
    }
    text = json.dumps(header).encode()
    halves = np.array([0x3F80, 0xC000, 0x4049, 0x0000, 0x8000, 0x3E80, 0x42C8, 0x7F7F], "<u2")
    body = np.array([0.5, 0.25], "<f4").tobytes() + halves.tobytes()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    bound = values(weights.bind(graph, tmp_path / "w.safetensors"))
    assert bound["f.weight"].tolist() == [[1, -2, 3.140625, 0], [0, 0.25, 100, 2.0**128 * (1 - 2**-8)]]
    assert bound["f.bias"].tolist() == [0.5, 0.25]


def test_only_what_is_asked_for_is_read(graph, arrays, file, monkeypatch):
    asked = []
    real = files._array
    monkeypatch.setattr(files, "_array", lambda stored, name: asked.append(name) or real(stored, name))
    bound = weights.bind(graph, file())
    assert asked == []
    name = next(iter(arrays))
    assert bound.constants[name].value is bound.constants[name].value
    assert asked == [name]


def test_every_mismatch_is_in_one_error(graph, arrays, file):
    names = sorted(n for n in arrays if n.startswith("first"))
    gone, typo = names[0], names[0].replace("first", "frist")
    reshaped, integers = names[1], names[2]
    changes = {gone: None, typo: arrays[gone], reshaped: np.zeros((2, 3), "f4"), integers: np.zeros(16, "i8"),
               "zzz.num": np.array(1, "f4")}  # fmt: skip
    path = file(**{n.replace(".", "__"): a for n, a in changes.items()})
    with pytest.raises(CnnccError) as caught:
        weights.bind(graph, path)
    shape, typed = ("x".join(map(str, arrays[n].shape)) for n in (gone, reshaped))
    assert caught.value.message.splitlines() == [
        f"{path} does not fit net tiny:",
        f"  missing: {gone} ({shape}), nearest: {typo}",
        f"  left over: {typo} ({shape}), nearest: {gone}",
        "  left over: zzz.num (scalar)",
        f"  shape of {reshaped}: the net has {typed}, the file 2x3",
        *([f"  shape of {integers}: the net has {'x'.join(map(str, arrays[integers].shape))}, the file 16"]
          if arrays[integers].shape != (16,) else []),
        f"  type of {integers}: I64 is not a floating-point type of weights",
    ]  # fmt: skip
    assert "`cnncc weights NET -o FILE` writes" in caught.value.hint


def test_a_foreign_file_is_refused_quickly(graph, tmp_path):
    save_file({f"block{i}.num_batches": np.zeros(1, "f4") for i in range(5000)}, tmp_path / "w.safetensors")
    start = time.perf_counter()
    with pytest.raises(CnnccError) as caught:
        weights.bind(graph, tmp_path / "w.safetensors")
    lines = caught.value.message.splitlines()
    assert len(lines) == 1 + min(len(graph.constants), 11) + (10 + 1)
    assert lines[-1] == "  left over: ... and 4990 more"
    assert "nearest" not in caught.value.message, "none is close"
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("content", [b"", b"hello world", b"\xff" * 100, b"\x10" + b"\0" * 7 + b'{"a":'])
def test_what_is_not_safetensors(graph, tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CnnccError, match=r"w\.safetensors is not a safetensors file: "):
        weights.bind(graph, tmp_path / "w.safetensors")


def test_cut_off_file(graph, file):
    path = file()
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CnnccError, match="is not a safetensors file: "):
        weights.bind(graph, path)


@pytest.mark.parametrize(("name", "why"), [("no.safetensors", "no such file or folder"), ("", "it is a folder")])
def test_file_that_cannot_be_read(graph, tmp_path, name, why):
    with pytest.raises(CnnccError) as caught:
        weights.bind(graph, tmp_path / name)
    assert caught.value.message == f"cannot read weights from {tmp_path / name}: {why}"


def test_unwritable_place(graph, tmp_path):
    with pytest.raises(CnnccError, match=r"cannot write .*w\.safetensors: folder .*none does not exist"):
        weights.save(weights.bind(graph), tmp_path / "none" / "w.safetensors")


def test_full_disk_leaves_the_old_file(graph, file):
    path = file()
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bound = weights.bind(graph, seed=1)
    values(bound)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CnnccError, match=r"cannot write weights to [^ ]*/w\.safetensors: file too large$"):
            weights.save(bound, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# Seeded values


def test_same_seed_and_name_same_value(graph):
    first, again, other = (values(weights.bind(graph, seed=s)) for s in (5, 5, 6))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_an_edit_elsewhere_changes_no_parameter(graph):
    edited = lang.parse(TEXT.replace("block:", "new: conv 3x3 16 relu\nblock:"))
    before, after = values(weights.bind(graph)), values(weights.bind(edited))
    for name in before:
        if "running" not in name:
            np.testing.assert_array_equal(before[name], after[name])


def test_values_do_not_drift_between_versions(graph):
    """The numbers themselves: NumPy may change its streams, and published results with seeded weights hang on them."""
    bound = weights.bind(lang.parse("net t\ninput 1x2x2\nf: fc 2\n"), seed=0)
    expected = [-0.7967655, -0.2707864, -0.3168266, 1.2628058]
    assert bound.constants["f.weight"].value[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_negative_seed(graph):
    with pytest.raises(CnnccError, match="must not be negative: -1"):
        weights.bind(graph, seed=-1)


def test_scales():
    bound = weights.bind(lang.parse("net t\ninput 64x8x8\na: conv 3x3 64 groups 2 bias bn\nb: fc 500\n"))
    assert only(bound, "a.weight").std() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.03)
    assert only(bound, "b.weight").std() == pytest.approx(math.sqrt(2 / (64 * 64)), rel=0.03)
    assert 0.01 < only(bound, "b.bias").std() < 0.05
    scale = only(bound, "bn.weight")
    assert 0.5 <= scale.min() < 0.6
    assert 1.4 < scale.max() <= 1.5


def test_fan_in_of_a_transposed_convolution_counts_the_taps_that_reach_a_pixel():
    assert transpose_products((64, 5, 4, 4), {"stride": (2, 2), "groups": 2}) == 64 / 2 * 16 / 4


def test_every_slot_of_batch_norm_matters(graph):
    bound = weights.bind(graph)
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8))
    before = reference.run(bound, [x])[graph.outputs[0]]
    for name, constant in bound.constants.items():
        changed = bound.rebuild(bound.nodes, constants={name: constant.map(constant.shape, lambda v: v * 1.5 + 0.01)})
        assert np.abs(reference.run(changed, [x])[graph.outputs[0]] - before).max() > 1e-5, name


def measured(graph: Graph) -> dict[str, float]:
    rng = np.random.default_rng(0)
    inputs = {n.name: rng.normal(size=n.type.shape) for n in graph.inputs}
    with np.errstate(all="raise", under="ignore"):
        found = reference.run(weights.bind(graph), inputs, dtype=np.float32, keep_all=True)
    return {name: float(np.mean(np.square(x))) for name, x in found.items()}


@pytest.mark.parametrize(
    "body",
    [
        "conv 3x3 32 bn relu x4",
        "conv 3x3 32 relu; maxpool 2x2 /2; conv 3x3 64 relu; conv 1x1 16 bn",
        "conv 3x3 32; add { conv 3x3 32 bn relu | } x12; relu; conv 3x3 32 bn",
        "conv 3x3 32; concat { conv 3x3 8 bn relu | } x8; bn relu; conv 1x1 32 bn",
        "conv 3x3 32 silu; mul { conv 3x3 32 bn | conv 3x3 32 sigmoid }; conv 3x3 32 bn",
    ],
)
def test_moments_foretell_the_activations(body):
    graph = lang.parse(f"net t\ninput 16x12x12\n{body}\n")
    found, told = measured(graph), second_moments(graph)
    for node in graph.nodes:
        assert 1 / 4 < told[node.name] / found[node.name] < 4, (node.name, told[node.name], found[node.name])


@pytest.mark.parametrize("model", ["cifar_resnet110"])
def test_deep_networks_stay_of_order_one(model):
    graph = lang.read(resources.directory("models") / f"{model}.net")
    found = measured(graph)
    assert all(0.01 < found[n.name] < 1000 for n in graph.nodes if n.op != "softmax")


@pytest.mark.parametrize("model", ["cifar_resnet1202", "resnet152", "densenet121"])
def test_statistics_of_very_deep_networks(model):
    graph = lang.read(resources.directory("models") / f"{model}.net")
    moments = second_moments(graph)
    assert all(0.1 < m < 2000 for m in moments.values())


def test_resnet50_is_initialised_in_a_blink():
    graph = weights.bind(lang.read(resources.directory("models") / "resnet50.net"))
    start = time.process_time()
    count = sum(c.value.size for c in graph.constants.values())
    assert count > 25_000_000
    assert time.process_time() - start < 1.5  # 0.25 s on the machine it was written on


TYPED = """net t
input 2x3x3
a: cast int8
b: const 4x3x3 int8
concat { from a | from b }
cast float32; output
h: const 3 bfloat16
cast float32; output
"""


def test_integers_and_halves_keep_their_types(tmp_path):
    """Integers are stored as they are, halves as float32, which they are rounded from again."""
    graph = weights.bind(lang.parse(TYPED), seed=3)
    weights.save(graph, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="numpy") as stored:
        types = {name: stored.get_slice(name).get_dtype() for name in ("b.value", "h.value")}
    assert types == {"b.value": "I8", "h.value": "F32"}
    back = weights.bind(lang.parse(TYPED), tmp_path / "w.safetensors")
    for name, constant in graph.constants.items():
        assert back.constants[name].element == constant.element
        assert back.constants[name].value.dtype == constant.element.dtype
        assert back.constants[name].value.tobytes() == constant.value.tobytes()


@pytest.mark.parametrize("wrong", [np.float32, np.uint8, np.int32])
def test_integers_of_another_type_are_refused(tmp_path, wrong):
    arrays = {"b.value": np.zeros((1, 4, 3, 3), wrong), "h.value": np.zeros((1, 3), np.float32)}
    save_file(arrays, tmp_path / "w.safetensors")
    with pytest.raises(CnnccError, match=r"type of b.value: the net has int8, the file (F32|U8|I32)"):
        weights.bind(lang.parse(TYPED), tmp_path / "w.safetensors")
    with pytest.raises(CnnccError, match=r"type of b.value: the net has int8, the file (F32|U8|I32)"):
        weights.refuse_mismatches(lang.parse(TYPED), arrays, "a file")
