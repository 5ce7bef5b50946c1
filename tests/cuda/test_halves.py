"""Operands of 16 bits on tensor cores: their range, what bfloat16 gives up and keeps, and what a check says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cuda.stand_in import stand_in
from safetensors.numpy import save_file

from cnncc import api, lang, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.cli import main
from cnncc.ir import Graph
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.program import kernel_of
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.ops.reference import run as reference_run
from cnncc.options import Options
from cnncc.report import check

TEXT = "net large\ninput 8x6x6\nrelu; conv 3x3 16 relu; conv 1x1 8 relu; conv 1x1 4\n"


def large(factor: float) -> Graph:
    """A network whose first convolution gives values of about `factor`, which the second one reads."""
    graph = weights.bind(lang.parse(TEXT), None, seed=5)
    constant = graph.constants["1.weight"]
    scaled = constant.map(constant.shape, lambda array: array * np.float32(factor))
    return graph.rebuild(graph.nodes, constants={"1.weight": scaled})


def outputs(graph: Graph, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the module and of the reference."""
    program = lower(graph, gpus.load("cuda-sm_80"), Options(dtype=dtype))
    assert any(kernel_of(c).work.tensor for c in program.calls)
    model = CudaBuild(program, program_source(program), [stand_in("compute_80")]).model()
    image = np.random.default_rng(1).standard_normal((1, 8, 6, 6), dtype=np.float32)
    return model(image), reference_run(program.source, {graph.inputs[0].name: image})[graph.outputs[0]]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_both_types_give_what_their_digits_allow(dtype: str, tolerance: float, emulated: None) -> None:
    got, wanted = outputs(large(1.0), dtype)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert tolerance / 100 < error < tolerance


def test_bfloat16_has_the_range_of_float32(emulated: None) -> None:
    got, wanted = outputs(large(1e5), "float16")
    assert not np.isfinite(got).all()
    got, wanted = outputs(large(1e5), "bfloat16")
    assert np.isfinite(wanted).all()
    assert np.abs(got - wanted).max() < 1.6e-2 * np.abs(wanted).max()


@pytest.mark.usefixtures("emulated", "cuda_compiler")
def test_a_check_says_which_layer_overflowed() -> None:
    report = check.check(large(1e5), Options(("cuda-sm_80",), dtype="float16"))
    assert not report.passed
    assert report.overflow is not None
    assert (report.overflow.op, report.overflow.held) == ("conv", 65504.0)
    assert report.overflow.largest is not None
    assert report.overflow.largest > 65504
    assert report.overflow.name == "1"  # of which the module has `1.relu` alone
    assert next(layer for layer in report.layers if layer.overflowed).name == "1.relu"
    assert json.dumps(report.to_json()["overflow"])
    fine = check.check(large(1e5), Options(("cuda-sm_80",), dtype="bfloat16"))
    assert fine.passed, fine.first_failure
    assert fine.overflow is None


@pytest.mark.usefixtures("emulated", "cuda_compiler")
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_the_command_says_it_too(quiet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = large(1e5)
    (tmp_path / "large.net").write_text(TEXT)
    save_file({name: constant.compute() for name, constant in graph.constants.items()}, tmp_path / "w.safetensors")
    arguments = ["check", str(tmp_path / "large.net"), "--weights", str(tmp_path / "w.safetensors"), *quiet]
    assert main([*arguments, "--target", "cuda-sm_80", "--dtype", "float16"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "overflow: 1 (conv) is the first layer" in out
    assert "and its type holds 65504 at most; `--dtype bfloat16` has the range of float32" in out
    assert main([*arguments, "--target", "cuda-sm_80", "--dtype", "bfloat16"]) == 0
    assert "overflow" not in capsys.readouterr().out


def test_a_weight_that_float16_does_not_hold_is_refused() -> None:
    graph = large(3e6)
    largest = np.abs(graph.constants["1.weight"].compute()).max()
    assert largest > 65504
    for dtype, refused in (("float16", True), ("bfloat16", False)):
        program = lower(graph, gpus.load("cuda-sm_80"), Options(dtype=dtype))
        packed = [packed for packed, _ in program.weights]
        if not refused:
            assert all(p.compute() is not None for p in packed)
            continue
        with pytest.raises(CnnccError, match=r"weight 1\.weight does not fit float16: its largest") as caught:
            [p.compute() for p in packed]
        assert "bfloat16 has the range" in (caught.value.hint or "")


@pytest.mark.parametrize("words", ["", "nobias"])
def test_parts_of_a_transposed_convolution_without_taps(words: str, emulated: None) -> None:
    """Their weights are of no numbers: each third row and column of the result is the bias alone."""
    graph = weights.bind(lang.parse(f"net t\ninput 8x6x6\nrelu; conv 1x1 8; upconv 2x2 8 /3 {words} relu\n"), None)
    got, wanted = outputs(graph, "float16")
    assert np.abs(got - wanted).max() < 2e-3 * np.abs(wanted).max()


def test_turing_has_no_bfloat16() -> None:
    graph = weights.bind(lang.parse(TEXT), None)
    with pytest.raises(CnnccError, match="target cuda-sm_75 has no instruction that multiplies bfloat16") as caught:
        api.build(graph, Options(("cuda-sm_75",), dtype="bfloat16"))
    assert "--dtype float16" in (caught.value.hint or "")


@pytest.mark.usefixtures("emulated", "cuda_compiler")
def test_a_module_says_its_types_and_is_checked_by_them(tmp_path: Path) -> None:
    graph = weights.bind(lang.read(resources.directory("models") / "lenet5.net"), None)
    build = api.build(graph, Options(("cuda-sm_80",), dtype="bfloat16"))
    assert (build.info["flags"]["dtype"], build.info["weights_dtype"]) == ("bfloat16", "bfloat16")
    report = check.check_module(build.model(), graph)
    assert report.passed, report.first_failure
    assert report.layers[-1].allowed > 1.6e-2
