"""The CUDA driver from Python, as far as the first run needs it: memory, streams, graphs, events, kernels."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MULTIPROCESSORS, CLOCK_KHZ, L2_BYTES, MAJOR, MINOR = 16, 13, 38, 75, 76
THREADS, SHARED_BYTES, REGISTERS, BLOCKS = 39, 81, 82, 106
"""Attributes of a device; those of the second line are of a multiprocessor."""
LONG = 1.0
"""Seconds that one measurement may take."""
_NON_BLOCKING = 1
_THREAD_LOCAL = 1
_EXTERNAL = 1


class DriverError(Exception):
    """A call that failed, with the driver's words."""


class Driver:
    """The first device, with its primary context current in this thread: that which modules use too."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(_path())
        self.call("cuInit", 0)
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.device = device.value
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxPushCurrent_v2", context)

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function of the driver. DriverError unless it succeeds."""
        code = self.library[name](*arguments)
        if code:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(code, ctypes.byref(text))
            raise DriverError(f"{name}: {(text.value or b'unknown').decode()} ({code})")

    @property
    def version(self) -> int:
        """Of CUDA: 12080 for 12.8."""
        found = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(found))
        return found.value

    @property
    def name(self) -> str:
        text = ctypes.create_string_buffer(128)
        self.call("cuDeviceGetName", text, len(text), self.device)
        return text.value.decode()

    def attribute(self, number: int) -> int:
        found = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(found), number, self.device)
        return found.value

    def allocate(self, size: int) -> int:
        """The address of device memory that lasts as long as the process, or until `free`."""
        made = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(made), ctypes.c_size_t(max(size, 1)))
        return made.value

    def free(self, address: int) -> None:
        self.call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, array: np.ndarray, to: int | None = None) -> int:
        """The address of a copy that has landed."""
        address = self.allocate(array.nbytes) if to is None else to
        source = ctypes.c_void_p(array.ctypes.data)
        if array.nbytes:
            self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, ctypes.c_size_t(array.nbytes))
            self.call("cuStreamSynchronize", None)
        return address

    def download(self, address: int, size: int) -> np.ndarray:
        """Bytes of device memory."""
        array = np.empty(size, np.uint8)
        self.call(
            "cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(address), ctypes.c_size_t(size)
        )
        return array

    def copy(self, to: int, source: int, size: int, stream: Stream) -> None:
        """From device memory to device memory, when the stream comes to it."""
        addresses = ctypes.c_uint64(to), ctypes.c_uint64(source)
        self.call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(size), stream.handle)

    def load(self, image: bytes, source: str) -> ctypes.c_void_p:
        """A module of kernels. The emulated driver takes them from their source, once it has looked at the image."""
        made = ctypes.c_void_p()
        if hasattr(self.library, "cnncc_emulator_load"):
            self.call("cnncc_emulator_load", ctypes.byref(made), image, source.encode())
        else:
            self.call("cuModuleLoadData", ctypes.byref(made), image)
        return made

    def unload(self, module: ctypes.c_void_p) -> None:
        self.call("cuModuleUnload", module)

    def function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(made), module, name.encode())
        return made


def _path() -> str:
    if os.environ.get("CNNCC_CUDA_DRIVER") == "emulated":
        from cnncc.runtime.cuda.driver import emulated_driver

        return str(emulated_driver())
    return "libcuda.so.1"


class Stream:
    """One that waits for no other."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.handle = driver, ctypes.c_void_p()
        driver.call("cuStreamCreate", ctypes.byref(self.handle), _NON_BLOCKING)

    def launch(self, function: ctypes.c_void_p, grid: Sequence[int], threads: int, arguments: Sequence[int]) -> None:
        """A kernel of pointers."""
        values = (ctypes.c_uint64 * max(len(arguments), 1))(*arguments)
        pointers = (ctypes.c_void_p * max(len(arguments), 1))()
        for i in range(len(arguments)):
            pointers[i] = ctypes.addressof(values) + 8 * i
        self.driver.call("cuLaunchKernel", function, *grid, threads, 1, 1, 0, self.handle, pointers, None)

    def wait(self) -> None:
        self.driver.call("cuStreamSynchronize", self.handle)

    def record(self, event: Event, into_graph: bool = False) -> None:
        """Notes the time when the stream comes to it; in a capture each time when the graph comes to it."""
        flags = _EXTERNAL if into_graph else 0
        self.driver.call("cuEventRecordWithFlags", event.handle, self.handle, flags)

    def captured(self, work: Callable[[], None]) -> ctypes.c_void_p:
        """What `work` puts on the stream, as a graph to be launched."""
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        self.driver.call("cuStreamBeginCapture_v2", self.handle, _THREAD_LOCAL)
        try:
            work()
        finally:
            self.driver.call("cuStreamEndCapture", self.handle, ctypes.byref(graph))
        self.driver.call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
        self.driver.call("cuGraphDestroy", graph)
        return made

    def replay(self, graph: ctypes.c_void_p) -> None:
        self.driver.call("cuGraphLaunch", graph, self.handle)

    def drop(self, graph: ctypes.c_void_p) -> None:
        self.driver.call("cuGraphExecDestroy", graph)

    def seconds(self, work: Callable[[], None], count: int, warm: int = 3) -> float:
        """The median time of one of `count` times that the device does `work`; of fewer if that takes long."""
        for _ in range(warm):
            work()
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        count = max(1, min(count, int(LONG / (time.perf_counter() - start))))
        pairs = [(Event(self.driver), Event(self.driver)) for _ in range(count)]
        for first, last in pairs:
            self.record(first)
            work()
            self.record(last)
        self.wait()
        found = [first.until(last) for first, last in pairs]
        for first, last in pairs:
            first.destroy()
            last.destroy()
        return float(np.median(found))


class Event:
    """A moment on a stream."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.handle = driver, ctypes.c_void_p()
        driver.call("cuEventCreate", ctypes.byref(self.handle), 0)

    def until(self, later: Event) -> float:
        """Seconds; both have happened."""
        found = ctypes.c_float()
        self.driver.call("cuEventElapsedTime", ctypes.byref(found), self.handle, later.handle)
        return found.value / 1e3

    def destroy(self) -> None:
        self.driver.call("cuEventDestroy_v2", self.handle)
