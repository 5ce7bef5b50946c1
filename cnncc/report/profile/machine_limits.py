"""What this machine can do at best, measured: multiply-adds in registers, dot products of its other units, and
reading memory from end to end.

All are kernels built, compiled and linked like those of a network, for its target and its number of threads.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from cnncc.kernels.cpu.limits import DotLimitConfig, FmaConfig, ReadConfig, dot_kernel, fma_kernel, read_kernel
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines import targets
from cnncc.machines.targets import Target
from cnncc.machines.units import VectorUnit
from cnncc.module import cache as objects_cache
from cnncc.module.cpu.assemble import machine_of
from cnncc.module.keys import kernel_key

SECONDS = 0.4
"""Time for the trials of a limit. The best counts: whatever else runs only makes a trial slower."""
_SMALLEST_BUFFER = 1 << 26


@dataclass(frozen=True)
class MachineLimits:
    """Of all threads together: operations of float32, bytes read from memory, and operations of other types that the
    machine has a unit for, by the type's name; per second."""

    flops: float
    bytes: float
    others: Mapping[str, float] = field(default_factory=dict)

    def of(self, element: str) -> float:
        """Operations of a type per second; those of float32 where it is not among `others`."""
        return self.others.get(element, self.flops)


@cache
def measure_limits(target: Target, threads: int, elements: frozenset[str] = frozenset()) -> MachineLimits:
    """The limits for the target's vectors on so many threads, and those of these types for which it has a unit; about a
    second, once in a process."""
    units = [unit for unit in (target.dots, target.pairs) if unit is not None and unit.element in elements]
    others = {unit.element: _dots(target, threads, unit) for unit in units}
    return MachineLimits(_flops(target, threads), _bytes(target, threads), others)


def _flops(target: Target, threads: int) -> float:
    kernel = fma_kernel(target)
    config: FmaConfig = kernel.config
    factors = np.repeat(np.array([0.5, 1.0], np.float32), config.lanes)  # sums tend to 2: never huge, never denormal
    arguments = [(factors, np.empty(config.units * config.lanes, np.float32)) for _ in range(threads)]
    return _best(_Linked(target, kernel), arguments, config.units * config.flops, _each)


def _dots(target: Target, threads: int, unit: VectorUnit) -> float:
    kernel = dot_kernel(target, unit)
    config: DotLimitConfig = kernel.config
    # Zeros are multiplied as fast as anything, and no sum leaves its type.
    arguments = [
        (
            np.zeros(config.words, np.int32),
            np.zeros(config.weight_numbers * unit.element_bytes, np.uint8),
            np.empty(config.units * config.micro.lanes, np.int32),
        )
        for _ in range(threads)
    ]
    return _best(_Linked(target, kernel), arguments, config.units * config.flops, _each)


def _bytes(target: Target, threads: int) -> float:
    floats = max(4 * target.l3_bytes, _SMALLEST_BUFFER) // threads // 4
    kernel = read_kernel(target, floats // ReadConfig.floats)
    config: ReadConfig = kernel.config
    # Written, not only reserved: fresh pages would all be the same page of zeros, in a cache.
    arguments = [
        (np.ones(kernel.units * config.floats, np.float32), np.empty(kernel.units * config.lanes, np.float32))
        for _ in range(threads)
    ]
    return _best(_Linked(target, kernel), arguments, 4 * kernel.units * config.floats, _together)


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


def _best(kernel: _Linked, arguments: Sequence[tuple[np.ndarray, ...]], work: int, rate: Rate) -> float:
    """The rate of the best trial; in each, every thread does `work` at the same time."""
    barrier = threading.Barrier(len(arguments))

    def one(arrays: tuple[np.ndarray, ...]) -> _Trial:
        barrier.wait()
        start, before = time.perf_counter(), time.thread_time()
        kernel.run([a.ctypes.data for a in arrays])  # without the interpreter's lock
        return _Trial(start, time.perf_counter(), time.thread_time() - before)

    best, stop = 0.0, time.perf_counter() + SECONDS
    with ThreadPoolExecutor(len(arguments)) as pool:
        while best == 0.0 or time.perf_counter() < stop:
            best = max(best, rate(work, list(pool.map(one, arguments))))
    return best


class _Linked:
    """A kernel of the machine's limits, linked into the process."""

    def __init__(self, target: Target, kernel: Kernel) -> None:
        symbol, self.units = kernel.symbol, kernel.units
        body = objects_cache.fetch(kernel_key(kernel, target), lambda: _compile(kernel, target))
        library = llvm.JITLibraryBuilder().add_object_img(body).export_symbol(symbol).add_current_process()
        # Without JITLink, LLVM ends the process where parts of an object come to lie too far from each other.
        self._jit = llvm.create_lljit_compiler(machine_of(targets.host()), use_jit_link=True)
        self._tracker = library.link(self._jit, symbol)
        self._address = self._tracker[symbol]

    def run(self, operands: Sequence[int]) -> None:
        """All units, on operands at these addresses."""
        kinds = [*[ctypes.c_void_p] * (len(operands) + 1), ctypes.c_int32, ctypes.c_int32]
        ctypes.CFUNCTYPE(None, *kinds)(self._address)(*operands, None, 0, self.units)


def _compile(kernel: Kernel, target: Target) -> bytes:
    from cnncc.module.cpu.objects import compile_kernel  # loads TVM

    return compile_kernel(kernel, target)
