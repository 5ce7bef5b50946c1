"""What this machine can do at best, measured: multiply-adds in registers, and reading memory from end to end.

Both are kernels built, compiled and linked like those of a network, for its target and its number of threads.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite.binding as llvm
import numpy as np

from cnncc.machines import targets
from cnncc.machines.targets import Target
from cnncc.module import cache as objects_cache
from cnncc.module.cpu.emit import machine_of
from cnncc.module.keys import compiler_digest

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

SECONDS = 0.4
"""Time for the trials of a limit. The best counts: whatever else runs only makes a trial slower."""
FMA_UNITS, FMA_STEPS = 64, 1 << 15
READ_FLOATS = 4096
"""Floats a unit of the reading kernel reads."""
_READ_SUMS = 8
_SMALLEST_BUFFER = 1 << 26


@dataclass(frozen=True)
class MachineLimits:
    """Of all threads together: floating-point operations, and bytes read from memory, per second."""

    flops: float
    bytes: float


@cache
def measure_limits(target: Target, threads: int) -> MachineLimits:
    """The limits for the target's vectors on so many threads; about a second, once in a process."""
    return MachineLimits(_flops(target, threads), _bytes(target, threads))


def _flops(target: Target, threads: int) -> float:
    kernel = _Kernel(target, "cnncc_limit_fma")
    factors = np.repeat(np.array([0.5, 1.0], np.float32), target.lanes)  # sums tend to 2: never huge, never denormal
    arguments = [(factors, np.empty(FMA_UNITS * target.lanes, np.float32)) for _ in range(threads)]
    work = 2 * FMA_UNITS * FMA_STEPS * _chains(target) * target.lanes
    return _best(kernel, arguments, FMA_UNITS, work, _each)


def _bytes(target: Target, threads: int) -> float:
    kernel = _Kernel(target, "cnncc_limit_read")
    units = max(4 * target.l3_bytes, _SMALLEST_BUFFER) // threads // (4 * READ_FLOATS)
    # Written, not only reserved: fresh pages would all be the same page of zeros, in a cache.
    arguments = [
        (np.ones(units * READ_FLOATS, np.float32), np.empty(units * target.lanes, np.float32)) for _ in range(threads)
    ]
    return _best(kernel, arguments, units, 4 * units * READ_FLOATS, _together)


Rate = Callable[[int, list["_Trial"]], float]
"""Work of each thread, what each took -> work per second of all."""


@dataclass(frozen=True)
class _Trial:
    """When a thread's work began and ended, and the processor time it took, in seconds."""

    start: float
    end: float
    busy: float


def _each(work: int, trials: list[_Trial]) -> float:
    """Of threads that do not slow each other: by their processor time, so nothing else that runs counts."""
    return sum(work / t.busy for t in trials)


def _together(work: int, trials: list[_Trial]) -> float:
    """Of threads that share something: from the first start to the last end."""
    return work * len(trials) / (max(t.end for t in trials) - min(t.start for t in trials))


def _best(kernel: _Kernel, arguments: list[tuple[np.ndarray, np.ndarray]], units: int, work: int, rate: Rate) -> float:
    """The rate of the best trial; in each, every thread does `work` at the same time."""
    barrier = threading.Barrier(len(arguments))

    def one(pair: tuple[np.ndarray, np.ndarray]) -> _Trial:
        barrier.wait()
        start, before = time.perf_counter(), time.thread_time()
        kernel.run(*(a.ctypes.data for a in pair), None, 0, units)  # without the interpreter's lock
        return _Trial(start, time.perf_counter(), time.thread_time() - before)

    best, stop = 0.0, time.perf_counter() + SECONDS
    with ThreadPoolExecutor(len(arguments)) as pool:
        while best == 0.0 or time.perf_counter() < stop:
            best = max(best, rate(work, list(pool.map(one, arguments))))
    return best


class _Kernel:
    """A kernel of this file, linked into the process."""

    def __init__(self, target: Target, symbol: str) -> None:
        body = objects_cache.fetch(_key(target, symbol), lambda: _compile(target, symbol))
        library = llvm.JITLibraryBuilder().add_object_img(body).export_symbol(symbol).add_current_process()
        # Without JITLink, LLVM ends the process where parts of an object come to lie too far from each other.
        self._jit = llvm.create_lljit_compiler(machine_of(targets.host()), use_jit_link=True)
        self._tracker = library.link(self._jit, symbol)
        kinds = [*[ctypes.c_void_p] * 3, ctypes.c_int32, ctypes.c_int32]
        self.run: Callable[..., None] = ctypes.CFUNCTYPE(None, *kinds)(self._tracker[symbol])


def _key(target: Target, symbol: str) -> str:
    everything = (compiler_digest(), Path(__file__).read_bytes(), symbol, target)
    return hashlib.sha256(repr(everything).encode()).hexdigest()


def _compile(target: Target, symbol: str) -> bytes:
    from cnncc.module.cpu.objects import compile_function  # loads TVM

    build = {"cnncc_limit_fma": _fma, "cnncc_limit_read": _read}[symbol]
    return compile_function(build(target, symbol), symbol, target)


def _chains(target: Target) -> int:
    """Independent sums: enough to hide the latency of a multiply-add, few enough to stay in registers."""
    unit = target.floats
    return min(unit.registers - 4, 2 * unit.ports * unit.latency)


def _fma(target: Target, symbol: str) -> PrimFunc:
    """sum = sum * a + b, in many sums at once; a unit is so many steps of all."""
    from cnncc.kernels.shared.builder import KernelBuilder, splat

    lanes, chains = target.lanes, _chains(target)
    k = KernelBuilder()
    factors, result = k.operand("factors", 2 * lanes), k.operand("result", FMA_UNITS * lanes)
    with k.units() as unit:
        a, b = (k.let(factors.load(i * lanes, lanes)) for i in range(2))
        sums = k.registers(chains * lanes)
        for c in range(chains):
            sums.store(c * lanes, splat(float(c), lanes), lanes)
        with k.loop(FMA_STEPS):
            for c in range(chains):
                sums.store(c * lanes, sums.load(c * lanes, lanes) * a + b, lanes)
        total = sums.load(0, lanes)
        for c in range(1, chains):
            total = total + sums.load(c * lanes, lanes)
        result.store(unit * lanes, total, lanes)
    return k.finish(symbol)


def _read(target: Target, symbol: str) -> PrimFunc:
    """Adds up memory; a unit is `READ_FLOATS` of it."""
    from cnncc.kernels.shared.builder import KernelBuilder, splat

    lanes, step = target.lanes, _READ_SUMS * target.lanes
    k = KernelBuilder()
    # The sizes stand for any: kernels do not check them.
    source, result = k.operand("source", READ_FLOATS), k.operand("result", lanes)
    with k.units() as unit:
        sums = k.registers(step)
        for s in range(0, step, lanes):
            sums.store(s, splat(0.0, lanes), lanes)
        with k.loop(READ_FLOATS // step) as i:
            at = k.let(unit * READ_FLOATS + i * step)
            for s in range(0, step, lanes):
                sums.store(s, sums.load(s, lanes) + source.load(at + s, lanes), lanes)
        total = sums.load(0, lanes)
        for s in range(lanes, step, lanes):
            total = total + sums.load(s, lanes)
        result.store(unit * lanes, total, lanes)
    return k.finish(symbol)
