"""A competitor in a process of its own, stopped while it is not its turn.

Competitors keep their threads spinning after a run, so two of them awake at once slow each other. And a competitor
that crashes takes nobody with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.bench.engine import Run
from cnncc.bench.engines import ENGINES
from cnncc.bench.job import Job

WARM_UP = 0.2
"""Share of a turn that is run before timing starts: the caches hold what the others left."""
FEWEST_RUNS = 3
PATIENCE = 600
"""Seconds until a competitor that says nothing is given up."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Turn:
    """One turn of one competitor: seconds of each run, and the outputs of the last."""

    seconds: list[float]
    outputs: list[np.ndarray]


class Worker:
    """The process of a competitor. Not a daemon: those may not compile in parallel."""

    def __init__(self, name: str, job: Job) -> None:
        spawn = get_context("spawn")
        self._log = job.folder / f"{name}.log"
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, name, job, self._log))
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def prepare(self) -> str:
        """Waits until the network is ready and stops the process; returns what it says of itself.

        CnnccError with the reason if it cannot take the network.
        """
        about: str = self._receive()
        self._stop()
        return about

    def turn(self, arrays: Sequence[np.ndarray], seconds: float) -> Turn:
        """Wakes the process for one turn. CnnccError with the reason if it ends instead."""
        os.kill(self.pid, signal.SIGCONT)
        with suppress(BrokenPipeError):  # its process has ended, which _receive tells
            self._pipe.send((arrays, seconds))
        result: Turn = self._receive()
        return result

    def stop(self) -> None:
        """After a turn, so that the next competitor has the machine to itself."""
        self._stop()

    def close(self) -> None:
        """Ends the process; only SIGKILL reaches one that is stopped."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _stop(self) -> None:
        """Stops the process and waits until all its threads have."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(PATIENCE):
                raise CnnccError(f"no answer in {PATIENCE} s")
            reply = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(PATIENCE)
            text = self._log.read_text(errors="replace") if self._log.exists() else ""
            raise CnnccError(why_it_ended(self._process.exitcode, text)) from None
        if isinstance(reply, CnnccError):
            raise reply
        return reply


def why_it_ended(code: int | None, log: str) -> str:
    """A sentence of the exit code of a process and what it printed: the last exception, else the last line."""
    if code is not None and code < 0:
        ended = f"its process was ended by {signal.Signals(-code).name}"
    else:
        ended = f"its process ended with code {code}"
    _, _, traceback = log.rpartition("Traceback (most recent call last):\n")
    lines = [line for line in traceback.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(" ")] if traceback != log else lines[-1:]
    return textwrap.shorten(": ".join([ended, " ".join(said)] if said else [ended]), 300, placeholder=" ...")


def _serve(pipe: Connection, name: str, job: Job, log: Path) -> None:
    """The life of a worker: make ready, then answer each (arrays, seconds) with a Turn until killed."""
    # A stopped process would outlive a parent that was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It never ends by itself, so what it reported as shared would be called leaked.
    resource_tracker.register = _ignore  # type: ignore[assignment]
    _redirect(log)
    try:
        engine = ENGINES[name](job)
    except CnnccError as error:
        pipe.send(error)
        return
    pipe.send(engine.about)
    while True:
        arrays, seconds = pipe.recv()
        _repeat(engine.run, arrays, seconds * WARM_UP)
        pipe.send(_repeat(engine.run, arrays, seconds * (1 - WARM_UP)))


def _ignore(name: str, kind: str) -> None:
    """In place of the report of a semaphore, which Linux removes with its last process."""


def _redirect(log: Path) -> None:
    """Sends what this process and its libraries print to a file: standard output is the caller's."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)


def _repeat(run: Run, arrays: Sequence[np.ndarray], seconds: float) -> Turn:
    """Runs for about `seconds`, at least FEWEST_RUNS times."""
    times: list[float] = []
    outputs: list[np.ndarray] = []
    end = perf_counter() + seconds
    while len(times) < FEWEST_RUNS or perf_counter() < end:
        start = perf_counter()
        outputs = run(arrays)
        times.append(perf_counter() - start)
    return Turn(times, outputs)
