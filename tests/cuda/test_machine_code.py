"""What the CUDA compiler makes of the kernels: for every architecture, without spills, with wide loads."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from cuda.checked import NodeRun, library
from cuda.zoo import ZOO, network

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.base.elements import FLOAT16
from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu import conv, matmul
from cnncc.kernels.gpu.matmul import matmul_tiles
from cnncc.kernels.gpu.model import (
    BYTE_TENSOR_TILES,
    TENSOR_TILES,
    ByteTensorTile,
    GpuTile,
    HalfTile,
    TensorTile,
    byte_tiles,
    resident_blocks,
    tiles,
)
from cnncc.kernels.gpu.spec import GpuKernel
from cnncc.machines import gpus
from cnncc.machines.gpus import Gpu
from cnncc.module.gpu import nvrtc as compiler
from cnncc.module.gpu.compiled import Resources, parse_resources
from cnncc.module.gpu.images import image_for
from cnncc.module.gpu.program import CudaProgram
from cnncc.module.gpu.source import cuda_source, program_source
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


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["tf32", "tf32x3"])
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
        assert ".TF32" in code[kernel.symbol]
        assert "STS.128" in code[kernel.symbol]
        assert "LDG.E.128" in code[kernel.symbol].replace(".CONSTANT", "")


def loop_of(text: str) -> str:
    """The loop of a kernel that multiplies: from its label to where it goes back."""
    for branch in re.finditer(r"BRA.*`\((\.L_\w+)\)", text):
        label = text.find(f"\n{branch[1]}:")
        if 0 <= label < branch.start() and re.search("HMMA|IMMA|IDP", text[label : branch.start()]):
            return text[label : branch.start()]
    raise AssertionError("no loop")


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [("sm_75", "float16"), ("sm_80", "float16"), ("sm_80", "bfloat16"), ("sm_90", "float16")],
)
def test_halves_are_multiplied_as_they_are(architecture: str, dtype: str, tmp_path: Path) -> None:
    """With every tile: while a kernel multiplies, halves go from memory to shared memory without a register on the way,
    where there is an instruction for that, and from there to the tensor cores; nothing converts them. Nothing spills,
    and a multiprocessor holds as many blocks as the model that chooses tiles believes."""
    gpu, body = gpus.load(f"cuda-{architecture}"), "relu; conv 1x1 264; save a; conv 3x3 264; add { | from a } relu"
    graph = weights.bind(lang.parse(f"net t\ninput 2048x57x53\n{body}\n"), None)
    kernels: dict[GpuKernel, None] = {}
    for tile in TENSOR_TILES[dtype]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conv, "tiles_of", lambda site, geometry, tile=tile: (tile,))
            chosen = lower(graph, gpu, Options(batch=8, dtype=dtype))
        kernels |= dict.fromkeys(k for k in chosen.kernels if k.family == "half_conv")
    image = image_for(cuda_source(tuple(kernels), architecture), architecture)
    code = disassembly(architecture, image.code, tmp_path)
    assert {kernel.config.tile for kernel in kernels} == set(TENSOR_TILES[dtype])
    for kernel in kernels:
        tile, found, loop = kernel.config.tile, image.resources[kernel.symbol], loop_of(code[kernel.symbol])
        assert (found.spill_stores, found.spill_loads, found.stack_bytes) == (0, 0, 0), kernel.name
        assert found.shared_bytes == tile.shared_bytes
        if architecture != "sm_75":  # which has more registers for each thread than shared memory
            assert blocks_at_once(gpu, tile, found.registers) >= blocks_at_once(gpu, tile, tile.registers), kernel.name
        down, across = tile.fragments
        loads, products = down + across // 2, down * across * (2 if architecture == "sm_75" else 1)
        count = Counter(re.findall(r"\b(LDSM|HMMA|LDGSTS|LDG|STS|F2F|F2FP|HADD2|I2F)\b", loop))
        assert count["LDSM"] > 0
        assert count["LDSM"] % (loads * tile.words // 8) == 0
        assert count["HMMA"] * loads == count["LDSM"] * products
        assert (".BF16" in loop) == (dtype == "bfloat16")
        assert count.keys() <= {"LDSM", "HMMA", *(("LDG", "STS") if architecture == "sm_75" else ("LDGSTS",))}
        if architecture == "sm_75":
            assert "LDG.E.128" in loop
            assert "STS.128" in loop
        else:
            assert count["LDGSTS"] >= (tile.rows + tile.columns) * tile.per_line / tile.threads


def blocks_at_once(gpu: Gpu, tile: TensorTile, registers: int) -> int:
    """That a multiprocessor holds, if a thread takes so many registers."""
    return resident_blocks(gpu, tile.threads, registers, tile.shared_bytes)


ON_BYTES = (
    "input 1024x57x53\nquantize uint8 0.02 3; qconv 1x1 272 to uint8 scale 0.1 zero 3; save a\n"
    "qconv { | from a } 3x3 272 to uint8 scale 0.1 zero 9; relu"
)


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_bytes_are_multiplied_as_they_are(architecture: str, tmp_path: Path) -> None:
    """With every tile on tensor cores, and with some that multiply words: nothing in the loop converts numbers. After
    it each product and each sum is rounded by itself: no instruction makes both."""
    gpu, graph = gpus.load(f"cuda-{architecture}"), weights.bind(lang.parse(f"net t\n{ON_BYTES}\n"), None)
    on_tensor_cores = architecture != "sm_75"
    made = BYTE_TENSOR_TILES if on_tensor_cores else byte_tiles()[::5]
    kernels: dict[GpuKernel, None] = {}
    for tile in made:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conv, "tiles_of", lambda site, geometry, tile=tile: (tile,))
            chosen = lower(graph, gpu, Options(batch=8))
        kernels |= dict.fromkeys(k for k in chosen.kernels if k.family in ("byte_conv", "byte_tensor_conv"))
    image = image_for(cuda_source(tuple(kernels), architecture), architecture)
    code = disassembly(architecture, image.code, tmp_path)
    assert {kernel.config.tile for kernel in kernels} == set(made)
    for kernel in kernels:
        tile, found, text = kernel.config.tile, image.resources[kernel.symbol], code[kernel.symbol]
        assert (found.spill_stores, found.spill_loads, found.stack_bytes) == (0, 0, 0), kernel.name
        assert found.shared_bytes == tile.shared_bytes
        if on_tensor_cores:
            assert blocks_at_once(gpu, tile, found.registers) >= blocks_at_once(gpu, tile, tile.registers), kernel.name
        else:
            assert found.registers <= tile.registers + 32, (kernel.name, found.registers, tile.registers)
        all_of_it = Counter(re.findall(r"\b(FFMA|FMUL|FADD|F2I|STG)\b", text))
        assert all_of_it["FFMA"] == 0, kernel.name
        assert all_of_it["FMUL"] > 0
        assert (all_of_it["FADD"] > 0) == bool(kernel.config.extras)
        if "BRA" not in text or kernel.config.steps <= 16:
            continue  # so short that the compiler unrolled it
        count = Counter(re.findall(r"\b(LDSM|IMMA|IDP|LDGSTS|I2F|F2I|FMUL)\b", loop_of(text)))
        if on_tensor_cores:
            down, across = tile.fragments
            assert count.keys() <= {"LDSM", "IMMA", "LDGSTS"}
            assert count["IMMA"] * (down + across // 2) == count["LDSM"] * down * across
            assert count["LDGSTS"] >= (tile.rows + tile.columns) * tile.per_line / tile.threads
        else:
            assert count.keys() == {"IDP"}
            assert count["IDP"] % (tile.thread_rows * tile.thread_columns) == 0


def in_one_go(places: list[int]) -> bool:
    """Whether accesses of 16 bytes at these words of shared memory, by eight threads, want no bank twice."""
    return len({(place + word) % 32 for place in places for word in range(4)}) == 32


@pytest.mark.parametrize(
    "tile",
    [t for tiles in (*TENSOR_TILES.values(), BYTE_TENSOR_TILES) for t in tiles if isinstance(t, HalfTile)],
    ids=str,
)
def test_vectors_of_halves_and_bytes_lie_in_different_banks(tile: HalfTile) -> None:
    """When copies of the image arrive, neighbouring threads' being those of neighbouring pixels, and when fragments of
    both operands are loaded: an access of 16 bytes is made for eight threads at a time. Copies of weights arrive in the
    order of their places. No two vectors have one place."""

    def place(row: int, part: int) -> int:
        return row * tile.line + (part ^ tile.key(row)) * 4

    lines = max(tile.rows, tile.columns)
    places = {place(row, part) for row in range(lines) for part in range(tile.per_line)}
    assert places == set(range(0, lines * tile.line, 4))
    for first in range(0, lines, 8):
        for part in range(tile.per_line):
            assert in_one_go([place(first + i, part) for i in range(8)])


def conflicts(tile: HalfTile, kept: Path, change: Callable[[str], str]) -> tuple[int, int]:
    """Accesses of 16 bytes to shared memory by a convolution with that tile, and how many of them want a bank that
    another of the same eight threads wants too, as the emulator notes it. `change` is made to its source."""
    on_bytes = isinstance(tile, ByteTensorTile)
    body = "quantize uint8 0.02 9; qconv 3x3 136 /2 to uint8 scale 0.1 zero 3" if on_bytes else "conv 3x3 136 /2 relu"
    graph = weights.bind(lang.parse(f"net t\ninput 72x9x11\n{body}\n"), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "tiles_of", lambda site, geometry: (tile,))
        chosen = lower(graph, gpus.load("cuda-sm_80"), Options(dtype="float32" if on_bytes else "float16"))
    run = NodeRun(chosen, next(node for node in chosen.graph.nodes if node.op in ("conv", "qconv")))
    lib = library(change(run.source()), kept)
    numbers = [ctypes.c_int.in_dll(lib, f"cnncc_{name}") for name in ("wide_accesses", "bank_conflicts")]
    for number in numbers:
        number.value = 0
    run.run(lib)
    return numbers[0].value, numbers[1].value


@pytest.mark.parametrize("tile", [*TENSOR_TILES["float16"], *BYTE_TENSOR_TILES[::3]], ids=str)
def test_every_address_of_a_kernel_of_halves_or_bytes_is_free_of_conflicts(tile: HalfTile, kept: Path) -> None:
    """The same of what a kernel does: each address that eight threads of a warp copy to, or name as a row of a
    matrix."""
    accesses, found = conflicts(tile, kept, lambda text: text)
    assert accesses > 1000
    assert found == 0


def test_conflicts_are_noticed(kept: Path) -> None:
    """Without the key, by which rows differ in where their vectors lie."""

    def change(text: str) -> str:
        changed = re.sub(r"\((t_\d+) \^ t_\d+\) \* 4", r"(\1) * 4", text)
        assert changed != text
        return changed

    accesses, found = conflicts(HalfTile(64, 64, 2, 2, 32, FLOAT16, 4), kept, change)
    assert found > accesses / 10


@pytest.mark.parametrize("tile", [t for dtype in ("tf32", "tf32x3") for t in TENSOR_TILES[dtype]], ids=str)
def test_no_two_threads_want_different_words_of_a_bank(tile: TensorTile) -> None:
    """When the image is stored, and when fragments of both operands are loaded: of each row a thread stores a vector of
    four numbers, those of 128 bytes at a time, and loads one word of 8 rows and 4 words."""

    def banks(words: list[int]) -> set[int]:
        return {word % 32 for word in words}

    for row in range(0, tile.rows, 8):
        assert len(banks([(row + i) * tile.line + word for i in range(8) for word in range(4)])) == 32
    for word in range(0, tile.words, 4):
        for row in range(0, max(tile.rows, tile.columns), 8):
            assert len(banks([(row + g) * tile.line + word + t for g in range(8) for t in range(4)])) == 32


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
        compiler.machine_code(compiler.folders()[0], 'extern "C" __global__ void k() { nothing(); }', "sm_80")


def test_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    with pytest.raises(CnnccError, match="nvidia-cuda-nvrtc-cu12 is not installed") as caught:
        compiler.folders()
    assert "[cuda]" in (caught.value.hint or "")


def test_images_come_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path))
    text = 'extern "C" __global__ void __launch_bounds__(32) k(float* p) { p[threadIdx.x] = 1; }'
    first = image_for(text, "sm_80")
    monkeypatch.setattr(compiler, "_compile", None)  # a call would fail
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


ON_HALVES = (
    "save a; dwconv 3x3 /2 relu6; dwconv 5x5 silu; maxpool 3x3 /2; output; from a; avgpool 3x3 /2; upsample 2; output\n"
    "from a; bn relu; prelu; save b; concat { | conv 3x3 9 | from a }; slice 3:20; pad 1 reflect; output\n"
    "from a; mul { | gap; conv 1x1 24 sigmoid }; mul { | conv 1x1 1 sigmoid }; gelu; add { | from b }; gmp; output\n"
    "from a; upconv 3x3 16 /2 tanh; fc 70 relu; fc 30; softmax; output"
)


BYTES = (
    "quantize uint8 0.02 9; save a; qconv 3x3 32 groups 32 /2 to uint8 scale 0.1 zero 9; maxpool 3x3; output; from a\n"
    "qupconv 3x3 16 /2 to int8 scale 0.1 zero 9; relu; qgap; output; from a; qadd { | qconv 1x1 32 to int8 "
    "scale 0.2 zero 1 } to uint8 scale 0.1 zero 8; save b; qfc 10; softmax; output; from a; dequantize; silu\n"
    "quantize int8 0.02 3; qmul { | from b; qgap } to uint8 scale 0.1 zero 3; permute 32x56x56 axes 1,2,0 to 56x56x32\n"
    "qconv 3x3 8 to uint8 scale 0.1 zero 7; dequantize; cast int32; maxpool 2x2; cast int8; output"
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_kernel_on_bytes_spills(architecture: str) -> None:
    graph = weights.bind(lang.parse(f"net t\ninput 32x56x56 mean 3 std 4\n{BYTES}\n"), None)
    chosen = lower(graph, gpus.load(f"cuda-{architecture}"), Options(batch=64))
    families = {kernel.family for kernel in chosen.kernels}
    assert families >= {"byte_conv", "window", "convert", "bytes", "byte_mean", "turn"}
    image = image_for(program_source(chosen), architecture)
    for kernel in chosen.kernels:
        found = image.resources[kernel.symbol]
        assert (found.spill_stores, found.spill_loads, found.stack_bytes) == (0, 0, 0), kernel.name


@pytest.mark.parametrize(("architecture", "dtype"), [
    *((architecture, "float16") for architecture in ARCHITECTURES), ("sm_80", "bfloat16"), ("sm_90", "bfloat16"),
])  # fmt: skip
def test_no_kernel_of_halves_spills(architecture: str, dtype: str) -> None:
    """Of a large batch, for which threads have the longest strips."""
    graph = weights.bind(lang.parse(f"net t\ninput 24x56x56\nconv 1x1 24 relu; {ON_HALVES}\n"), None)
    chosen = lower(graph, gpus.load(f"cuda-{architecture}"), Options(batch=64, dtype=dtype))
    families = {kernel.family for kernel in chosen.kernels}
    assert families >= {"half_conv", "window", "elementwise", "copy", "global_pool", "dense", "resample"}
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
