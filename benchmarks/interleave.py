"""Competitors in turn on one machine: each in its own process, stopped while another runs.

Peers keep their threads spinning after a run, so two of them awake at once slow each other. And speed drifts on a
shared machine, so turns are short, their order alternates, and what counts is the ratio within a round.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import perf_counter

import numpy as np
from disturbance import Others
from engines import ENGINES, SEED, Job

from cnncc.errors import CnnccError
from cnncc.ir import Node

WARM_UP = 0.2
"""Share of a turn that is run before timing starts: the caches hold what the other left."""
FEWEST_RUNS = 3
_PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """The measurement cannot be made; the text says why."""


@dataclass(frozen=True)
class Turn:
    """One turn of one competitor: seconds of each run, and the outputs of the last."""

    seconds: list[float]
    outputs: list[np.ndarray]


@dataclass(frozen=True)
class Contest:
    """All turns of all competitors, by name and then by round, and what each said of itself."""

    job: Job
    about: Mapping[str, str]
    turns: Mapping[str, list[Turn]]
    disturbance: float
    """Share of the machine's processors that others took during the rounds, stolen by the hypervisor included."""


def contest(job: Job, rounds: int, seconds: float) -> Contest:
    """Runs `rounds` rounds, in each a turn of `seconds` for every competitor on an input not used before.

    BenchError if a competitor cannot take the network or its process ends.
    """
    inputs = _inputs(job)
    turns: dict[str, list[Turn]] = {name: [] for name in ENGINES}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(name, job)) for name in ENGINES}
        others = Others([worker.pid for worker in workers.values()])
        for index in range(rounds):
            arrays = inputs(index)
            for name in sorted(workers, reverse=bool(index % 2)):
                turns[name].append(workers[name].turn(arrays, seconds))
        return Contest(job, {name: worker.about for name, worker in workers.items()}, turns, others.share())


def _inputs(job: Job) -> Callable[[int], list[np.ndarray]]:
    """A function from a number to random inputs that are normally distributed once the net has normalised them.

    Not pixels of 0 to 255: with initial weights, a net that subtracts a mean only would give a softmax of 0s and one
    1, and nothing would be compared.
    """
    try:
        nodes = job.graph().inputs
    except CnnccError as error:
        raise BenchError(str(error)) from error

    def draw(index: int) -> list[np.ndarray]:
        rng = np.random.default_rng((SEED, index))
        return [_raw(node, rng.standard_normal(node.type.shape)) for node in nodes]

    return draw


def _raw(node: Node, values: np.ndarray) -> np.ndarray:
    """What a caller passes to an input node for it to have these values."""
    column = (-1, *(1,) * (values.ndim - 2))
    mean, std = (np.reshape(node.attrs[name] or neutral, column) for name, neutral in (("mean", 0), ("std", 1)))
    return (values * std + mean).astype(np.float32)


class Worker:
    """A competitor in its own process, awake only during its turns. No daemon: those may not compile in parallel."""

    def __init__(self, name: str, job: Job) -> None:
        spawn = get_context("spawn")
        self.name = name
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, name, job))
        self.process.start()
        theirs.close()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def prepare(self) -> None:
        """Waits until the network is ready, and stops the process."""
        self.about: str = self._receive()
        self._stop()

    def turn(self, arrays: list[np.ndarray], seconds: float) -> Turn:
        """Wakes the process for one turn."""
        os.kill(self.pid, signal.SIGCONT)
        with suppress(BrokenPipeError):  # its process has ended, which _receive tells
            self.pipe.send((arrays, seconds))
        result: Turn = self._receive()
        self._stop()
        return result

    def close(self) -> None:
        """Ends the process; only SIGKILL reaches one that is stopped."""
        self.process.kill()
        self.process.join()

    def _stop(self) -> None:
        """Stops the process and waits until all its threads have."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _receive(self) -> object:
        try:
            reply = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise BenchError(f"{self.name}: its process ended with code {self.process.exitcode}") from None
        if isinstance(reply, BenchError):
            raise reply
        return reply


@contextmanager
def _worker(name: str, job: Job) -> Iterator[Worker]:
    worker = Worker(name, job)
    try:
        worker.prepare()
        yield worker
    finally:
        worker.close()


def _serve(pipe: Connection, name: str, job: Job) -> None:
    """The life of a worker: make ready, then answer each (arrays, seconds) with a Turn until killed."""
    # A stopped process would outlive a parent that was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        engine = ENGINES[name](job)
    except CnnccError as error:
        pipe.send(BenchError(f"{name}: {error}"))
        return
    pipe.send(engine.about)
    while True:
        arrays, seconds = pipe.recv()
        _repeat(engine.run, arrays, seconds * WARM_UP)
        pipe.send(_repeat(engine.run, arrays, seconds * (1 - WARM_UP)))


def _repeat(run: Callable[[Sequence[np.ndarray]], list[np.ndarray]], arrays: list[np.ndarray], seconds: float) -> Turn:
    """Runs for about `seconds`, at least FEWEST_RUNS times."""
    times: list[float] = []
    outputs: list[np.ndarray] = []
    end = perf_counter() + seconds
    while len(times) < FEWEST_RUNS or perf_counter() < end:
        start = perf_counter()
        outputs = run(arrays)
        times.append(perf_counter() - start)
    return Turn(times, outputs)
