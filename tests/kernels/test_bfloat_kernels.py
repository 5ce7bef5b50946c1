"""Networks whose values are bfloat16: with the unit emulated layer by layer, without it, and its assembly."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernels.bfloats import TARGET, dot, emulate, halves
from kernels.compare import RUNNABLE, network
from written import write_shared

from cnncc import api, lang, machines, weights
from cnncc.base import resources
from cnncc.base.elements import BFLOAT16, decode, encode
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant, Graph
from cnncc.kernels.cpu.algorithms import candidates
from cnncc.kernels.shared.choices import choice_key
from cnncc.machines import targets
from cnncc.module.cpu.objects import kernel_text
from cnncc.options import Options
from cnncc.report import check as checked
from cnncc.report.check import check, check_module
from cnncc.report.profile.measure import profile
from cnncc.runtime.load import load
from cnncc.tune.layers import Setting, alone

CASES = {
    "first layer": ("3x33x29", "conv 7x7 24 /2 relu; maxpool 3x3 /2; conv 3x3 40 silu"),
    "1x1": ("20x13x11", "conv 1x1 48 relu; conv 1x1 33 /2; conv 1x1 16 nobias"),
    "taps": ("16x21x19", "conv 3x3 32 relu; conv 5x5 24 /2; conv 3x3 48 dil 2; conv 1x7 16; conv 3x3 16 pad 0"),
    "residual": ("16x14x14", "conv 3x3 32; save x; conv 3x3 32; add { | from x }; relu; conv 3x3 32 /2; add { | }"),
    "winograd": ("16x33x29", "conv 1x1 64; conv 3x3 64 relu; save x; conv 3x3 64; add { | from x }; conv 5x5 32 silu"),
    "depthwise": ("24x19x17", "conv 1x1 40; dwconv 3x3 relu6; dwconv 5x5 /2; dwconv 7x7 hard_swish; dwconv 3x3 dil 2"),
    "groups": ("12x15x14", "conv 1x1 48; conv 3x3 48 groups 12 relu; conv 1x1 96 groups 2; conv 3x3 64 groups 32"),
    "pools": ("8x23x21", "conv 1x1 24; avgpool 3x3 /2; maxpool 2x2; avgpool 3x3 /1 pad 1; gap; fc 10; softmax"),
    "squeeze": ("8x9x9", "conv 1x1 24; save x; gap; conv 1x1 8 relu; conv 1x1 24 sigmoid; mul { | from x }; fc 5"),
    "moves": ("8x9x7", "conv 1x1 20; save x; conv 3x3 12; concat { | from x }; upsample 2; pad 1; conv 3x3 16 /2"),
    "transposed": ("12x7x5", "conv 1x1 16; upconv 3x3 20 /2 relu; upconv 2x2 24 /2 groups 4"),
    "others": (
        "12x7x5",
        "conv 1x1 16; lrn; conv 1x1 16; layernorm; conv 1x1 16; relu; bn; max { | conv 1x1 16 }",
    ),
}
MOST_APART = 0.01
"""Share of the numbers that may be rounded apart."""
UNITS = {"x86-64-v4-bf16": ("vdpbf16ps", "vcvtneps2bf16"), "aarch64-bf16": ("bfdot", "bfcvt")}
"""Instructions that multiply and that round, by target."""


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    emulate(monkeypatch, tmp_path_factory.mktemp("bfloats"))
    return TARGET


@pytest.mark.parametrize("case", CASES)
def test_layer_by_layer(case: str, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer on the module's own values: few numbers differ, and those by a rounding apart."""
    dims, body = CASES[case]
    monkeypatch.setitem(checked.SPACING, BFLOAT16, 0.0)
    report = check(network(body, dims), Options((unit,), threads=2, dtype="bfloat16"))
    for layer in report.layers:
        assert layer.error <= 2**-7 + 2e-5, layer
        assert layer.outlier_ratio <= MOST_APART, layer
    assert report.rounding is not None
    assert 1e-5 < report.rounding < 0.05


@pytest.mark.parametrize("target", RUNNABLE)
def test_values_of_a_text_need_no_unit(target: str) -> None:
    """Kernels that multiply float32 make it of bfloat16 as they read."""
    body = "cast bfloat16; conv 3x3 24 /2 relu; conv 3x3 40; dwconv 3x3 relu; conv 3x3 40 groups 10; maxpool 2x2; fc 9"
    report = check(network(body, "3x19x17"), Options((target,), batch=2, threads=2))
    assert report.passed, report.first_failure
    assert any(layer.error > 0 for layer in report.layers)


def one_by_one(weight: np.ndarray) -> Graph:
    """A 1x1 convolution without bias that has this weight (o, i)."""
    out, channels = weight.shape
    graph = weights.bind(
        lang.parse(f"net t\ninput {channels}x1x1\nmaxpool 1x1\nconv 1x1 {out} nobias\nfc {out} nobias\n")
    )
    values = {"1.weight": weight.reshape(out, channels, 1, 1), "2.weight": np.eye(out, dtype=np.float32)}
    assert set(values) == set(graph.constants)
    made = {name: Constant(value.shape, lambda value=value: value) for name, value in values.items()}
    return graph.rebuild(graph.nodes, constants=made)


def test_the_sums_are_those_of_the_instruction(unit: str) -> None:
    """Two channels at a time, in the order of the channels, bit by bit."""
    rng = np.random.default_rng(5)
    weight, image = halves(rng, 16, 32), halves(rng, 32)
    model = api.build(one_by_one(weight), Options((unit,), threads=1, dtype="bfloat16")).model()
    sums = np.zeros(16, np.float32)
    for pair in range(16):
        sums = dot(sums, np.tile(image[2 * pair :][:2], (16, 1)), weight[:, 2 * pair :][:, :2])
    (got,) = model(image.reshape(1, 32, 1, 1))
    np.testing.assert_array_equal(got, decode(encode(sums, BFLOAT16), BFLOAT16))


def code(target: str) -> dict[str, str]:
    """The assembly of each kernel of a network, by its name."""
    graph = network("conv 7x7 32 /2; conv 3x3 64 relu; conv 1x1 64; dwconv 3x3; gap; fc 10", "3x57x57")
    kernels = api.program(graph, Options((target,), dtype="bfloat16")).kernels
    return {kernel.name: kernel_text(kernel, targets.load(target), "asm") for kernel in kernels}


@pytest.mark.parametrize("target", UNITS)
def test_the_instructions_are_there(target: str) -> None:
    """Products of pairs in convolutions on blocks of channels, whose results are rounded by an instruction; nothing is
    called."""
    dot, narrow = UNITS[target]
    texts = code(target)
    for name, text in texts.items():
        assert not re.search(r"(?m)^\t(callq?|bl)\s", text.split(".text.tvm", 1)[0]), name
        pairs = re.match(r"(conv|gemm)_bf16_nchw\d+c", name)
        assert (dot in text) == bool(pairs), name
        rounds = name.startswith(("conv", "gemm", "depthwise"))
        assert (narrow in text) == rounds, name
    assert sum(bool(re.match(r"(conv|gemm)_bf16_nchw\d+c", name)) for name in texts) == 2


def test_who_has_no_unit_refuses() -> None:
    graph = network("conv 3x3 8", "3x9x9")
    with pytest.raises(CnnccError, match=r"target x86-64-v3 has no instruction that multiplies bfloat16\n.*--weights-"):
        api.build(graph, Options(("x86-64-v3",), dtype="bfloat16"))
    with pytest.raises(CnnccError, match="target cuda-sm_75 has no instruction that multiplies bfloat16"):
        machines.load("cuda-sm_75").check(Options(dtype="bfloat16"))


def test_bytes_of_weights_and_values_are_halved(unit: str) -> None:
    """But for biases, and for what the first and the last cast read and give."""
    graph = network("conv 3x3 64 relu; conv 3x3 64; conv 1x1 64", "64x16x16")
    plain, half = (api.program(graph, Options((unit,), dtype=d, max_error=0)) for d in ("float32", "bfloat16"))
    biases = 3 * 4 * 64
    assert half.weight_bytes - biases == (plain.weight_bytes - biases) / 2
    assert half.graph["0.relu"].type.nbytes == plain.graph["0.relu"].type.nbytes / 2


@pytest.mark.parametrize("name", ["cifar_resnet8", "lenet5"])
def test_small_networks(name: str, unit: str) -> None:
    path = resources.directory("models") / f"{name}.net"
    trained = path.with_suffix(".safetensors")
    graph = weights.bind(lang.read(path), trained if trained.is_file() else None)
    report = check(graph, Options((unit,), threads=2, dtype="bfloat16"))
    assert report.passed, report.first_failure


def test_a_profile_lists_what_stays_float32(unit: str) -> None:
    graph = network("conv 3x3 8 relu; lrn; conv 1x1 8; gap; fc 3; softmax", "3x9x9")
    found = profile(api.build(graph, Options((unit,), threads=1, dtype="bfloat16", stamps=True)), runs=4)
    assert found.in_float32 == ("1 (lrn)", "4 (fc)", "5 (softmax)")
    assert found.to_json()["dtype"] == "bfloat16"


def test_layers_are_tuned_on_their_own_types(unit: str) -> None:
    """A layer alone reads and gives bfloat16, too; its choice is not that of a layer on float32."""
    options = Options((unit,), threads=1, dtype="bfloat16")
    program = api.program(network("conv 3x3 32; conv 3x3 32 relu", "3x19x19"), options)
    setting = Setting(program.target, options)
    first, second = (choice_key(n, [program.graph[n.inputs[0]].type]) for n in program.graph.nodes if n.op == "conv")
    for key in (first, second):
        site = alone(key, setting)
        assert site is not None
        assert site.type().element == site.element == BFLOAT16
        assert "direct" in {c.choice.algorithm for c in candidates(site)}
    assert second.element == "bfloat16"
    assert second != replace(second, element="float32")


def test_a_module_is_checked_by_its_outputs(unit: str, tmp_path: Path) -> None:
    graph = network("conv 3x3 24 relu; conv 3x3 24 /2 relu; gap; fc 10; softmax", "3x19x19")
    write_shared(api.build(graph, Options((unit,), threads=1, dtype="bfloat16")), tmp_path / "t.so")
    model = load(tmp_path / "t.so")
    assert model.info["weights_dtype"] == "bfloat16"
    report = check_module(model, graph)
    assert report.passed, report.first_failure
    assert report.dtype == "bfloat16"


def test_weights_of_another_type_are_refused() -> None:
    assert Options(dtype="bfloat16").weights_dtype == "bfloat16"
    with pytest.raises(CnnccError, match="with dtype bfloat16 weights are bfloat16, not float16"):
        Options(dtype="bfloat16", weights_dtype="float16")
