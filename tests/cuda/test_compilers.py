"""Which CUDA compiler is taken, and nvcc as one: a real one where there is one, a script in its place everywhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cnncc import api
from cnncc.base.errors import CnnccError
from cnncc.frontends import sources
from cnncc.module.gpu import nvcc, nvrtc
from cnncc.module.gpu.compiled import Resources
from cnncc.module.gpu.compilers import cuda_compiler
from cnncc.options import Options

KERNEL = 'extern "C" __global__ void __launch_bounds__(32) k(float* p) { p[threadIdx.x] = 1; }'
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
SCRIPT = """\
#!/bin/sh
case "$*" in
  --version) echo "Cuda compilation tools, release 13.0, V13.0.88"; exit 0 ;;
esac
echo "$@" > image
grep -q nothing kernels.cu && { echo 'kernels.cu(1): error: identifier "nothing" is undefined' >&2; exit 2; }
echo "ptxas info    : Function properties for k" >&2
echo "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" >&2
echo "ptxas info    : Used 8 registers, 360 bytes cmem[0]" >&2
"""


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVRTC is not installed."""
    monkeypatch.setattr(nvrtc, "find_spec", lambda name: None)
    nvcc.version.cache_clear()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script called nvcc."""
    (tmp_path / "nvcc").write_text(SCRIPT)
    (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("nvrtc", "script")
def test_the_wheel_comes_first() -> None:
    assert cuda_compiler().name == "nvrtc"


@pytest.mark.usefixtures("no_wheel", "script")
def test_nvcc_takes_its_place() -> None:
    compiler = cuda_compiler()
    assert str(compiler) == "nvcc 13.0.88"
    made = compiler.machine_code(KERNEL, "sm_80")
    assert made.image == b"-arch=sm_80 --std=c++17 -w -cubin -Xptxas -v -o image kernels.cu\n"
    assert made.resources == {"k": Resources(8, 0, 0, 0, 0)}
    assert compiler.ptx(KERNEL, "compute_90") == b"-arch=compute_90 --std=c++17 -w -ptx -o image kernels.cu\n\0"


@pytest.mark.usefixtures("no_wheel", "script")
def test_its_errors_are_told() -> None:
    with pytest.raises(CnnccError, match=r'failed for sm_80: nvcc ended with code 2\n.*"nothing" is undefined'):
        nvcc.machine_code("nothing", "sm_80")


@pytest.mark.usefixtures("no_wheel")
def test_neither(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CnnccError, match="nvidia-cuda-nvrtc-cu12 is not installed, and there is no nvcc") as caught:
        cuda_compiler()
    assert "[cuda]" in (caught.value.hint or "")


@needs_nvcc
@pytest.mark.usefixtures("no_wheel")
def test_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles what NVRTC compiles, with the same registers and no spills; the module says which it was."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path))
    graph, _ = sources.read_bound("lenet5", None, 0)
    build = api.build(graph, Options(("cuda-sm_80",), dtype="float16"))
    assert build.info["cuda"]["compiler"] == f"nvcc {nvcc.version()}"
    cubin, ptx = build.images
    assert cubin.code[:4] == b"\x7fELF"
    assert ".target sm_80" in ptx.code.decode().rstrip("\0")
    assert ptx.code.endswith(b"\0")
    assert cubin.resources
    assert all(r.spill_stores == 0 for r in cubin.resources.values())
    with pytest.raises(CnnccError, match=r"the CUDA compiler failed for sm_80: nvcc ended with code \d+\n.*undefined"):
        nvcc.machine_code('extern "C" __global__ void k() { nothing(); }', "sm_80")
