"""The launches of a program one by one, and the time of each inside a graph: what a module does, from Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from cnncc.kernels.gpu.conv import GpuConvConfig
from cnncc.kernels.gpu.spec import GpuKernel
from cnncc.module.gpu.program import CudaProgram, kernel_of
from gpu.driver import LONG, Driver, DriverError, Event, Stream
from gpu.jobs import Job
from gpu.packed import Pack, Weights

LEAST = 4
"""Rounds, however long they take."""
EMPTY = 64
"""Events without kernels in between, to see what an event takes."""


@dataclass(frozen=True)
class Loaded:
    """A program with its weights on a device."""

    driver: Driver
    program: CudaProgram
    bases: tuple[int, ...]
    """Addresses of arena, weights, inputs and outputs."""

    @staticmethod
    def of(driver: Driver, pack: Pack, job: Job, weights: Weights, until: float) -> Loaded:
        program = pack.program(job)
        arena = np.zeros(program.arena_bytes, np.uint8)  # counters are zero before the first launch
        arrays = [arena, weights.wait(job, until), *map(np.ascontiguousarray, pack.inputs(job).values())]
        bases: list[int] = []
        try:
            for array in arrays:
                bases.append(driver.upload(array))
            for _, size in program.ports[len(program.graph.inputs) :]:
                bases.append(driver.allocate(size))
        except DriverError:  # what is too much now may do for another program
            for address in bases:
                driver.free(address)
            raise
        return Loaded(driver, program, tuple(bases))

    def free(self) -> None:
        for address in self.bases:
            self.driver.free(address)

    def outputs(self) -> list[np.ndarray]:
        """Bytes of the outputs of the last run."""
        inputs = len(self.program.graph.inputs)
        sizes = [size for _, size in self.program.ports[inputs:]]
        return [self.driver.download(at, size) for at, size in zip(self.bases[2 + inputs :], sizes, strict=True)]


@dataclass(frozen=True)
class Launches:
    """The launches of a loaded program with some code for its kernels."""

    loaded: Loaded
    image: bytes
    source: str
    variant: Callable[[GpuKernel], GpuKernel] = lambda kernel: kernel
    """The kernel of that code for one of the program."""

    @cached_property
    def works(self) -> list[Callable[[Stream], None]]:
        """Each launch, as something to do on a stream."""
        driver, program = self.loaded.driver, self.loaded.program
        module = driver.load(self.image, self.source)
        names = {self.variant(kernel).symbol for kernel in program.kernels}
        functions = {name: driver.function(module, name) for name in names}
        made: list[Callable[[Stream], None]] = []
        for call in program.calls:
            kernel = self.variant(kernel_of(call))
            arguments = [self.loaded.bases[a.base] + a.offset for a in program.arguments(call)]
            function = functions[kernel.symbol]
            made.append(lambda s, f=function, k=kernel, a=arguments: s.launch(f, k.grid, k.threads, a))
        return made

    def run(self, stream: Stream) -> list[np.ndarray]:
        """The outputs of a run."""
        for work in self.works:
            work(stream)
        stream.wait()
        return self.loaded.outputs()

    def seconds(self, stream: Stream, rounds: int) -> list[float]:
        """The median time of each launch inside a graph of all, what an event takes left out."""
        self.run(stream)  # a kernel's first launch may load it, which no capture allows
        between = np.median(_intervals(self.loaded.driver, stream, [_nothing] * EMPTY, rounds))
        found = _intervals(self.loaded.driver, stream, self.works, rounds)
        return [max(0.0, float(seconds - between)) for seconds in found]


def in_other_order(kernel: GpuKernel) -> GpuKernel:
    """A product whose blocks take the tiles one column after another, or, where that is their order already, one row
    after another. The same kernel where there is one row or one column, and if it is no product."""
    config = kernel.config
    if not isinstance(config, GpuConvConfig) or 1 in (config.raster.rows, config.raster.columns):
        return kernel
    raster = config.raster
    return replace(kernel, config=replace(config, band=1 if raster.band == raster.rows else raster.rows))


def _nothing(stream: Stream) -> None:
    """Between two events."""


def _intervals(driver: Driver, stream: Stream, works: list[Callable[[Stream], None]], rounds: int) -> np.ndarray:
    """Median seconds of each work, by events before and after it in one graph."""
    events = [Event(driver) for _ in range(len(works) + 1)]

    def all_works() -> None:
        for event, work in zip(events, works, strict=False):
            stream.record(event, into_graph=True)
            work(stream)
        stream.record(events[-1], into_graph=True)

    graph = stream.captured(all_works)
    found: list[list[float]] = []
    start = time.perf_counter()
    while len(found) <= rounds and (len(found) < LEAST or time.perf_counter() - start < LONG):
        stream.replay(graph)
        stream.wait()
        found.append([a.until(b) for a, b in pairwise(events)])
    stream.drop(graph)
    for event in events:
        event.destroy()
    return np.median(np.array(found[1:]), axis=0)  # the first round loads
