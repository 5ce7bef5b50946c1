"""The C interface of compiled modules: names, error codes, and structures as ctypes declares them.

The compiler emits this interface and the loader calls it. Both take it from here, so that they agree.
"""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum

FORMAT = 4
"""Version of the interface. A module has the version that it was compiled for as `format` in its information."""
ALIGN = 64
"""Alignment of arenas and weights in bytes: a cache line, and the widest vector."""

WEIGHTS_MAGIC = b"cnncc weights 1\n"
WEIGHTS_HEADER = struct.Struct("<16sQ8x32s")
"""The start of a weights file: magic, bytes of weights, their hash (BLAKE2b, 32 bytes). The weights follow at byte
64."""


class Code(IntEnum):
    """What a function of a module returns."""

    OK = 0
    NULL_POINTER = 1
    MISALIGNED = 2
    ARENA_TOO_SMALL = 3
    WRONG_PROCESSOR = 4
    BAD_THREADS = 5
    UNFINISHED = 6
    NOT_OPEN = 7
    WEIGHTS_UNREADABLE = 8
    WEIGHTS_FOREIGN = 9
    WEIGHTS_TRUNCATED = 10
    WEIGHTS_ALTERED = 11
    OUT_OF_MEMORY = 12
    BAD_IMAGES = 13
    BAD_SIZE = 14


TEXTS = {
    Code.OK: "no error",
    Code.NULL_POINTER: "a pointer is null",
    Code.MISALIGNED: f"the arena or the weights are not aligned to {ALIGN} bytes",
    Code.ARENA_TOO_SMALL: "the arena is too small",
    Code.WRONG_PROCESSOR: "this processor lacks a feature that the module needs",
    Code.BAD_THREADS: "the number of threads is negative",
    Code.UNFINISHED: "parallel_for returned before it had called the body",
    Code.NOT_OPEN: "the model has no weights: it was not opened, or is closed",
    Code.WEIGHTS_UNREADABLE: "the weights file cannot be opened and read; errno says why",
    Code.WEIGHTS_FOREIGN: "not a weights file of this module",
    Code.WEIGHTS_TRUNCATED: "the weights have not the size they must have",
    Code.WEIGHTS_ALTERED: "the weights were altered: their hash is wrong",
    Code.OUT_OF_MEMORY: "not enough memory to map the weights",
    Code.BAD_IMAGES: "the number of images is below 1, or above the most that the module takes",
    Code.BAD_SIZE: "the module has no size of that number",
}
"""The text of each code, as `NAME_error` gives it."""

FUNCTIONS = ("run", "run_with", "arena_bytes", "arena_bytes_for", "inputs", "outputs", "version", "info", "error")
"""What every module exports, each as `NAME_...`."""
EMBEDDED = ("model_get",)
"""Exported in addition if the weights are inside."""
RANGED = ("shape",)
"""Exported in addition if the sizes of the inputs are of a range."""
EXTERNAL = ("open", "open_memory", "close")
"""Exported in addition if the weights are in a file of their own."""


class Threads(ctypes.Structure):
    """`cnncc_threads`: how many threads a run may use (0: as many as the module was compiled for), and the function
    that starts them, `parallel_for(pool, count, body, context)`. Null stands for the module's own pool."""

    _fields_ = (("count", ctypes.c_int32), ("parallel_for", ctypes.c_void_p), ("pool", ctypes.c_void_p))


class ModelState(ctypes.Structure):
    """`NAME_model`: the address of the weights, and the memory mapping that holds them if there is one."""

    _fields_ = (("weights", ctypes.c_void_p), ("mapping", ctypes.c_void_p), ("mapped", ctypes.c_size_t))
