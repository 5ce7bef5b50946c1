"""Rounds in which each competitor has one turn.

Speed drifts on a shared machine, so turns are short, their order changes, and what counts is the ratio within a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.bench.job import Job
from cnncc.bench.others import Others
from cnncc.bench.peers import FLOAT32, IN_BFLOAT16, LITERAL, OURS, TITLES
from cnncc.bench.worker import Turn, Worker

Progress = Callable[[str, int, int], None]


@dataclass
class Contest:
    """All turns of all competitors, by name and then by round, what each said of itself, and why some have none."""

    job: Job
    about: dict[str, str] = field(default_factory=dict)
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    others: float = 0.0
    """Share of the machine's processors that others took during the turns, stolen by the hypervisor included."""


def contest(job: Job, names: Sequence[str], rounds: int, seconds: float, progress: Progress | None = None) -> Contest:
    """Runs `rounds` rounds of cnncc and the named peers, in each a turn of `seconds` for everyone still there, on
    inputs not used before.

    A peer that cannot take the network or whose process ends is in `failed`. CnnccError if that happens to cnncc, or to
    the one that says what is right.
    """
    tell = progress or (lambda what, done, total: None)
    with ExitStack() as stack:
        field_ = _Field(Contest(job), stack)
        everyone = [OURS, *([job.judge] if job.judge else []), *names]
        for index, name in enumerate(everyone):
            tell(f"preparing {TITLES[name]}", index, len(everyone))
            field_.enter(name)
        for index in range(rounds):
            tell(f"round {index + 1} of {rounds}", index, rounds)
            arrays = job.inputs(index)
            for name in order(list(field_.workers), index):
                field_.turn(name, arrays, seconds)
        return field_.done()


def order(names: list[str], index: int) -> Iterable[str]:
    """The order in a round: another one begins each time, and every other round goes backwards."""
    first = index // 2 % len(names)
    turned = names[first:] + names[:first]
    return reversed(turned) if index % 2 else turned


def _instead(name: str, job: Job) -> str:
    """What has to be said of one that does not compute in the type that was asked for."""
    in_float32 = name == FLOAT32 or (job.options.dtype == "bfloat16" and name not in IN_BFLOAT16)
    return ", float32" if in_float32 else ", unoptimised" if name == LITERAL else ""


class _Field:
    """Those still in the contest."""

    def __init__(self, result: Contest, stack: ExitStack) -> None:
        self.workers: dict[str, Worker] = {}
        self._result = result
        self._stack = stack
        self._others = Others()

    def enter(self, name: str) -> None:
        worker = Worker(name, self._result.job)
        self._stack.callback(worker.close)
        try:
            self._result.about[name] = worker.prepare() + _instead(name, self._result.job)
        except CnnccError as error:
            self._fail(name, worker, error)
            return
        self.workers[name] = worker
        self._result.turns[name] = []

    def turn(self, name: str, arrays: list[np.ndarray], seconds: float) -> None:
        worker = self.workers[name]
        try:
            with self._others.turn(worker.pid):
                turn = worker.turn(arrays, seconds)
        except CnnccError as error:
            del self.workers[name], self._result.turns[name]
            self._fail(name, worker, error)
            return
        worker.stop()
        self._result.turns[name].append(turn)

    def done(self) -> Contest:
        self._result.others = self._others.share
        return self._result

    def _fail(self, name: str, worker: Worker, error: CnnccError) -> None:
        if name in (OURS, self._result.job.judge):
            raise error
        worker.close()
        self._result.failed[name] = str(error)
