"""What a real driver may do, and the emulated one does always: each rule with what the host's part does about it."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cuda.small import Device, expected, opened, picture, small
from cuda.stand_in import stand_in
from written import write_shared

import cnncc
from cnncc.base.errors import CnnccError
from cnncc.module.gpu.build import CudaBuild
from cnncc.runtime.cuda.interface import CudaCode

GLOBAL, OF_THREAD, RELAXED = 0, 1, 2
"""Modes of a capture: which calls it forbids, and to which threads."""


class Capture:
    """A stream that is being captured."""

    def __init__(self, device: Device, mode: int) -> None:
        self.driver, self.stream = device.driver, device.stream()
        assert self.driver.cuStreamBeginCapture_v2(self.stream, mode) == 0

    def end(self) -> ctypes.c_void_p:
        """The graph. Fails if a call disturbed the capture."""
        graph = ctypes.c_void_p()
        assert self.driver.cuStreamEndCapture(self.stream, ctypes.byref(graph)) == 0
        return graph

    def play(self) -> None:
        graph, executable = self.end(), ctypes.c_void_p()
        assert self.driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0)) == 0
        assert self.driver.cuGraphLaunch(executable, self.stream) == 0
        assert self.driver.cuStreamSynchronize(self.stream) == 0


# ---- captures ----


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("mode", [GLOBAL, OF_THREAD, RELAXED])
def test_the_first_run_of_all_may_be_captured(mode: int, prepared: bool, path: Path, driver: ctypes.CDLL) -> None:
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    image, result = device.upload(picture()), device.allocate(5 * 4)
    arena = device.allocate(library.small_device_arena_bytes())
    if prepared:
        assert library.small_open(model) == 0
    capture = Capture(device, mode)
    driver.cnncc_emulator_reset()
    assert library.small_run_async(model, 1, image, result, arena, capture.stream) == 0
    assert (driver.cnncc_emulator_calls(b"cuMemAlloc_v2") == 0) == prepared
    assert np.isnan(device.download_in_relaxed_mode(result, (1, 5))).all()
    capture.play()
    np.testing.assert_allclose(device.download(result, (1, 5)), expected(picture()), atol=1e-6)


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("mode", [GLOBAL, OF_THREAD])
def test_runs_let_a_capture_be(mode: int, other: bool, path: Path, driver: ctypes.CDLL) -> None:
    """Of this thread, or of one while another thread runs the model. The first run allocates, loads and copies; the
    second captures too; the release frees."""
    model = cnncc.load(path)
    disturbed = Capture(Device(driver), mode)

    def use() -> None:
        for seed in range(3):
            np.testing.assert_allclose(model(picture(seed)), expected(picture(seed)), atol=1e-6)
        model.release()

    if other:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(use).result()
    else:
        use()
    disturbed.end()


def test_a_run_with_device_pointers_cannot_wait_during_a_capture(path: Path, driver: ctypes.CDLL) -> None:
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    image, result = device.upload(picture()), device.allocate(5 * 4)
    Capture(device, RELAXED)
    assert library.small_run(model, 1, image, result, None) == CudaCode.CAPTURING
    assert b"use NAME_run_async" in library.small_error(CudaCode.CAPTURING)


@pytest.mark.parametrize(
    "function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuLaunchKernel"]
)
def test_a_capture_that_fails_is_done_without_and_told(
    function: str, path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cnncc.load(path)
    assert model.info["device"] == {"open": False}
    model(picture())
    assert model.info["device"]["graph"] == "from the second run on"
    launches = driver.cnncc_emulator_calls(b"cuLaunchKernel")
    nth = launches + 1 if function == "cuLaunchKernel" else 1
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"{function}:{nth}:901")
    for seed in range(3):
        np.testing.assert_allclose(model(picture(seed)), expected(picture(seed)), atol=1e-6)
    assert driver.cnncc_emulator_calls(b"cuGraphLaunch") == 0
    assert driver.cnncc_emulator_calls(b"cuStreamBeginCapture_v2") == 1  # not again in each run
    told = model.info["device"]["graph"]
    assert told.startswith(f"none: the CUDA driver reported an error: {function}: CUDA_ERROR_STREAM_CAPTURE_INVAL")
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


# ---- the order of copies and kernels ----


def test_weights_have_landed_before_a_stream_of_the_caller_reads_them(path: Path, driver: ctypes.CDLL) -> None:
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    image, result = device.upload(picture()), device.allocate(5 * 4)
    arena, stream = device.allocate(library.small_device_arena_bytes()), device.stream()
    assert library.small_run_async(model, 1, image, result, arena, stream) == 0
    assert driver.cuStreamSynchronize(stream) == 0
    np.testing.assert_allclose(device.download(result, (1, 5)), expected(picture()), atol=1e-6)


@pytest.mark.parametrize("who", ["input", "arena"])
def test_a_run_waits_for_what_the_caller_has_queued(who: str, path: Path, driver: ctypes.CDLL) -> None:
    """On a stream of the caller's that waits for no other one: the input, or the arena in use by an earlier run."""
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    first, second = device.upload(picture(1)), device.upload(picture(2))
    image, result, other = device.allocate(3 * 9 * 9 * 4), device.allocate(5 * 4), device.allocate(5 * 4)
    arena, stream = device.allocate(library.small_device_arena_bytes()), device.stream()
    size = ctypes.c_size_t(3 * 9 * 9 * 4)
    if who == "input":
        assert driver.cuMemcpyDtoDAsync_v2(image, second, size, stream) == 0
    else:
        assert driver.cuMemcpyDtoDAsync_v2(image, first, size, stream) == 0
        assert library.small_run_async(model, 1, image, other, arena, stream) == 0
        assert driver.cuMemcpyDtoDAsync_v2(image, second, size, stream) == 0
    host = np.zeros((1, 5), np.float32)
    pointer = ctypes.c_void_p(host.ctypes.data)
    assert library.small_run(model, 1, image, pointer, arena if who == "arena" else None) == 0
    np.testing.assert_allclose(host, expected(picture(2)), atol=1e-6)
    assert library.small_run(model, 1, image, result, None) == 0
    np.testing.assert_allclose(device.download(result, (1, 5)), expected(picture(2)), atol=1e-6)


def test_arrays_of_the_host_go_through_page_locked_memory(path: Path, driver: ctypes.CDLL) -> None:
    model = cnncc.load(path)
    model.open()
    driver.cnncc_emulator_reset()
    for seed in range(3):
        image = picture(seed)
        np.testing.assert_allclose(model(image), expected(image), atol=1e-6)
    assert driver.cnncc_emulator_calls(b"pageable copies") == 0
    assert driver.cnncc_emulator_calls(b"cuMemAllocHost_v2") == 1
    assert driver.cnncc_emulator_calls(b"cuMemcpyHtoDAsync_v2") == 3


def test_page_locked_memory_of_the_caller_is_used_as_it_is(path: Path, driver: ctypes.CDLL) -> None:
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    places = [ctypes.c_void_p(), ctypes.c_void_p()]
    for place, size in zip(places, (3 * 9 * 9 * 4, 5 * 4), strict=True):
        assert device.driver.cuMemAllocHost_v2(ctypes.byref(place), ctypes.c_size_t(size)) == 0
    ctypes.memmove(places[0], picture().ctypes.data, 3 * 9 * 9 * 4)
    before = driver.cnncc_emulator_calls(b"cuMemAllocHost_v2")
    assert library.small_run(model, 1, *places, None) == 0
    found = np.ctypeslib.as_array(ctypes.cast(places[1], ctypes.POINTER(ctypes.c_float)), (1, 5))
    np.testing.assert_allclose(found, expected(picture()), atol=1e-6)
    assert driver.cnncc_emulator_calls(b"cuMemAllocHost_v2") == before


# ---- errors that last, and devices that are not ours ----


@pytest.mark.parametrize("code", [201, 214, 226, 700, 702, 710, 715, 719, 721, 810])
@pytest.mark.parametrize("function", ["cuStreamSynchronize", "cuGraphLaunch", "cuMemAlloc_v2", "cuStreamEndCapture"])
def test_an_error_that_lasts_ends_the_use_of_the_device(
    function: str, code: int, path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every later run says the same, does not call the driver, and promises nothing of the next one."""
    model = cnncc.load(path)
    nth = 2 if function == "cuStreamSynchronize" else 1
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"{function}:{nth}:{code}")
    errors = []
    for _ in range(4):
        try:
            model(picture())
        except CnnccError as error:
            errors.append(str(error))
    monkeypatch.delenv("CNNCC_EMULATOR_FAIL")
    driver.cnncc_emulator_restart()  # as if the driver had recovered
    for use in (model.open, lambda: model(picture())):
        with pytest.raises(CnnccError) as caught:
            use()
        errors.append(str(caught.value))
    assert len(errors) >= 4
    assert model.info["device"]["lost"] in " ".join(errors[0].split())
    for error in errors:
        assert f"lost to this process, which must be restarted: {function.removesuffix('_v2')}" in error
        assert "in a new one it can" in error
    model.release()
    assert driver.cnncc_emulator_calls(b"cuCtxPushCurrent_v2") <= 1  # of the release, which frees what it can


def test_a_kernel_that_faults_ends_the_use_of_the_device(path: Path, driver: ctypes.CDLL, tmp_path: Path) -> None:
    """Not by an injected error: the emulated driver keeps the error of a kernel, as a real one does."""
    build = small()
    broken = build.source.replace("__syncthreads();", "if (threadIdx.x < 7) __syncthreads();", 1)
    file, _ = write_shared(CudaBuild(build.program, broken, build.images), tmp_path / "small.so")
    faulty, sound = cnncc.load(file), cnncc.load(path)
    for model in (faulty, faulty, sound):
        with pytest.raises(CnnccError, match="must be restarted"):
            model(picture())


@pytest.mark.parametrize("code", [46, 805, 807, 808, 809])
def test_a_device_in_use_is_not_lost(
    code: int, path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process that has it for itself, or by as many as MPS serves."""
    model = cnncc.load(path)
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"cuDevicePrimaryCtxRetain:1:{code}")
    with pytest.raises(CnnccError, match=r"has it in exclusive mode, or MPS takes no more: cuDev") as caught:
        model(picture())
    assert "nvidia-smi -q -d COMPUTE" in (caught.value.hint or "")
    np.testing.assert_allclose(model(picture()), expected(picture()), atol=1e-6)


def test_memory_of_another_device_is_refused(path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_DEVICES", "2")
    library, first = opened(path), Device(driver, 0)
    image, result = first.upload(picture()), first.allocate(5 * 4)
    arena = first.allocate(library.small_device_arena_bytes())
    second = Device(driver, 1)
    model, stream = ctypes.c_void_p(library.small_model_on(1)), second.stream()
    there = second.upload(picture())
    assert library.small_run(model, 1, image, result, None) == CudaCode.OTHER_DEVICE
    assert library.small_run(model, 1, there, result, None) == CudaCode.OTHER_DEVICE
    assert library.small_run_async(model, 1, image, result, arena, stream) == CudaCode.OTHER_DEVICE
    text = library.small_error(CudaCode.OTHER_DEVICE)
    assert text == b"a pointer is to memory of another CUDA device: number 0, the model is on number 1"
    host = np.zeros((1, 5), np.float32)
    assert library.small_run(model, 1, there, ctypes.c_void_p(host.ctypes.data), arena) == CudaCode.OTHER_DEVICE
    assert library.small_run(model, 1, there, ctypes.c_void_p(host.ctypes.data), None) == 0
    np.testing.assert_allclose(host, expected(picture()), atol=1e-6)


def in_a_child(function: object) -> str:
    """What a function says in a fork of this process."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, str(function()).encode())  # type: ignore[operator]
        except CnnccError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("opened_here", [True, False])
def test_a_child_of_a_process_that_used_cuda_says_so(opened_here: bool, path: Path, driver: ctypes.CDLL) -> None:
    """Used by the model, or by others before it."""
    model = cnncc.load(path)
    if opened_here:
        model(picture())
    else:
        Device(driver)
    said = in_a_child(lambda: model(picture()))
    assert "forked from one that had used CUDA" in said
    assert "`spawn`" in said
    assert "forked" in in_a_child(model.open)
    np.testing.assert_allclose(model(picture()), expected(picture()), atol=1e-6)


# ---- which code a driver takes ----


def loaded(architectures: tuple[str, ...], tmp_path: Path, major: int = 12) -> cnncc.Model:
    program = small().program
    images = [stand_in(name, major) for name in architectures]
    path, _ = write_shared(CudaBuild(program, small().source, images), tmp_path / "small.so")
    return cnncc.load(path)


@pytest.mark.parametrize(
    "case",
    [
        # capability, driver, CUDA of the compiler, what is loaded, how many images are tried
        (80, "12.0", 12, "sm_80", 1),
        (89, "12.0", 12, "sm_86", 1),
        (90, "12.0", 13, "compute_80", 2),  # machine code of CUDA 13, and a driver of 12
        (90, "13.0", 13, "sm_90", 1),
        (80, "11.4", 13, "compute_80", 2),
        (87, "12.0", 12, "compute_80", 1),  # Orin does not run the code of others
        (88, "12.8", 12, "compute_80", 1),
        (120, "12.8", 12, "compute_80", 1),
    ],
)
def test_the_image_that_a_driver_takes_is_found(
    case: tuple[int, str, int, str, int], driver: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capability, version, major, code, tries = case
    first, second = version.split(".")
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", str(capability))
    monkeypatch.setenv("CNNCC_EMULATOR_DRIVER", str(1000 * int(first) + 10 * int(second)))
    model = loaded(("sm_80", "sm_86", "sm_90", "compute_80"), tmp_path, major)
    np.testing.assert_allclose(model(picture()), expected(picture()), atol=1e-6)
    assert (model.info["device"]["code"], model.info["device"]["driver"]) == (code, version)
    assert driver.cnncc_emulator_calls(b"cuModuleLoadData") == tries


def test_a_driver_that_takes_no_image_is_told_which_it_must_be(
    driver: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", "90")
    monkeypatch.setenv("CNNCC_EMULATOR_DRIVER", "11040")
    model = loaded(("sm_90", "compute_90"), tmp_path, 13)
    text = (
        r"loads none of the module's code: it is of CUDA 11.4; sm_90 needs CUDA 13.0, .*; compute_90 needs CUDA 11.8, "
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
    )
    with pytest.raises(CnnccError, match=text) as caught:
        model(picture())
    assert "install a newer driver" in (caught.value.hint or "")
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


def test_events_tell_when_a_stream_came_to_them(driver: ctypes.CDLL) -> None:
    """Not when they were put there. A capture takes them only as nodes of the graph (flag 1)."""
    device = Device(driver)
    stream, first, last = device.stream(), ctypes.c_void_p(), ctypes.c_void_p()
    took = ctypes.c_float(-1)
    for event in (first, last):
        assert driver.cuEventCreate(ctypes.byref(event), 0) == 0
        assert driver.cuEventRecordWithFlags(event, stream, 0) == 0
    assert driver.cuEventElapsedTime(ctypes.byref(took), first, last) == 400  # nobody waited yet
    assert driver.cuStreamSynchronize(stream) == 0
    assert driver.cuEventElapsedTime(ctypes.byref(took), first, last) == 0
    assert took.value >= 0
    assert driver.cuStreamBeginCapture_v2(stream, 1) == 0
    assert driver.cuEventRecordWithFlags(first, stream, 0) == 1
    assert driver.cuEventRecordWithFlags(first, stream, 1) == 0
    assert driver.cuStreamEndCapture(stream, ctypes.byref(ctypes.c_void_p())) == 0
    assert driver.cuEventDestroy_v2(first) == driver.cuEventDestroy_v2(last) == 0
    assert driver.cuEventDestroy_v2(last) == 400
