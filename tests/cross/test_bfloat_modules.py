"""bfloat16 on Arm: `bfdot` and `bfcvtn` as qemu computes them, layer by layer against the reference that rounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cross.cases import network
from cross.foreign import AARCH64
from written import write_shared

from cnncc import api, lang, passes, weights
from cnncc.base import resources
from cnncc.ir import Graph
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options
from cnncc.report.check import CheckReport, checked_values

MODELS = resources.directory("models")
ARM = replace(AARCH64, target="aarch64-bf16", emulator=(*AARCH64.emulator, "-cpu", "max"))
CASES = {
    "convolutions": (
        "3x32x29",
        "conv 7x7 24 /2 relu; output; save x; conv 3x3 24; add { | from x }; relu; output; conv 1x1 40 /2 silu; "
        "output; conv 3x3 32 groups 2; output; conv 3x3 32 groups 8 dil 2; output; upconv 2x2 12 /2; output",
    ),
    "winograd": (
        "16x33x29",
        "conv 1x1 64; output; conv 3x3 64 relu; output; save x; conv 3x3 64; add { | from x }; output; "
        "conv 5x5 32 silu; output",
    ),
    "the others": (
        "12x19x17",
        "conv 1x1 24; output; maxpool 3x3 /2; output; dwconv 3x3 relu; output; avgpool 2x2; output; save x; gap; "
        "output; conv 1x1 24 sigmoid; mul { | from x }; output; lrn; conv 1x1 7; output; "
        "fc 10; output; softmax; output",
    ),
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ARM.require()
    return ARM.build_harness(tmp_path_factory.mktemp("harness"))


def report_of(graph: Graph, harness: Path, folder: Path) -> CheckReport:
    """The outputs of a module under qemu against the reference; two runs must give the same bits."""
    options = Options((ARM.target,), threads=2, dtype="bfloat16")
    build = api.build(graph, options)
    module, _ = write_shared(build, folder / "t.so")
    source = passes.with_batch(graph, 1)
    inputs = random_inputs(source, 0)
    first, second = ARM.run(harness, module, build, list(inputs.values()), 2)
    assert first == second
    values, got = np.frombuffer(first, np.float32), {}
    for name in source.outputs:
        shape = source[name].type.shape
        got[name], values = values[: np.prod(shape)].reshape(shape), values[np.prod(shape) :]
    return checked_values(source, inputs, got, options)


@pytest.mark.parametrize("case", CASES)
def test_layer_by_layer(case: str, harness: Path, tmp_path: Path) -> None:
    """Every layer is an output: hardly a number differs, and that by a rounding apart."""
    report = report_of(network(*CASES[case]), harness, tmp_path)
    for layer in report.layers:
        assert layer.error <= 2**-7 + 2e-5, layer
    assert report.worst is not None
    assert report.worst.max_ulp <= 1 << 16


@pytest.mark.parametrize("name", ["lenet5", "cifar_resnet8"])
def test_small_networks(name: str, harness: Path, tmp_path: Path) -> None:
    path = MODELS / f"{name}.net"
    trained = path.with_suffix(".safetensors")
    graph = weights.bind(lang.read(path), trained if trained.is_file() else None)
    report = report_of(graph, harness, tmp_path)
    assert report.passed, report.first_failure
    assert report.rounding is not None
    assert report.rounding < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2"])
def test_whole_networks(name: str, harness: Path, tmp_path: Path) -> None:
    report = report_of(weights.bind(lang.read(MODELS / f"{name}.net")), harness, tmp_path)
    assert report.passed, report.first_failure
