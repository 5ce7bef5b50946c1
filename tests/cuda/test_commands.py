"""The commands with a GPU target: what they write, print and refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from written import write_shared

import cnncc
from cnncc import lang, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.cli import main
from cnncc.kernels.gpu.conv import GpuConvConfig
from cnncc.kernels.gpu.model import Launch, LaunchWork, resident_blocks, stream_estimate
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild, build_program
from cnncc.module.lower import lower
from cnncc.report.profile.predict import predict

pytestmark = pytest.mark.usefixtures("cuda_compiler")
LENET5 = str(resources.directory("models") / "lenet5.net")


def built(name: str, target: str) -> CudaBuild:
    graph = weights.bind(lang.read(resources.directory("models") / f"{name}.net"), None)
    return build_program(lower(graph, gpus.load(target)))


def test_compile_then_run(tmp_path: Path, emulated: None, capsys: pytest.CaptureFixture[str]) -> None:
    module = tmp_path / "lenet5.so"
    assert main(["compile", LENET5, "--target", "cuda-sm_80", "-o", str(module)]) == 0
    digit = Path(__file__).parents[2] / "examples" / "digits" / "7_a.png"
    assert main(["run", str(module), str(digit), "--json"]) == 0
    out = capsys.readouterr().out
    (result,) = json.loads(out[out.index("[") :])
    assert result["outputs"][0]["top"][0]["index"] == 7
    assert main(["info", str(module)]) == 0
    assert "cuda-sm_80: nvptx64, A100" in capsys.readouterr().out


def test_profile_is_called_a_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", LENET5, "--target", "cuda-sm_90", "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert "a PREDICTION for one H100 SXM" in out
    assert "Nothing was run" in out
    assert main(["profile", LENET5, "--target", "cuda-sm_90", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["predicted"] is True
    assert "with copies" in out
    seconds, copies = data["seconds"], data["copies"]
    assert [copies[way]["bytes"] for way in ("inputs", "outputs")] == [4 * 32 * 32, 4 * 10]
    assert seconds["on_device"] > seconds["kernels"]
    assert seconds["total"] == pytest.approx(seconds["on_device"] + sum(c["seconds"] for c in copies.values()))
    assert all(s["registers"] > 0 and 0 < s["occupancy"] <= 1 and s["seconds"] > 0 for s in data["steps"])


def test_profile_refuses_what_only_a_measurement_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["profile", LENET5, "--target", "cuda", "--html", str(tmp_path / "x.html")]) == 2
    assert "--html and --limits need measured steps" in capsys.readouterr().err


def test_every_kind_of_file(tmp_path: Path) -> None:
    build = built("lenet5", "cuda-sm_86")
    files = build.write({kind: tmp_path / f"x.{kind}" for kind in ("so", "h", "cu", "ptx", "cubin")})
    assert 'extern "C" __global__' in files["cu"].read_text()
    assert ".target sm_86" in files["ptx"].read_text()
    assert files["cubin"].read_bytes()[:4] == b"\x7fELF"
    assert cnncc.load(files["so"]).info["cuda"]["cubins"] == ["sm_86"]
    assert "lenet5_run_async(" in files["h"].read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.cu", "x.cubin", "x.h", "x.ptx", "x.so"]


def test_files_that_cannot_be(tmp_path: Path) -> None:
    build = built("lenet5", "cuda")
    with pytest.raises(CnnccError, match="a cubin is for one architecture, and target cuda has sm_80, sm_86, sm_90"):
        build.write({"cubin": tmp_path / "x.cubin"})
    with pytest.raises(CnnccError, match="a GPU module has no 'll'"):
        build.write({"ll": tmp_path / "x.ll"})
    with pytest.raises(CnnccError, match=r"folder .* does not exist"):
        build.write({"cu": tmp_path / "no" / "x.cu"})
    assert not list(tmp_path.iterdir())


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    one, two = (write_shared(built("lenet5", "cuda-sm_80"), tmp_path / f"{n}.so")[0].read_bytes() for n in "ab")
    assert one == two


def test_resnet50_is_predicted_near_its_limits() -> None:
    """Every convolution's own model at half of its roofline, but for those that are named here, and those that add up
    parts of sums at their end: at a quarter."""
    prediction = predict(built("resnet50", "cuda-sm_80"))
    convolutions = [s for s in prediction.steps if s.op.startswith("conv") and s.flops > 1e7]
    shared = {s.node for s in convolutions if re.search(r"_k\d+$", s.kernel)}
    assert all(s.of_limit >= 0.25 for s in convolutions if s.node in shared)
    slow = {s.node for s in convolutions if s.of_limit < 0.5} - shared
    tiny = {"conv2.0.a.0.relu", "conv5.0.a.0.relu"}  # over before they have begun
    winograd = {f"conv3.{i}.a.1.relu" for i in range(4)}  # of a quarter of the operations, so ahead all the same
    assert slow <= tiny | winograd
    assert not any(s.spilled_bytes for s in prediction.steps)
    assert prediction.limit < prediction.kernels < 3 * prediction.limit


def test_a_target_with_more_of_everything_is_predicted_faster() -> None:
    assert predict(built("resnet18", "cuda-sm_90")).kernels < predict(built("resnet18", "cuda-sm_75")).kernels


def test_the_model_counts_what_a_multiprocessor_holds() -> None:
    gpu = gpus.load("cuda-sm_80")
    assert resident_blocks(gpu, 256, 64, 0) == 4  # registers: 65536 / (64 * 256)
    assert resident_blocks(gpu, 256, 16, 40 << 10) == 4  # shared memory: 164 KiB / 41 KiB
    assert resident_blocks(gpu, 32, 16, 0) == 32  # blocks
    assert resident_blocks(gpu, 1024, 32, 0) == 2  # threads, and registers
    few = stream_estimate(gpu, Launch((1, 1, 1), 32, 16, 0), LaunchWork(0, 1 << 20))
    many = stream_estimate(gpu, Launch((4096, 1, 1), 256, 16, 0), LaunchWork(0, 1 << 20))
    assert few.seconds > 10 * many.seconds


def test_small_layers_split_their_sum_and_large_ones_do_not() -> None:
    graph = weights.bind(lang.read(resources.directory("models") / "resnet50.net"), None)
    program = lower(graph, gpus.load("cuda-sm_80"))
    splits = {
        name: call.kernel.config.splits
        for name, selection in program.selections.items()
        for call in selection.calls
        if isinstance(call.kernel.config, GpuConvConfig)
    }
    assert splits["conv1.relu"] == 1
    assert splits["conv5.1.a.1.relu"] > 4


@pytest.mark.parametrize("text", ["description = 1\n", "not toml ="])
def test_a_target_file_that_is_wrong(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cuda-x.toml").write_text(text)
    monkeypatch.setattr(resources, "directory", lambda name: tmp_path)
    with pytest.raises(CnnccError, match=r"missing or unknown keys: .*block|not a readable target file"):
        gpus.load("cuda-x")
