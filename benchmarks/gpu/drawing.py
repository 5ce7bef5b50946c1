"""The processes that draw the weights of programs, beside the phases that wait for them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from gpu.jobs import Job
from gpu.packed import Pack, Weights

MOST_CORES = 16
"""That are made use of: each process takes memory for a network."""
LEFT = 2
"""Cores for the phases."""
TRIES = 2
"""How often a program's weights are begun: a process may have died because too little memory was left just then."""


def workers() -> int:
    """How many processes draw."""
    return max(1, min(len(os.sched_getaffinity(0)), MOST_CORES) - LEFT)


def draw(root: Path, folder: Path, job: Job) -> None:
    """The weights of a program, by a process of their own."""
    Weights(folder).draw(Pack(root), job)


@dataclass(frozen=True)
class Drawing:
    """Draws the weights of programs in their order. For each there is in the end a file of its weights, or one that
    says why not. A process that dies costs no program but the one it was at."""

    root: Path
    folder: Path
    prepare: Callable[[bool], None]
    """What each process begins with."""
    emulated: bool
    left: SimpleQueue[Job]

    @staticmethod
    def start(
        root: Path, folder: Path, prepare: Callable[[bool], None], emulated: bool, jobs: Iterable[Job]
    ) -> Drawing:
        """Draws while this process does other things."""
        drawing = Drawing(root, folder, prepare, emulated, SimpleQueue())
        for job in jobs:
            drawing.left.put(job)
        for _ in range(workers()):
            Thread(target=drawing._go_on, daemon=True).start()
        return drawing

    def stop(self) -> None:
        """Begins no more."""
        while self._next() is not None:
            pass

    def _next(self) -> Job | None:
        try:
            return self.left.get_nowait()
        except Empty:
            return None

    def _go_on(self) -> None:
        """Has a process draw what is left, and a new one after it died. They are not of one pool, whose processes all
        die with one of them."""
        pool = self._pool()
        while (job := self._next()) is not None:
            for tries_left in reversed(range(TRIES)):
                try:
                    pool.submit(draw, self.root, self.folder, job).result()
                    break
                except BrokenProcessPool:
                    pool.shutdown()
                    pool = self._pool()
                    if not tries_left:
                        self._fail(job, f"the process that drew them died, {TRIES} times")
                except Exception as error:  # `draw` tells what it can: this is of the machine
                    self._fail(job, f"{type(error).__name__}: {error}")
                    break
        pool.shutdown()

    def _fail(self, job: Job, why: str) -> None:
        with suppress(OSError):  # the run may be over, and its folder gone
            (self.folder / f"{job.key}.error").write_text(f"the weights of {job.key} cannot be drawn: {why}")

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, context, self.prepare, (self.emulated,))
