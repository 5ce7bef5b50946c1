"""A small network as a module for GPUs, and the emulated driver beside it, for tests of the host's part."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from cuda.stand_in import stand_in
from written import write_shared

from cnncc import lang, weights
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.ops.reference import run as reference_run
from cnncc.runtime.cuda.driver import emulated_driver

TEXT = "net small\ninput 3x9x9\nconv 3x3 8 relu; maxpool 2x2 /2; fc 5 softmax\n"


@cache
def small(*architectures: str) -> CudaBuild:
    """A network with images for `sm_80`, `compute_75` or the like that hold nothing: the emulated driver compiles the
    source instead."""
    program = lower(weights.bind(lang.parse(TEXT), None), gpus.load("cuda-sm_80"))
    images = [stand_in(name) for name in architectures or ("compute_75",)]
    return CudaBuild(program, program_source(program), images)


@cache
def written() -> dict[str, bytes]:
    """The files of the module."""
    with TemporaryDirectory() as folder:
        return {path.name: path.read_bytes() for path in write_shared(small(), Path(folder) / "small.so")}


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 3, 9, 9), dtype=np.float32)


def expected(image: np.ndarray) -> np.ndarray:
    return expected_of(image.tobytes())


@cache
def expected_of(data: bytes) -> np.ndarray:
    image = np.frombuffer(data, np.float32).reshape(1, 3, 9, 9)
    graph = small().program.source
    return reference_run(graph, {graph.inputs[0].name: image})[graph.outputs[0]]


class Device:
    """The emulated driver as a C program would use it beside a module."""

    def __init__(self, driver: ctypes.CDLL, number: int = 0) -> None:
        self.driver, self.context = driver, ctypes.c_void_p()
        assert driver.cuInit(0) == 0
        assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(self.context), number) == 0
        assert driver.cuCtxPushCurrent_v2(self.context) == 0

    def allocate(self, size: int) -> ctypes.c_void_p:
        made = ctypes.c_uint64()
        assert self.driver.cuMemAlloc_v2(ctypes.byref(made), ctypes.c_size_t(size)) == 0
        return ctypes.c_void_p(made.value)

    def upload(self, array: np.ndarray) -> ctypes.c_void_p:
        """A copy that has landed: the call alone does not wait for it."""
        made = self.allocate(array.nbytes)
        source = ctypes.c_void_p(array.ctypes.data)
        assert self.driver.cuMemcpyHtoD_v2(made, source, ctypes.c_size_t(array.nbytes)) == 0
        assert self.driver.cuStreamSynchronize(None) == 0
        return made

    def stream(self) -> ctypes.c_void_p:
        """One that waits for no other."""
        made = ctypes.c_void_p()
        assert self.driver.cuStreamCreate(ctypes.byref(made), 1) == 0
        return made

    def download(self, at: ctypes.c_void_p, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, np.float32)
        target = ctypes.c_void_p(array.ctypes.data)
        assert self.driver.cuMemcpyDtoH_v2(target, at, ctypes.c_size_t(array.nbytes)) == 0
        return array

    def download_in_relaxed_mode(self, at: ctypes.c_void_p, shape: tuple[int, ...]) -> np.ndarray:
        """While a stream of this thread is being captured, which a copy would disturb otherwise."""
        mode = ctypes.c_int(2)
        assert self.driver.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode)) == 0
        try:
            return self.download(at, shape)
        finally:
            assert self.driver.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode)) == 0


def opened(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.small_driver(str(emulated_driver()).encode())
    library.small_model_on.restype = library.small_model_get.restype = ctypes.c_void_p
    library.small_error.restype = library.small_state.restype = ctypes.c_char_p
    library.small_device_arena_bytes.restype = ctypes.c_size_t
    return library
