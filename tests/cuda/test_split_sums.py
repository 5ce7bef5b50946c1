"""Sums that several blocks share: whole modules whose kernels have counters, and may overlap."""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cuda.checked import ORDERS, NodeRun, library
from cuda.small import Device
from cuda.stand_in import stand_in
from cuda.test_algorithms import site_of
from cuda.test_kernels import program
from cuda.test_machine_code import disassembly
from cuda.zoo import network
from written import write_shared

import cnncc
from cnncc import lang, weights
from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu.conv import GpuDirectChoice, configure, conv_kernel
from cnncc.kernels.gpu.model import TENSOR_TILES, resident_blocks, tiles
from cnncc.kernels.shared.convolution import conv_geometry
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.images import image_for
from cnncc.module.gpu.program import CudaProgram, kernel_of
from cnncc.module.gpu.source import cuda_source, program_source
from cnncc.module.lower import lower
from cnncc.ops.reference import run as reference_run
from cnncc.options import Options
from cnncc.runtime.cuda.driver import emulated_driver

TEXT = "net shared\ninput 200x5x5\nconv 3x3 40 relu; save a; conv 3x3 40; add { | from a }; conv 1x1 70 silu; gap"


@cache
def chosen(batch: int = 2) -> CudaProgram:
    found = lower(weights.bind(lang.parse(TEXT), None), gpus.load("cuda-sm_90"), Options(batch=batch))
    assert sum(kernel_of(c).counters > 0 for c in found.calls) >= 2
    return found


def build(*architectures: str, source: str = "") -> CudaBuild:
    return CudaBuild(chosen(), source or program_source(chosen()), [stand_in(name) for name in architectures])


@pytest.fixture
def shared(emulated: None, tmp_path: Path) -> Path:
    made = build("compute_90")
    assert write_shared(made, tmp_path / "shared.so")
    return tmp_path / "shared.so"


def pictures(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 200, 5, 5), dtype=np.float32)


def expected(images: np.ndarray) -> np.ndarray:
    graph = chosen().source
    return reference_run(graph, {graph.inputs[0].name: images})[graph.outputs[0]]


def check(got: np.ndarray, seed: int = 0) -> None:
    wanted = expected(pictures(seed))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


# ---- kernels ----


def test_the_result_does_not_depend_on_which_block_is_last(kept: Path) -> None:
    """With whole and cut tiles, groups, a residual, several images, more parts than are loaded together."""
    body = (
        "input 300x5x5\nrelu; conv 3x3 40 relu; conv 3x3 40 groups 2; save a; conv 1x1 300; conv 3x3 40\n"
        "add { | from a }"
    )
    for dtype, batch in (("float32", 2), ("float16", 3), ("float32", 1)):
        found = program(body, batch, dtype=dtype)
        split = [n for n, s in found.selections.items() if kernel_of(s.calls[0]).counters]
        assert len(split) >= 2
        for name in split:
            run = NodeRun(found, found.graph[name])
            lib = library(run.source(), kept)
            first, *others = (run.run(lib, order) for order in ORDERS)
            assert run.error(first) <= (1e-3 if dtype == "float16" else 4e-6)
            for other in others:
                np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("target", ["cuda-sm_80", "cuda-sm_90"])
def test_launches_of_resnet50(target: str, dtype: str) -> None:
    """One for each convolution, and five more; of halves also one that makes them of the input. Winograd, where it is
    chosen, has two more that transform."""
    found = lower(network("resnet50_v1_5"), gpus.load(target), Options(dtype=dtype))
    transforms = [c for c in found.calls if kernel_of(c).family.startswith("winograd")]
    assert len(found.calls) - len(transforms) <= 58 + (dtype != "float32")
    assert dtype == "float32" or not transforms
    assert sum(kernel_of(c).counters > 0 for c in found.calls) >= (20 if dtype == "float32" else 10)


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_machine_code(architecture: str, tmp_path: Path, nvrtc: None) -> None:
    """A fence on both sides of the count, no load of parts by the cache for constants, no spill; waiting and letting
    the next kernel start where there are instructions for it, before anything is read."""
    image = image_for(program_source(chosen()), architecture)
    code = disassembly(architecture, image.code, tmp_path)
    for kernel in chosen().kernels:
        text, found = code[kernel.symbol], image.resources[kernel.symbol]
        assert (found.spill_stores, found.spill_loads, found.stack_bytes) == (0, 0, 0)
        waits, starts = text.find("ACQBULK"), text.find("PREEXIT")
        if architecture == "sm_90":
            assert 0 < waits < text.find("LDG")
            assert waits < starts
        else:
            assert (waits, starts) == (-1, -1)
        if kernel.counters:
            count = re.search(r"ATOMG[\w.]*\.INC", text)
            assert count
            fences = [m.start() for m in re.finditer(r"MEMBAR\.", text)]
            assert fences[0] < count.start() < fences[-1]
            assert "CONSTANT" not in text
            assert "BAR.RED.OR" in text


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", *TENSOR_TILES])
def test_adding_parts_takes_no_registers_from_the_products(dtype: str, architecture: str, nvrtc: None) -> None:
    """Of every tile. More would mean fewer blocks at a time while all of them multiply."""
    gpu = gpus.load(f"cuda-{architecture}")
    site = site_of("relu; conv 3x3 256", "512x14x14", dtype=dtype, batch=3)
    shapes = TENSOR_TILES[dtype] if dtype in TENSOR_TILES else tiles(4)[::3]
    pairs = []
    for tile in shapes:
        configs = (configure(site, conv_geometry(site), GpuDirectChoice(tile, splits)) for splits in (1, 3))
        pairs.append([conv_kernel(config, site) for config in configs])
    image = image_for(cuda_source(tuple(kernel for pair in pairs for kernel in pair), "sm_80"), architecture)
    for tile, pair in zip(shapes, pairs, strict=True):
        whole, split = (image.resources[kernel.symbol] for kernel in pair)
        for found in (whole, split):
            assert (found.spill_stores, found.spill_loads, found.stack_bytes) == (0, 0, 0), tile.label
            assert found.shared_bytes == tile.shared_bytes
        about = max(whole.registers, tile.registers) + 24
        at_once = [resident_blocks(gpu, tile.threads, r, tile.shared_bytes) for r in (split.registers, about)]
        assert at_once[0] >= at_once[1], (tile.label, whole, split)


# ---- modules ----


def test_counters_are_zero_again_for_every_run(shared: Path, driver: ctypes.CDLL) -> None:
    """Also in graphs; of the memory that a slot gets nothing is zero."""
    model = cnncc.load(shared)
    for seed in (0, 1, 2, 0):
        check(model(pictures(seed)), seed)
    assert driver.cnncc_emulator_calls(b"cuGraphLaunch") == 3
    assert driver.cnncc_emulator_calls(b"cuMemsetD8Async") == 1
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_blocks_gives_the_same_bits(
    order: int, shared: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cnncc.load(shared)
    first = model(pictures())
    monkeypatch.setenv("CNNCC_EMULATOR_ORDER", str(order))
    np.testing.assert_array_equal(model(pictures()), first)
    model.release()


def test_threads_have_counters_of_their_own(shared: Path, driver: ctypes.CDLL) -> None:
    model = cnncc.load(shared)
    with ThreadPoolExecutor(4) as pool:
        for seed, got in enumerate(pool.map(model, map(pictures, range(8)))):
            check(got, seed)
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


def test_an_arena_of_the_caller_may_hold_anything(shared: Path, driver: ctypes.CDLL) -> None:
    """On a stream, captured, and in a run that waits, in an arena that is spoilt between the runs."""
    library = ctypes.CDLL(str(shared))
    library.shared_driver(str(emulated_driver()).encode())
    library.shared_model_get.restype = ctypes.c_void_p
    library.shared_device_arena_bytes.restype = ctypes.c_size_t
    model, device, stream = ctypes.c_void_p(library.shared_model_get()), Device(driver), ctypes.c_void_p()
    image, result = device.upload(pictures()), device.allocate(2 * 70 * 4)
    size = library.shared_device_arena_bytes()
    arena = device.upload(np.full(size // 4, 3, np.uint32))
    assert driver.cuStreamCreate(ctypes.byref(stream), 1) == 0
    assert library.shared_run_async(model, 2, image, result, arena, stream) == 0
    assert driver.cuStreamSynchronize(stream) == 0
    check(device.download(result, (2, 70, 1, 1)))
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    assert driver.cuStreamBeginCapture_v2(stream, 0) == 0
    assert library.shared_run_async(model, 2, image, result, arena, stream) == 0
    assert driver.cuStreamEndCapture(stream, ctypes.byref(graph)) == 0
    assert driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0)) == 0
    for _ in range(2):
        assert driver.cuMemsetD8Async(arena, 7, ctypes.c_size_t(size), stream) == 0
        assert driver.cuMemsetD8Async(result, 255, ctypes.c_size_t(2 * 70 * 4), stream) == 0
        assert driver.cuGraphLaunch(executable, stream) == 0
        assert driver.cuStreamSynchronize(stream) == 0
        check(device.download(result, (2, 70, 1, 1)))
        assert driver.cuMemsetD8Async(arena, 7, ctypes.c_size_t(size), stream) == 0
        assert library.shared_run(model, 2, image, result, arena) == 0
        check(device.download(result, (2, 70, 1, 1)))


@pytest.mark.parametrize(("architecture", "version", "overlaps"), [
    ("compute_90", 12030, True),
    ("sm_90", 12080, True),
    ("compute_90", 12020, False),
    ("compute_80", 12080, False),
])  # fmt: skip
def test_kernels_overlap_where_they_wait_themselves(
    architecture: str, version: int, overlaps: bool, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the first one of a run, which waits for what is not ours; on drivers that can capture it."""
    monkeypatch.setenv("CNNCC_EMULATOR_DRIVER", str(version))
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", "90")
    model = build(architecture).model()
    driver.cnncc_emulator_reset()
    for seed in range(3):
        check(model(pictures(seed)), seed)
    assert model.info["device"]["overlap"] == overlaps
    number = len(chosen().calls)
    assert driver.cnncc_emulator_calls(b"cuLaunchKernel") == 2 * (1 if overlaps else number)
    assert driver.cnncc_emulator_calls(b"cuLaunchKernelEx") == 2 * (number - 1) * overlaps
    model.release()


def test_a_kernel_that_does_not_wait_is_noticed(driver: ctypes.CDLL) -> None:
    """The rule is in the emulated driver: what does not wait comes too early."""
    source = program_source(chosen())
    at = source.rindex("cnncc_follow();")
    model = build("compute_90", source=source[:at] + source[at:].replace("cnncc_follow();", "", 1)).model()
    with pytest.raises(AssertionError):
        check(model(pictures()))
    model.release()


@pytest.mark.parametrize("function", ["cuMemsetD8Async", "cuLaunchKernelEx"])
def test_an_error_is_told_and_leaks_nothing(
    function: str, shared: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cnncc.load(shared)
    model(pictures())
    model.release()
    driver.cnncc_emulator_reset()
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"{function}:1:2")
    with pytest.raises(CnnccError, match=f"out of device memory: {function}"):
        model(pictures())
    check(model(pictures()))
    model.release()
    assert driver.cnncc_emulator_live() == driver.before
