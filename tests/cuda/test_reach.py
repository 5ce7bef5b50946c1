"""Which drivers load the code of a module: what PTX and machine code say of themselves, and which compiler is taken."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from cross.test_same_bytes import GRAPH
from cuda.zoo import network

import cnncc
from cnncc import api
from cnncc.base.errors import CnnccError
from cnncc.cli import main
from cnncc.frontends import sources
from cnncc.machines import gpus
from cnncc.module.gpu import nvcc, nvrtc
from cnncc.module.gpu.compilers import cuda_compiler
from cnncc.module.gpu.images import image_for
from cnncc.module.gpu.reach import driver_for_machine_code, driver_for_ptx, lowered_ptx
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.options import Options

VERSIONS = {"sm_75": "6.5", "sm_80": "7.0", "sm_86": "7.1", "sm_89": "7.8", "sm_90": "7.8", "sm_100": "8.6"}
PTX = """\
//
.version 9.5
.target sm_90
.address_size 64
\t.pragma "used_bytes_mask 255";
\tld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1];
\t.pragma "nounroll";
"""


def test_ptx_says_the_least_version_it_needs() -> None:
    made = lowered_ptx(PTX.encode(), "compute_90").decode()
    assert made == PTX.replace("9.5", "7.8").replace('\t.pragma "used_bytes_mask 255";\n', "")


def test_text_that_is_no_ptx_and_an_architecture_that_nobody_knows() -> None:
    with pytest.raises(CnnccError, match="PTX without a version"):
        lowered_ptx(b"nothing", "compute_80")
    with pytest.raises(CnnccError, match="nothing is known of the drivers for sm_60") as caught:
        driver_for_machine_code("sm_60", "12.9")
    assert "sm_75, sm_80" in (caught.value.hint or "")


def test_the_least_drivers() -> None:
    assert [driver_for_ptx(f"compute_{n}") for n in (75, 80, 90, 100)] == [11_040, 11_040, 11_080, 12_070]
    assert driver_for_machine_code("sm_80", "12.9") == 12_000
    assert driver_for_machine_code("sm_100", "12.9") == 12_080
    assert driver_for_machine_code("sm_80", "13.5") == 13_000
    assert driver_for_machine_code("sm_80", "11.8") == 11_040


def assembler() -> str:
    found = shutil.which("ptxas")
    if found is None:
        pytest.skip("needs ptxas")
    return found


@pytest.mark.usefixtures("cuda_compiler")
@pytest.mark.parametrize(("name", "dtype"), [
    *(("lenet5", dtype) for dtype in ("float32", "float16", "bfloat16")), ("bytes", "float32"),
    *(pytest.param("googlenet", dtype, marks=pytest.mark.slow) for dtype in ("float32", "float16", "bfloat16")),
])  # fmt: skip
def test_the_assembler_accepts_the_version_for_every_device(name: str, dtype: str, tmp_path: Path) -> None:
    """It refuses an instruction that a later version brought."""
    tool = assembler()
    for architecture, version in VERSIONS.items():
        if (architecture, dtype) == ("sm_75", "bfloat16"):
            continue  # it has no such instruction
        graph = GRAPH if name == "bytes" else network(name)
        program = lower(graph, gpus.load(f"cuda-{architecture}"), Options(dtype=dtype))
        image = image_for(program_source(program), architecture.replace("sm", "compute"))
        text = image.code.rstrip(b"\0")
        assert re.findall(rb"^\.version (.*)$", text, re.M) == [version.encode()]
        (tmp_path / "kernels.ptx").write_bytes(text)
        command = [tool, f"-arch={architecture}", "-o", str(tmp_path / "kernels.cubin"), str(tmp_path / "kernels.ptx")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        assert "warning" not in done.stderr


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `nvidia` of packages, with nothing in it."""
    spec = ModuleSpec("nvidia", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "nvidia")]
    monkeypatch.setattr(nvrtc, "find_spec", lambda name: spec)
    return tmp_path / "nvidia"


def wheel(root: Path, folder: str, version: str) -> Path:
    (root / folder).mkdir(parents=True)
    (root / folder / f"libnvrtc.so.{version.split('.')[0]}").touch()
    (root / folder / f"libnvrtc-builtins.so.{version}").touch()
    return root / folder


def test_the_wheel_of_the_earlier_cuda_comes_first(wheels: Path) -> None:
    with pytest.raises(CnnccError, match="the package nvidia-cuda-nvrtc-cu12 is not installed"):
        nvrtc.folders()
    later = wheel(wheels, "cu13/lib", "13.5")
    assert nvrtc.folders() == [later]
    earlier = wheel(wheels, "cuda_nvrtc/lib", "12.9")
    assert nvrtc.folders() == [earlier, later]
    assert [nvrtc.version(folder) for folder in nvrtc.folders()] == ["12.9", "13.5"]


def test_a_wheel_that_knows_too_few_devices_is_not_taken(wheels: Path) -> None:
    wheel(wheels, "cuda_nvrtc/lib", "11.2")
    with pytest.raises(CnnccError, match="nvidia-cuda-nvrtc-cu12 is not installed"):
        nvrtc.folders()


@pytest.mark.parametrize(("architectures", "wheels_are", "nvcc_is", "taken"), [
    ("sm_80 compute_80", "13.5", "12.6.85", "nvcc 12.6.85"), ("sm_80", "13.5", "13.0.88", "nvrtc 13.5"),
    ("sm_80", "12.9", "12.0.1", "nvrtc 12.9"), ("sm_80", "13.5", "11.8.89", "nvrtc 13.5"),
    ("sm_100 compute_100", "13.5", "12.6.85", "nvrtc 13.5"), ("sm_100", "13.5", "12.8.61", "nvcc 12.8.61"),
    ("sm_80 sm_100", "12.6 13.5", "", "nvrtc 13.5"), ("compute_90", "12.6 13.5", "", "nvrtc 12.6"),
    ("sm_100", "12.6", "12.9.86", "nvcc 12.9.86"), ("", "13.5", "12.6.85", "nvcc 12.6.85"),
    ("sm_80", "", "11.8.89", "nvcc 11.8.89"), ("compute_120", "12.6", "", "nvrtc 12.6"),
])  # fmt: skip
def test_the_compiler_of_the_earliest_cuda_that_knows_the_devices_is_taken(
    architectures: str, wheels_are: str, nvcc_is: str, taken: str, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in wheels_are.split():
        wheel(wheels, "cuda_nvrtc/lib" if version.startswith("12") else "cu13/lib", version)
    monkeypatch.setattr(nvcc, "version", lambda: nvcc_is)
    monkeypatch.setattr(nvcc, "command", lambda: "nvcc" if nvcc_is else None)
    assert str(cuda_compiler(*architectures.split())) == taken


def test_devices_that_no_compiler_knows_are_told(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(wheels, "cuda_nvrtc/lib", "12.6")
    monkeypatch.setattr(nvcc, "version", lambda: "11.8.89")
    monkeypatch.setattr(nvcc, "command", lambda: "nvcc")
    text = "no CUDA compiler for sm_100: it needs one of CUDA 12.8 or later, and there is nvrtc 12.6, nvcc 11.8.89"
    with pytest.raises(CnnccError, match=text) as caught:
        cuda_compiler("sm_80", "sm_100")
    assert "[cuda]" in (caught.value.hint or "")


def test_each_wheel_compiles_itself() -> None:
    """Two of them in one process."""
    try:
        folders = nvrtc.folders()
    except CnnccError as error:
        pytest.skip(str(error))
    text = 'extern "C" __global__ void __launch_bounds__(32) k(float* p) { p[threadIdx.x] = 1; }'
    for folder in folders:
        major, minor = ctypes.c_int(), ctypes.c_int()
        library = ctypes.CDLL(str(next(folder.glob("libnvrtc.so.*"))))
        assert nvrtc.machine_code(folder, text, "sm_80").image[8] == (7 if "12." in nvrtc.version(folder) else 8)
        assert library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) == 0
        assert nvrtc.version(folder) == f"{major.value}.{minor.value}"


@pytest.mark.usefixtures("nvrtc")
def test_machine_code_is_of_the_abi_that_drivers_of_12_know() -> None:
    if cuda_compiler().major != 12:
        pytest.skip("needs the package nvidia-cuda-nvrtc-cu12")
    text = 'extern "C" __global__ void __launch_bounds__(32) k(float* p) { p[threadIdx.x] = 1; }'
    for architecture in ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90"):
        code = image_for(text, architecture).code
        assert code[8] == 7
        assert struct.unpack_from("<I", code, 48)[0] & 0xFF == int(architecture.removeprefix("sm_"))


@pytest.mark.usefixtures("cuda_compiler", "emulated")
def test_info_says_the_least_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, _ = sources.read_bound("lenet5", None, 0)
    build = api.build(graph, Options(("cuda",)))
    said = build.info["cuda"]
    assert said["driver"] == "11.4"
    machine_code = f"{max(12, cuda_compiler().major)}.0"
    assert said["drivers"] == {
        "sm_80": machine_code,
        "sm_86": machine_code,
        "sm_90": machine_code,
        "compute_80": "11.4",
    }
    build.write({"so": tmp_path / "lenet5.so"})
    assert cnncc.load(tmp_path / "lenet5.so").info["cuda"] == said
    assert main(["info", str(tmp_path / "lenet5.so")]) == 0
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert f"of CUDA 11.4 or later; sm_80, sm_86, sm_90 need {machine_code}, compute_80 needs 11.4" in shown
    assert os.listdir(tmp_path) == ["lenet5.so"]
