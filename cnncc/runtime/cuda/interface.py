"""The functions and error codes that GPU modules have in addition to those of all modules."""

from __future__ import annotations

from enum import IntEnum

from cnncc.runtime.interface import EMBEDDED, FUNCTIONS


class CudaCode(IntEnum):
    """What a run on a GPU returns. Codes below 32 mean the same as in `cnncc.runtime.interface.Code`."""

    OK = 0
    NULL_POINTER = 1
    MISALIGNED = 2
    BAD_IMAGES = 13
    NO_DRIVER = 32
    NO_DEVICE = 33
    DEVICE_TOO_OLD = 34
    OUT_OF_MEMORY = 35
    LAUNCH_FAILED = 36
    DEVICE_LOST = 37
    NOT_DEVICE_MEMORY = 38
    DRIVER_ERROR = 39
    DRIVER_TOO_OLD = 40
    DEVICE_BUSY = 41
    FORKED = 42
    OTHER_DEVICE = 43
    CAPTURING = 44


CUDA_TEXTS = {
    CudaCode.OK: "no error",
    CudaCode.NULL_POINTER: "a pointer is null",
    CudaCode.MISALIGNED: "device memory is not aligned: 16 bytes for an input or output, 256 for the arena",
    CudaCode.BAD_IMAGES: "not a number of images that this run takes",
    CudaCode.NO_DRIVER: "no CUDA driver",
    CudaCode.NO_DEVICE: "no such CUDA device",
    CudaCode.DEVICE_TOO_OLD: "the CUDA device is older than every architecture this module was compiled for",
    CudaCode.OUT_OF_MEMORY: "out of device memory",
    CudaCode.LAUNCH_FAILED: "a kernel could not be launched",
    CudaCode.DEVICE_LOST: "the CUDA device is lost to this process, which must be restarted",
    CudaCode.NOT_DEVICE_MEMORY: "a pointer is not to device memory",
    CudaCode.DRIVER_ERROR: "the CUDA driver reported an error",
    CudaCode.DRIVER_TOO_OLD: "the CUDA driver loads none of the module's code",
    CudaCode.DEVICE_BUSY: "the CUDA device is not free: another process has it in exclusive mode, or MPS takes no more",
    CudaCode.FORKED: "this process was forked from one that had used CUDA, which works in one of them only",
    CudaCode.OTHER_DEVICE: "a pointer is to memory of another CUDA device",
    CudaCode.CAPTURING: "a run with device pointers cannot wait while a stream is captured: use NAME_run_async",
}
"""The text of each code. For the last error of a thread, a module adds details."""

CUDA_FUNCTIONS = ("run_async", "model_on", "open", "release", "state", "device_arena_bytes", "driver", "peek")
INTERFACE = (*FUNCTIONS, *EMBEDDED, *CUDA_FUNCTIONS)
"""What a GPU module exports, each as `NAME_...`."""

MOST_ARGUMENTS = MOST_PORTS = 32
MOST_DEVICES = 16
"""Limits of `host.h`."""
