"""What the CUDA compiler makes of the kernels: for every architecture, without spills, with wide loads."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from cuda.zoo import ZOO, network

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu import matmul
from cnncc.kernels.gpu.matmul import matmul_tiles
from cnncc.kernels.gpu.model import TENSOR_TILES, GpuTile, TensorTile, resident_blocks, tiles
from cnncc.machines import gpus
from cnncc.module.gpu import nvrtc as compiler
from cnncc.module.gpu.compiled import Resources, parse_resources
from cnncc.module.gpu.images import image_for
from cnncc.module.gpu.program import CudaProgram
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.options import Options

pytestmark = pytest.mark.usefixtures("nvrtc")
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100")


@cache
def program(name: str, target: str = "cuda") -> CudaProgram:
    return lower(network(name), gpus.load(target))


@cache
def source(name: str, target: str = "cuda") -> str:
    return program_source(program(name, target))


def check_resources(name: str, target: str) -> None:
    """No kernel spills, each fits a multiprocessor, and as often as the model that chose its tile believes."""
    gpu = gpus.load(target)
    for architecture in gpu.cubins:
        image = image_for(source(name, target), architecture)
        for kernel in program(name, target).kernels:
            found = image.resources[kernel.symbol]
            assert (found.spill_stores, found.spill_loads, found.stack_bytes) == (0, 0, 0), (architecture, kernel.name)
            assert found.shared_bytes <= 48 << 10, kernel.name
            assert resident_blocks(gpu, kernel.threads, found.registers, found.shared_bytes) >= 1, kernel.name
            tile = getattr(kernel.config, "tile", None)
            if isinstance(tile, GpuTile):
                assert found.shared_bytes == tile.shared_bytes, kernel.name
                assert found.registers <= tile.registers + 32, (kernel.name, found.registers, tile.registers)


@pytest.mark.parametrize("target", ["cuda-sm_80", "cuda-sm_90"])
def test_lenet5_fits_the_machine(target: str) -> None:
    check_resources("lenet5", target)


@pytest.mark.slow
@pytest.mark.parametrize("target", [f"cuda-{a}" for a in ARCHITECTURES])
@pytest.mark.parametrize("name", ZOO)
def test_zoo_fits_the_machine(name: str, target: str) -> None:
    check_resources(name, target)


def disassembly(architecture: str, code: bytes, folder: Path) -> dict[str, str]:
    """Machine instructions of each kernel, by symbol."""
    spec = find_spec("nvidia")
    places = spec.submodule_search_locations or () if spec else ()
    tool = next((tool for place in places for tool in Path(place).glob("*/bin/nvdisasm")), None)
    if tool is None:
        pytest.skip("the package nvidia-cuda-nvdisasm is not installed")
    file = folder / f"{architecture}.cubin"
    file.write_bytes(code)
    text = subprocess.run([str(tool), "-c", str(file)], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"^\.text\.(\w+):$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_convolutions_load_vectors_and_multiply_from_registers(architecture: str, tmp_path: Path) -> None:
    """16 bytes a load of device memory and of shared memory, and mostly multiply-adds in between."""
    image = image_for(source("lenet5"), architecture)
    code = disassembly(architecture, image.code, tmp_path)
    blocked = [k for k in program("lenet5").kernels if k.family == "conv" and k.config.geometry.in_block == 4]
    assert blocked
    for kernel in blocked:
        text = code[kernel.symbol]
        assert re.search(r"LDG\.E[\w.]*\.128", text), kernel.name
        assert re.search(r"LDS\.128", text), kernel.name
        assert not re.search(r"\b(LDL|STL)\b", text), kernel.name
        products = len(re.findall(r"\bFFMA\b", text))
        assert products >= kernel.config.tile.thread_rows * kernel.config.tile.thread_columns * 8, kernel.name


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        ("sm_75", "float16"),
        *((architecture, dtype) for architecture in ("sm_80", "sm_90") for dtype in TENSOR_TILES),
    ],
)
def test_tensor_cores_are_used(architecture: str, dtype: str, tmp_path: Path) -> None:
    graph = weights.bind(lang.read(resources.directory("models") / "lenet5.net"), None)
    chosen = lower(graph, gpus.load("cuda"), Options(dtype=dtype))
    image = image_for(program_source(chosen), architecture)
    code = disassembly(architecture, image.code, tmp_path)
    kernels = [k for k in chosen.kernels if k.work.tensor]
    assert kernels
    for kernel in kernels:
        found = image.resources[kernel.symbol]
        assert (found.spill_stores, found.stack_bytes, found.shared_bytes) == (0, 0, kernel.config.tile.shared_bytes)
        assert found.registers <= kernel.config.tile.registers + 16, (found.registers, kernel.config.tile.registers)
        assert "HMMA" in code[kernel.symbol]
        assert (".BF16" in code[kernel.symbol]) == (dtype == "bfloat16")
        assert (".TF32" in code[kernel.symbol]) == dtype.startswith("tf32")
        assert ("STS.64" if dtype.endswith("float16") else "STS.128") in code[kernel.symbol]
        assert "LDG.E.128" in code[kernel.symbol].replace(".CONSTANT", "")


@pytest.mark.parametrize("tile", [tile for tiles in TENSOR_TILES.values() for tile in tiles], ids=str)
def test_no_two_threads_want_different_words_of_a_bank(tile: TensorTile) -> None:
    """When the image is stored, and when fragments of both operands are loaded: of each row a thread stores a vector of
    four numbers, those of 128 bytes at a time, and loads one word of 8 rows and 4 words."""

    def banks(words: list[int]) -> set[int]:
        return {word % 32 for word in words}

    start = [row * tile.line + row // 8 % 2 * tile.shift for row in range(tile.rows)]
    wide = tile.element.itemsize
    for row in range(0, tile.rows, 32 // wide):
        stored = [start[row + i] + word for i in range(32 // wide) for word in range(wide)]
        assert len(banks(stored)) == 32
    for word in range(0, tile.words, 4):
        for row in range(0, tile.rows, 8):
            assert len(banks([start[row + g] + word + t for g in range(8) for t in range(4)])) == 32
        for column in range(0, tile.columns, 8):
            assert len(banks([(column + g) * tile.line + word + t for g in range(8) for t in range(4)])) == 32
    assert tile.words + tile.shift <= tile.line


def test_no_fast_math(tmp_path: Path) -> None:
    """Division and square root are exact: no kernel has the approximate ones alone."""
    text = source("alexnet")
    assert "__expf" not in text
    assert "use_fast_math" not in " ".join(compiler.FLAGS)


@pytest.mark.parametrize("in_block", [1, 4])
def test_every_tile_fits_a_block(in_block: int) -> None:
    """Those that no zoo network picks too: another target may."""
    for tile in tiles(in_block):
        assert tile.shared_bytes <= 48 << 10, tile
        assert tile.registers <= 200, tile
        assert tile.threads in (64, 128, 256), tile


def test_the_report_of_the_assembler_is_read() -> None:
    log = """\
ptxas info    : Compiling entry function 'k_1' for 'sm_80'
ptxas info    : Function properties for k_1
ptxas         .     8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 93 registers, used 1 barriers, 16384 bytes smem, 384 bytes cmem[0]
ptxas info    : Function properties for k_2
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 0 barriers, 384 bytes cmem[0]
"""
    found = parse_resources(log)
    assert found["k_1"] == Resources(93, 16384, 8, 12, 16)
    assert found["k_2"] == Resources(14, 0, 0, 0, 0)


def test_a_source_that_does_not_compile_is_an_error_with_the_compilers_words() -> None:
    with pytest.raises(CnnccError, match=r"the CUDA compiler failed for sm_80: NVRTC_ERROR_COMPILATION\n.*undefined"):
        compiler.machine_code('extern "C" __global__ void k() { nothing(); }', "sm_80")


def test_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    with pytest.raises(CnnccError, match="nvidia-cuda-nvrtc-cu12 is not installed") as caught:
        compiler.folder()
    assert "[cuda]" in (caught.value.hint or "")


def test_images_come_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path))
    text = 'extern "C" __global__ void __launch_bounds__(32) k(float* p) { p[threadIdx.x] = 1; }'
    first = image_for(text, "sm_80")
    monkeypatch.setattr(compiler, "machine_code", None)
    assert image_for(text, "sm_80") == first
    assert os.listdir(tmp_path)


OTHERS = (
    "group_norm 6 relu; group_norm 24; layernorm gelu; rmsnorm; grn; prelu; channel_mean; output\n"
    "from a; matmul { | permute 24x40x40 axes 0,2,1 to 24x40x40 } gelu; softmax_rows; topk 3; topk 2 last; output\n"
    "from a; sigmoid; log; power 0.3; acosh; div { | from a } silu; mod { | sigmoid }; resize 50x60 cubic; output\n"
    "from a; conv 1x1 20; shuffle 5; take 2,0,1; unfold 3x3; strided_slice 9x38x38 step 2,1,1; output\n"
    "from a; sample { | conv 1x1 2 tanh } cubic reflection; roi_align { | const 5x1x4 } 7x7; output\n"
    "from a; topk 9; output\n"
    "from a; argmaxpool 2x2 /2; save p; from a; maxpool 2x2 /2; unpool { | from p } 40x40; output\n"
    "from a; gather { | const 24x9x1 }; scatter { | const 24x4x1 | const 24x4x40 } add; channel_max; output\n"
    "from a; slice 0:1; reshape 1x400x4; save b; from a; slice 1:2; reshape 1x4x400; save s\n"
    "nms { from b | from s } 7 iou 0.3; output"
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_kernel_of_other_ops_spills(architecture: str) -> None:
    """Nor has any a stack: arrays of a thread lie in registers."""
    graph = weights.bind(lang.parse(f"net t\ninput 24x40x40\nrelu; save a; {OTHERS}\n"), None)
    chosen = lower(graph, gpus.load("cuda-sm_80"))
    image = image_for(program_source(chosen), architecture)
    for kernel in chosen.kernels:
        found = image.resources[kernel.symbol]
        assert (found.spill_stores, found.spill_loads, found.stack_bytes) == (0, 0, 0), kernel.name


def test_every_tile_of_a_matmul_fits_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its registers are about those that the model takes for granted; both operands are read in vectors."""
    graph = weights.bind(lang.parse("net t\ninput 2x40x40\nmatmul { | relu }\n"), None)
    for tile in matmul_tiles():
        monkeypatch.setattr(matmul, "matmul_tiles", lambda tile=tile: (tile,))
        chosen = lower(graph, gpus.load("cuda-sm_80"))
        (kernel,) = (k for k in chosen.kernels if k.family == "matmul")
        found = image_for(program_source(chosen), "sm_80").resources[kernel.symbol]
        assert (found.spill_stores, found.stack_bytes, found.shared_bytes) == (0, 0, tile.shared_bytes)
        assert found.registers <= tile.registers + 32, (tile.label, found.registers, tile.registers)
