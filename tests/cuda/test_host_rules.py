"""What the host's part of a module leaves alone, and what it does without: modes of capture, streams, memory, forks."""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from cuda.small import Device, expected, opened, picture, small
from cuda.stand_in import elf, stand_in
from cuda.test_driver_rules import GLOBAL, OF_THREAD, Capture, in_a_child, loaded
from written import write_shared

import cnncc
from cnncc.base.errors import CnnccError
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.images import Image
from cnncc.runtime.cuda.interface import CudaCode

OTHER_DEVICE = 5
"""One that no other test uses, so that its context is made and taken down here."""


def right(model: cnncc.Model, seed: int = 0) -> None:
    np.testing.assert_allclose(model(picture(seed)), expected(picture(seed)), atol=1e-6)


# ---- the mode of capture, which is of the thread ----


@pytest.fixture
def mode(driver: ctypes.CDLL) -> Iterator[Callable[[], int]]:
    """Tells the mode of this thread, which is that of the thread's own captures at first."""

    def exchange(to: int) -> int:
        value = ctypes.c_int(to)
        assert driver.cuThreadExchangeStreamCaptureMode(ctypes.byref(value)) == 0
        return value.value

    def tell() -> int:
        found = exchange(GLOBAL)
        exchange(found)
        return found

    Device(driver)
    exchange(OF_THREAD)
    yield tell
    exchange(GLOBAL)


@pytest.mark.parametrize("fails", ["", "cuCtxPushCurrent_v2", "cuDevicePrimaryCtxRetain", "cuMemAlloc_v2"])
def test_the_mode_of_the_thread_is_as_it_was(
    fails: str, mode: Callable[[], int], path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each call, also one that fails at any of the first calls of a function."""
    for nth in (1, 2, 3, 4):
        monkeypatch.delenv("CNNCC_EMULATOR_FAIL", raising=False)
        library, device = opened(path), Device(driver)
        model, stream = ctypes.c_void_p(library.small_model_get()), device.stream()
        image, result = device.upload(picture()), device.allocate(5 * 4)
        arena = device.allocate(library.small_device_arena_bytes())
        driver.cnncc_emulator_reset()
        monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"{fails}:{nth}:4" if fails else "")
        calls: tuple[Callable[[], object], ...] = (
            partial(library.small_open, model),
            partial(library.small_run, model, 1, image, result, None),
            partial(library.small_run_async, model, 1, image, result, arena, stream),
            partial(driver.cuStreamSynchronize, stream),
            partial(library.small_release, model),
        )
        for call in calls:
            call()
            assert mode() == OF_THREAD


def test_a_capture_of_another_device_is_let_be(
    path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that is made or taken down disturbs captures of all devices."""
    monkeypatch.setenv("CNNCC_EMULATOR_DEVICES", str(OTHER_DEVICE + 1))
    library = opened(path)
    model = ctypes.c_void_p(library.small_model_on(OTHER_DEVICE))
    context = ctypes.c_void_p()
    capture = Capture(Device(driver), GLOBAL)
    assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), OTHER_DEVICE) == 900
    assert driver.cuStreamEndCapture(capture.stream, ctypes.byref(context)) == 901
    capture = Capture(Device(driver), GLOBAL)
    assert library.small_open(model) == 0
    library.small_release(model)
    capture.end()


# ---- captures of our own, and streams ----


@pytest.mark.parametrize("call", ["of the legacy stream", "that allocates"])
def test_other_threads_may_do_what_they_like_while_a_run_captures(
    call: str, path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, device = cnncc.load(path), Device(driver)
    image, memory = picture(), device.allocate(3 * 9 * 9 * 4)
    right(model)
    monkeypatch.setenv("CNNCC_EMULATOR_SLOW", "cuStreamEndCapture:500")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(right, model)
        while not driver.cnncc_emulator_calls(b"cuStreamBeginCapture_v2"):
            time.sleep(0.01)
        if call == "that allocates":
            assert driver.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(64)) == 0
        else:
            source = ctypes.c_void_p(image.ctypes.data)
            assert driver.cuMemcpyHtoD_v2(memory, source, ctypes.c_size_t(image.nbytes)) == 0
        run.result()
    assert driver.cnncc_emulator_calls(b"cuStreamEndCapture") == 1
    assert model.info["device"]["graph"] == "from the second run on"


def test_no_stream_waits_for_the_legacy_one(path: Path, driver: ctypes.CDLL) -> None:
    """Neither that of the weights nor that of a run: what a caller has there may take long."""
    model, device = cnncc.load(path), Device(driver)
    event, took = ctypes.c_void_p(), ctypes.c_float()
    assert driver.cuEventCreate(ctypes.byref(event), 0) == 0
    assert driver.cuEventRecordWithFlags(event, None, 0) == 0
    model.open()
    assert driver.cuEventElapsedTime(ctypes.byref(took), event, event) == 400  # the stream has not come to it
    right(model)
    assert driver.cuEventElapsedTime(ctypes.byref(took), event, event) == 400
    assert driver.cuStreamSynchronize(None) == 0
    assert driver.cuEventElapsedTime(ctypes.byref(took), event, event) == 0
    assert device.context


def test_a_graph_that_cannot_be_launched_is_done_without(
    path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For good, and by every slot: what `info` says of graphs holds for all runs."""
    model = cnncc.load(path)
    with ThreadPoolExecutor(2) as pool:
        monkeypatch.setenv("CNNCC_EMULATOR_SLOW", "cuStreamSynchronize:100")  # so that two runs are under way
        for _ in range(3):
            list(pool.map(lambda seed: right(model, seed), range(2)))
        monkeypatch.delenv("CNNCC_EMULATOR_SLOW")
        assert driver.cnncc_emulator_calls(b"cuStreamBeginCapture_v2") == 2
        launched = driver.cnncc_emulator_calls(b"cuGraphLaunch")
        monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"cuGraphLaunch:{launched + 1}:2")
        right(model)
        told = model.info["device"]["graph"]
        assert told.startswith("none: out of device memory: cuGraphLaunch: CUDA_ERROR_OUT_OF_MEMORY")
        monkeypatch.setenv("CNNCC_EMULATOR_SLOW", "cuStreamSynchronize:100")
        for _ in range(2):
            list(pool.map(lambda seed: right(model, seed), range(2)))
    assert driver.cnncc_emulator_calls(b"cuGraphLaunch") == launched + 1
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


# ---- memory of the caller ----


def test_a_failed_run_leaves_nothing_under_way(
    path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would write the caller's page-locked memory later, and use memory that is free by then."""
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    places = [ctypes.c_void_p(), ctypes.c_void_p()]
    for place, size in zip(places, (3 * 9 * 9 * 4, 5 * 4), strict=True):
        assert driver.cuMemAllocHost_v2(ctypes.byref(place), ctypes.c_size_t(size)) == 0
    ctypes.memmove(places[0], picture().ctypes.data, 3 * 9 * 9 * 4)
    assert library.small_open(model) == 0
    driver.cnncc_emulator_reset()
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", "cuStreamSynchronize:1:4")
    assert library.small_run(model, 1, *places, None) == CudaCode.DRIVER_ERROR
    result = np.ctypeslib.as_array(ctypes.cast(places[1], ctypes.POINTER(ctypes.c_float)), (1, 5))
    result[:] = 7
    assert driver.cuCtxSynchronize() == 0
    assert (result == 7).all()
    assert device.context


def test_a_failed_opening_leaves_nothing_under_way(
    path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of the weights would come to memory that is free by then."""
    model, device = cnncc.load(path), Device(driver)
    driver.cnncc_emulator_reset()
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", "cuStreamSynchronize:1:4")
    with pytest.raises(CnnccError, match="cuStreamSynchronize"):
        model.open()
    assert driver.cuCtxSynchronize() == 0
    right(model)
    assert device.context


def test_a_run_waits_for_its_arena_even_with_arrays_of_the_host(path: Path, driver: ctypes.CDLL) -> None:
    library, device = opened(path), Device(driver)
    model = ctypes.c_void_p(library.small_model_get())
    image, other = device.upload(picture(1)), device.allocate(5 * 4)
    arena, stream = device.allocate(library.small_device_arena_bytes()), device.stream()
    assert library.small_run_async(model, 1, image, other, arena, stream) == 0
    given, host = picture(2), np.zeros((1, 5), np.float32)
    pointers = ctypes.c_void_p(given.ctypes.data), ctypes.c_void_p(host.ctypes.data)
    assert library.small_run(model, 1, *pointers, arena) == 0
    np.testing.assert_allclose(device.download(other, (1, 5)), expected(picture(1)), atol=1e-6)
    np.testing.assert_allclose(host, expected(given), atol=1e-6)
    larger = device.allocate(library.small_device_arena_bytes() + 256)
    odd = ctypes.c_void_p((larger.value or 0) + 16)
    assert library.small_run(model, 1, *pointers, odd) == CudaCode.MISALIGNED


def test_without_page_locked_memory_copies_are_pageable(
    path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cnncc.load(path)
    model.open()
    assert model.info["device"]["copies"] == "page-locked"
    driver.cnncc_emulator_reset()
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", "cuMemAllocHost_v2:1:2")
    right(model)
    assert driver.cnncc_emulator_calls(b"pageable copies") == 2
    assert model.info["device"]["copies"] == "pageable: cuMemAllocHost: CUDA_ERROR_OUT_OF_MEMORY"
    for seed in range(2):  # the next run tries again
        right(model, seed)
    assert driver.cnncc_emulator_calls(b"pageable copies") == 2
    assert model.info["device"]["copies"] == "page-locked"
    model.release()
    assert driver.cnncc_emulator_live() == driver.before


# ---- forks ----


def test_a_child_that_is_forked_while_the_device_opens_says_so(
    path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that has the locks is not in the child: it would wait for ever."""
    model = cnncc.load(path)
    monkeypatch.setenv("CNNCC_EMULATOR_SLOW", "cuInit:1500")
    opening = Thread(target=model.open)
    opening.start()
    time.sleep(0.3)

    def limited(use: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            signal.alarm(10)
            return use()

        return run

    assert "forked from one that had used CUDA" in in_a_child(limited(model.open))
    assert "forked from one that had used CUDA" in in_a_child(limited(lambda: model.info["device"]["lost"]))
    assert in_a_child(limited(model.release)) == "None"
    assert opening.is_alive()
    opening.join()
    right(model)


def test_a_child_is_told_of_and_touches_nothing(path: Path, driver: ctypes.CDLL) -> None:
    model = cnncc.load(path)
    right(model)
    assert "forked" in in_a_child(lambda: model.info["device"]["lost"])

    def release() -> list[int]:
        driver.cnncc_emulator_reset()
        model.release()
        functions = (b"cuThreadExchangeStreamCaptureMode", b"cuMemFree_v2", b"cuDevicePrimaryCtxRelease_v2")
        return [driver.cnncc_emulator_calls(function) for function in functions]

    assert in_a_child(release) == "[0, 0, 0]"
    right(model)


def test_asking_for_the_state_is_no_error(path: Path, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of the last error are still those of the run."""
    library = opened(path)
    model = ctypes.c_void_p(library.small_model_get())
    assert library.small_state(model) == b'{"open": false}'
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", "cuMemAlloc_v2:1:700")
    assert library.small_open(model) == CudaCode.DEVICE_LOST
    said = library.small_error(CudaCode.DEVICE_LOST)
    assert b"must be restarted: cuMemAlloc_v2: CUDA_ERROR_ILLEGAL_ADDRESS" in said
    assert b'{"open": false, "lost": "the CUDA device is lost to this process' in library.small_state(model)
    assert library.small_error(CudaCode.DEVICE_LOST) == said
    assert library.small_run(model, 1, None, None, None) == CudaCode.NULL_POINTER
    assert b"lost" in library.small_state(model)
    assert library.small_error(CudaCode.DEVICE_LOST) in said  # without the words of what was told already
    assert library.small_error(CudaCode.DEVICE_LOST) != said


# ---- which code is loaded ----


def images_of(*names: str) -> list[Image]:
    """Also of architectures that the compiler is not asked for."""
    known = {"sm_80", "sm_86", "sm_100", "compute_75", "compute_80"}
    return [stand_in(n) if n in known else Image(n, elf(int(n.split("_")[1]), 12), {}, 12_000) for n in names]


@pytest.mark.parametrize(("capability", "machine_code"), [
    (72, "sm_70"), (75, "sm_72"), (87, "sm_86"), (88, "sm_86"), (89, "sm_88"), (89, "sm_87"), (101, "sm_100"),
    (103, "sm_101"), (110, "sm_100"), (112, "sm_110"),
])  # fmt: skip
def test_systems_on_a_chip_share_no_machine_code(
    capability: int, machine_code: str, driver: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with earlier devices of their generation nor with later ones: it is not even tried."""
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", str(capability))
    build = CudaBuild(small().program, small().source, images_of(machine_code, "compute_75"))
    model = cnncc.load(write_shared(build, tmp_path / "small.so")[0])
    if capability < 75:
        with pytest.raises(CnnccError, match="older than every architecture"):
            model.open()
        assert driver.cnncc_emulator_calls(b"cuModuleLoadData") == 0
        return
    right(model)
    assert model.info["device"]["code"] == "compute_75"
    assert driver.cnncc_emulator_calls(b"cuModuleLoadData") == 1


@pytest.mark.parametrize("code", [1, 98, 200, 300, 801, 999])
def test_another_image_is_tried_whatever_the_driver_says(
    code: int, driver: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", "80")
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"cuModuleLoadData:1:{code}")
    model = loaded(("sm_80", "compute_80"), tmp_path)
    right(model)
    assert model.info["device"]["code"] == "compute_80"


@pytest.mark.parametrize(("code", "text"), [
    (2, "out of device memory: cuModuleLoadData"), (700, "must be restarted: cuModuleLoadData"),
])  # fmt: skip
def test_no_other_image_helps_against_some_errors(
    code: int, text: str, driver: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", "80")
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", f"cuModuleLoadData:1:{code}")
    model = loaded(("sm_80", "compute_80"), tmp_path)
    with pytest.raises(CnnccError, match=text):
        model.open()
    assert driver.cnncc_emulator_calls(b"cuModuleLoadData") == 1


def test_the_last_error_is_told_if_no_image_is_taken(
    driver: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not an older driver, where one of them says nothing of the image."""
    monkeypatch.setenv("CNNCC_EMULATOR_CAPABILITY", "90")
    monkeypatch.setenv("CNNCC_EMULATOR_DRIVER", "11040")
    monkeypatch.setenv("CNNCC_EMULATOR_FAIL", "cuModuleLoadData:2:999")
    model = loaded(("sm_90", "compute_90"), tmp_path, 13)
    with pytest.raises(CnnccError, match="reported an error: cuModuleLoadData: CUDA_ERROR_UNKNOWN"):
        model.open()
