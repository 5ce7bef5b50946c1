"""A whole module through the driver's calls: results, errors at each call, devices, streams, memory."""

from __future__ import annotations

import ctypes
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cuda.small import TEXT, Device, expected, opened, picture, small
from cuda.stand_in import stand_in
from written import write_shared

import cnncc
from cnncc import api, lang, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.ops.reference import run as reference_run
from cnncc.options import Options
from cnncc.report import check
from cnncc.runtime.cuda.interface import CUDA_TEXTS, INTERFACE, CudaCode

FUNCTIONS = re.findall(r"^    F\((\w+),", (resources.PACKAGE / "runtime/cuda/driver.h").read_text(), re.M)


def test_results_at_the_first_run_and_from_the_graph(path: Path, driver: ctypes.CDLL) -> None:
    model = cnncc.load(path)
    for seed in range(4):
        image = picture(seed)
        np.testing.assert_allclose(model(image), expected(image), atol=1e-6)
    assert driver.cnncc_emulator_calls(b"cuGraphLaunch") == 3
    assert driver.cnncc_emulator_calls(b"cuStreamBeginCapture_v2") == 1
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


def test_a_released_model_opens_again(path: Path, driver: ctypes.CDLL) -> None:
    model = cnncc.load(path)
    first = model(picture())
    model.release()
    np.testing.assert_array_equal(model(picture()), first)
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


def test_threads_share_a_model(path: Path, driver: ctypes.CDLL) -> None:
    model = cnncc.load(path)
    images = [picture(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for image, got in zip(images, pool.map(model, images), strict=True):
            np.testing.assert_allclose(got, expected(image), atol=1e-6)
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


ERRORS = [(2, "out of device memory"), (4, "reported an error"), (46, "is not free")]
FAILING = [f for f in FUNCTIONS if not f.startswith("cuGetError")]
QUIET = re.compile("Free|Destroy|Release|Unload|Pop")
"""Of what cleans up a failure is no failure of the run."""
WITHOUT = {
    "graph": re.compile("StreamBeginCapture|StreamEndCapture|Instantiate|GraphLaunch"),
    "copies": re.compile("MemAllocHost"),
}
"""If they fail, the run does without something, and says so under this name."""


@pytest.mark.parametrize(
    ("function", "code", "text"),
    dict.fromkeys(
        [
            *((function, *ERRORS[i % len(ERRORS)]) for i, function in enumerate(FAILING)),
            *((function, *error) for function in ("cuGraphLaunch", "cuMemAlloc_v2") for error in ERRORS),
        ]
    ),
)
def test_an_error_of_any_call_is_told_and_leaks_nothing(
    function: str, code: int, text: str, path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first, second and third call of each function fails, whatever run that is in."""
    for nth in (1, 2, 3):
        driver.cnncc_emulator_reset()
        before = driver.cnncc_emulator_live()  # what a failing free left behind earlier
        model = cnncc.load(path)
        monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"{function}:{nth}:{code}")
        errors, states = [], []
        for _ in range(3):
            try:
                np.testing.assert_allclose(model(picture()), expected(picture()), atol=1e-6)
                states.append(model.info["device"])
            except CnnccError as error:
                errors.append(str(error))
        called = driver.cnncc_emulator_calls(function.encode()) >= nth
        monkeypatch.delenv("CNNCC_EMULATOR_FAIL")
        quiet = QUIET.search(function) is not None
        of_leaving = function == "cuThreadExchangeStreamCaptureMode" and nth % 2 == 0
        if called and not quiet and not of_leaving:
            without = [name for name, functions in WITHOUT.items() if functions.search(function)]
            if function == "cuLaunchKernel" and not errors:
                without = ["graph"]  # of the capture
            assert bool(errors) != bool(without), (function, nth)
            for name in without:
                assert any(": " in state[name] for state in states), states
        assert all(text in error and function.removesuffix("_v2") in error for error in errors), errors
        np.testing.assert_allclose(model(picture()), expected(picture()), atol=1e-6)
        model.release()
        if not quiet:
            assert driver.cnncc_emulator_live() == before, (function, nth)


def test_no_driver(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_CUDA_DRIVER", "/nowhere/libcuda.so.1")
    with pytest.raises(CnnccError, match=r"no CUDA driver: /nowhere/libcuda\.so\.1: cannot open"):
        cnncc.load(path)(picture())


def test_a_library_that_is_no_driver(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_CUDA_DRIVER", str(path))
    with pytest.raises(CnnccError, match="the driver is too old, it lacks cuInit"):
        cnncc.load(path)(picture())


def test_no_device(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_DEVICES", "0")
    with pytest.raises(CnnccError, match="no such CUDA device"):
        cnncc.load(path)(picture())


@pytest.mark.parametrize(
    ("capability", "architectures"), [(70, ("sm_75",)), (75, ("sm_80",)), (90, ("sm_80", "sm_86"))]
)
def test_a_device_without_code(
    capability: int, architectures: tuple[str, ...], emulated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", str(capability))
    path, _ = write_shared(small(*architectures), tmp_path / "small.so")
    text = f"older than every architecture.*emulated device 0 has compute capability {capability // 10}"
    with pytest.raises(CnnccError, match=text):
        cnncc.load(path)(picture())


def test_code_of_an_earlier_chip_of_the_same_generation_serves(
    emulated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", "89")
    path, _ = write_shared(small("sm_75", "sm_86", "sm_90"), tmp_path / "small.so")
    np.testing.assert_allclose(cnncc.load(path)(picture()), expected(picture()), atol=1e-6)


def test_device_pointers_and_a_stream_of_the_caller(path: Path, driver: ctypes.CDLL) -> None:
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    image, result = device.upload(picture()), device.allocate(5 * 4)
    arena = device.allocate(library.small_device_arena_bytes())
    stream = ctypes.c_void_p()
    assert driver.cuStreamCreate(ctypes.byref(stream), 1) == 0
    assert library.small_run_async(model, 1, image, result, arena, stream) == 0
    assert driver.cuStreamSynchronize(stream) == 0
    np.testing.assert_allclose(device.download(result, (1, 5)), expected(picture()), atol=1e-6)
    # The same arrays through the call that waits, with the caller's arena and with the model's.
    for given in (arena, None):
        host = np.zeros((1, 5), np.float32)
        assert library.small_run(model, 1, image, ctypes.c_void_p(host.ctypes.data), given) == 0
        np.testing.assert_allclose(host, expected(picture()), atol=1e-6)
    odd = ctypes.c_void_p((image.value or 0) + 4)
    assert library.small_run_async(model, 1, odd, result, arena, stream) == CudaCode.MISALIGNED
    host_memory = ctypes.c_void_p(picture().ctypes.data)
    assert library.small_run_async(model, 1, host_memory, result, arena, stream) == CudaCode.NOT_DEVICE_MEMORY
    assert library.small_run_async(model, 1, image, result, None, stream) == CudaCode.NOT_DEVICE_MEMORY
    for images in (-1, 0, 2):
        assert library.small_run(model, images, image, result, None) == CudaCode.BAD_IMAGES
        assert library.small_run_async(model, images, image, result, arena, stream) == CudaCode.BAD_IMAGES
    assert library.small_run(model, 1, None, result, None) == CudaCode.NULL_POINTER
    assert library.small_run(None, 1, image, result, None) == CudaCode.NULL_POINTER
    assert library.small_error(CudaCode.NULL_POINTER) == b"a pointer is null"


def test_a_run_can_be_captured_by_the_caller(path: Path, driver: ctypes.CDLL) -> None:
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    image, result = device.upload(picture()), device.allocate(5 * 4)
    arena = device.allocate(library.small_device_arena_bytes())
    stream, graph, executable = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    assert driver.cuStreamCreate(ctypes.byref(stream), 1) == 0
    assert driver.cuStreamBeginCapture_v2(stream, 1) == 0
    assert library.small_run_async(model, 1, image, result, arena, stream) == 0
    assert driver.cuStreamEndCapture(stream, ctypes.byref(graph)) == 0
    assert np.isnan(device.download(result, (1, 5))).all()
    assert driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0)) == 0
    assert driver.cuGraphLaunch(executable, stream) == 0
    assert driver.cuStreamSynchronize(stream) == 0
    np.testing.assert_allclose(device.download(result, (1, 5)), expected(picture()), atol=1e-6)


def test_several_devices(path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_DEVICES", "2")
    library = opened(path)
    assert library.small_model_on(16) is None
    assert library.small_model_on(-1) is None
    image, results = picture(), []
    for number in (0, 1):
        host = np.zeros((1, 5), np.float32)
        model = ctypes.c_void_p(library.small_model_on(number))
        arguments = (ctypes.c_void_p(image.ctypes.data), ctypes.c_void_p(host.ctypes.data), None)
        assert library.small_run(model, 1, *arguments) == 0
        results.append(host)
    np.testing.assert_array_equal(*results)
    third = ctypes.c_void_p(library.small_model_on(2))
    assert library.small_run(third, 1, *arguments) == CudaCode.NO_DEVICE
    assert library.small_error(CudaCode.NO_DEVICE) == b"no such CUDA device: number 2, of 2"


def test_the_module_needs_libc_only_and_exports_its_interface(path: Path) -> None:
    wanted = subprocess.run(["nm", "-D", "--undefined-only", str(path)], capture_output=True, text=True, check=True)
    assert not re.search(r"cu[A-Z]|cuda|nvrtc|tvm|Py", wanted.stdout)
    made = subprocess.run(["nm", "-D", "--defined-only", str(path)], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in made.stdout.splitlines()}
    assert names == {f"small_{function}" for function in INTERFACE}


def test_the_header_compiles_and_agrees_with_the_interface(path: Path) -> None:
    header = path.with_suffix(".h").read_text()
    for code, text in CUDA_TEXTS.items():
        assert f"{code:2d}  {text}" in header
    for name, language in (("use.c", "c11"), ("use.cpp", "c++17")):
        (path.parent / name).write_text('#include "small.h"\nint floats = SMALL_INPUT_FLOATS;\n')
        command = ["cc", f"-std={language}", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", name]
        subprocess.run(command, check=True, cwd=path.parent)
    for function in INTERFACE:
        assert f"small_{function}(" in header


def test_codes_and_texts_are_those_of_the_c_files() -> None:
    folder = resources.PACKAGE / "runtime" / "cuda"
    text = (folder / "driver.c").read_text()
    for code, meaning in CUDA_TEXTS.items():
        assert f'[CNNCC_{code.name}] = "{meaning}"' in text
    head = (folder / "host.h").read_text()
    names = re.findall(r"^    CNNCC_(\w+)(?: = (\d+))?,$", head, re.M)
    value, numbers = -1, {}
    for name, number in names:
        value = int(number) if number else value + 1
        numbers[name] = value
    assert numbers == {code.name: int(code) for code in CudaCode}


def test_two_outputs_and_a_batch(emulated: None) -> None:
    text = "net two\ninput 4x6x6\nconv 3x3 8 relu; save a; gap; fc 3; output\nfrom a; conv 1x1 5; output\n"
    graph = weights.bind(lang.parse(text), None)
    program = lower(graph, gpus.load("cuda-sm_86"), Options(batch=3))
    model = CudaBuild(program, program_source(program), [stand_in("compute_75")]).model()
    image = np.random.default_rng(0).standard_normal((3, 4, 6, 6), dtype=np.float32)
    values = reference_run(program.source, {"input": image})
    for images in (3, 2, 1):
        for got, name in zip(model(image[:images]), program.source.outputs, strict=True):
            np.testing.assert_allclose(got, values[name][:images], atol=1e-5)


def test_a_kernel_that_misbehaves_is_a_failed_launch(emulated: None, tmp_path: Path) -> None:
    build = small()
    broken = build.source.replace("__syncthreads();", "if (threadIdx.x < 7) __syncthreads();", 1)
    path, _ = write_shared(CudaBuild(build.program, broken, build.images), tmp_path / "small.so")
    with pytest.raises(CnnccError, match=r"must be restarted: cuStreamSynchronize.*met at different barriers"):
        cnncc.load(path)(picture())


def test_what_a_gpu_target_does_not_do() -> None:
    graph = weights.bind(lang.parse(TEXT), None)
    with pytest.raises(CnnccError, match="target cuda cannot be tuned"):
        api.build(graph, Options(("cuda",), tune=1.0))
    with pytest.raises(CnnccError, match="stores float32 weights only, not bfloat16"):
        api.build(graph, Options(("cuda",), weights_dtype="bfloat16"))
    with pytest.raises(CnnccError, match="target host computes in float32, not float16"):
        api.build(graph, Options(dtype="float16"))
    with pytest.raises(CnnccError, match="unknown dtype 'float61'"):
        api.build(graph, Options(("cuda",), dtype="float61"))
    with pytest.raises(CnnccError, match="batch must be at least 1, got 0"):
        api.build(graph, Options(("cuda",), batch=0))
    with pytest.raises(CnnccError, match="unknown target 'cuda-sm_81'"):
        api.build(graph, Options(("cuda-sm_81",)))


def test_check_command_path(emulated: None, cuda_compiler: None) -> None:
    """As `cnncc check --target cuda` does it, machine code and all."""
    graph = lang.read(resources.directory("models") / "lenet5.net")
    report = check.check(weights.bind(graph, None), Options(("cuda-sm_80",)))
    assert report.passed
    assert len(report.layers) == 8
    halves = check.check(weights.bind(graph, None), Options(("cuda-sm_80",), dtype="float16"))
    assert halves.passed
    assert halves.rounding is not None
    assert 1e-5 < halves.rounding < 2e-3


def test_a_module_without_its_weights_is_filled_by_its_caller(emulated: None, tmp_path: Path) -> None:
    """It computes the same, and its file has none of them."""
    path = tmp_path / "small.so"
    small().write_unfilled(path)
    program = small().program
    model, library = cnncc.load(path), ctypes.CDLL(str(path))
    room = (ctypes.c_uint8 * program.weight_bytes).in_dll(library, "small_weights")
    assert not any(room)
    for packed, offset in program.weights:
        data = packed.compute().tobytes()
        room[offset : offset + len(data)] = data
        assert not any(data) or data not in path.read_bytes()
    np.testing.assert_allclose(model(picture()), expected(picture()), atol=1e-6)
