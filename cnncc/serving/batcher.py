"""Requests of many callers as batches of one model."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Literal, Self

from cnncc.base.errors import CnnccError
from cnncc.runtime.model import Model
from cnncc.serving.counters import Counters, ServingCounts
from cnncc.serving.queue import QueueFullError, RequestQueue
from cnncc.serving.request import Request, checked_request, run_requests

LONGEST_DELAY_MS = 60_000


class Batcher:
    """Runs the calls of many threads and coroutines as batches of one model.

    A call has one image or a few; what waits at the same time runs as one batch. Every caller gets the bits that
    `model.run_many` gives for its images alone. Use it in a `with`, or call `close` at the end.

    - `model`: a model of `cnncc.load` or `cnncc.compile`, for batches of several images.
    - `max_batch`: the most images of a run, at most `model.batch`, which is the default.
    - `max_delay_ms`: how long the first call of a batch waits for others, in milliseconds. With 0 nobody waits for
      others: a batch is what has come while the one before it ran.
    - `max_waiting`: the most calls that wait.
    - `when_full`: what a call does that finds so many waiting: `wait` for room, or `refuse`, a QueueFullError at once.
    - `workers`: how many batches may run at the same time, each on `model.threads` threads and in an arena of its own.

    Raises CnnccError for arguments out of range.
    """

    def __init__(
        self,
        model: Model,
        max_batch: int | None = None,
        max_delay_ms: float = 0.0,
        max_waiting: int = 1024,
        when_full: Literal["wait", "refuse"] = "wait",
        workers: int = 1,
    ) -> None:
        most = _checked_batch(model, max_batch)
        _check_rest(max_delay_ms, max_waiting, when_full, workers)
        self.model = model
        """The model that runs the batches."""
        self._waits_for_room = when_full == "wait"
        self._counters = Counters()
        self._queue = RequestQueue(most, max_delay_ms / 1e3, max_waiting)
        self._process = os.getpid()
        names = [f"cnncc batcher {model.name} {i}" for i in range(workers)]
        self._workers = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        for worker in self._workers:
            worker.start()

    def submit(self, *arrays: Any, **named: Any) -> Future[Any]:
        """The future of what `model.run_many` returns for these arrays. They must not be changed before it is done.

        Takes arrays as `run_many` does: one for each input in order, of shapes (n, c, h, w) or (n, k), one dictionary
        by the names of the inputs, or all of them as keywords. n is mostly 1; a call with more than `max_batch` images
        runs alone. A future that is cancelled before its run is dropped. The results of one run are parts of one array.
        Callbacks of futures run on a worker: a call from there is refused if there is no room, as only workers make it.

        Raises InputError for arrays that the model cannot take, QueueFullError if there is no room and this batcher
        refuses then, and ClosedError after `close`. The future raises CnnccError if the run fails.
        """
        request = self._request(arrays, named)
        wait = self._waits_for_room and threading.current_thread() not in self._workers
        if not self._queue.put(request, wait):
            raise self._full()
        return request.future

    async def infer(self, *arrays: Any, **named: Any) -> Any:
        """What `submit(...)` promises, for coroutines: `scores = await batcher.infer(image)`. The event loop is never
        blocked, not even if there is no room. A coroutine that is cancelled cancels its future."""
        request = self._request(arrays, named)
        try:
            if not self._queue.put(request, wait=False):
                if not self._waits_for_room:
                    raise self._full()
                await asyncio.get_running_loop().run_in_executor(None, self._queue.put, request, True)
            return await asyncio.wrap_future(request.future)
        except asyncio.CancelledError:
            request.future.cancel()
            raise

    def counts(self) -> ServingCounts:
        """What this batcher has done so far, and how many calls wait."""
        return self._counters.counts(len(self._queue))

    def close(self) -> None:
        """Refuses later calls, finishes those that wait, and returns when all are done. Calls that wait for room get a
        ClosedError. It may be called again."""
        self._queue.close()
        for worker in self._workers:
            if worker is not threading.current_thread():  # a callback of a future may close its batcher
                worker.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, arrays: Sequence[Any], named: dict[str, Any]) -> Request:
        if os.getpid() != self._process:
            hint = "make the batcher in the process that calls it, after the fork"
            raise CnnccError(f"the batcher of {self.model.name} belongs to another process", hint=hint)
        return checked_request(self.model, arrays, named)

    def _full(self) -> QueueFullError:
        self._counters.add_refused()
        hint = "come again later, or make the batcher with more max_waiting, or when_full='wait'"
        return QueueFullError(f"{self.model.name} is busy: its queue of {self._queue.max_waiting} is full", hint=hint)

    def _work(self) -> None:
        """What a worker does until the batcher is closed."""
        while (taken := self._queue.take()) is not None:
            batch, cancelled = taken
            self._counters.add_cancelled(cancelled)
            if batch:
                self._run(batch)

    def _run(self, batch: Sequence[Request]) -> None:
        self._counters.add_batch(batch)
        try:
            results = run_requests(self.model, batch)
        except BaseException as error:  # whatever it is, the callers wait for it, and later batches for this worker
            self._counters.add_failed(len(batch))
            for request in batch:
                request.future.set_exception(error)
            return
        for request, result in zip(batch, results, strict=True):
            request.future.set_result(result)


def _checked_batch(model: Model, max_batch: int | None) -> int:
    if not hasattr(model, "sizes"):
        hint = "of what cnncc.torch.compile returns, it is `.model`"
        raise CnnccError(f"a Batcher takes a model, got {type(model).__name__}", hint=hint)
    if len(model.sizes) > 1:
        hint = "a Batcher for each: Batcher(model.at_size(0)), Batcher(model.at_size(1)), ..."
        raise CnnccError(f"{model.name} takes {len(model.sizes)} sizes of inputs; a batch has one", hint=hint)
    if model.ranges:
        named = ", ".join(f"{one.name}=..." for one in model.ranges)
        hint = f"a Batcher for each size: Batcher(model.at_size({named}))"
        raise CnnccError(f"{model.name} takes a range of sizes; a batch has one", hint=hint)
    if max_batch is None:
        return model.batch
    if not 1 <= max_batch <= model.batch:
        hint = f"compile it for more: cnncc compile ... --batch {max_batch}" if max_batch > 1 else ""
        raise CnnccError(f"max_batch of {model.name} must be 1 to {model.batch}, its batch, got {max_batch}", hint=hint)
    return max_batch


def _check_rest(max_delay_ms: float, max_waiting: int, when_full: str, workers: int) -> None:
    if not 0 <= max_delay_ms <= LONGEST_DELAY_MS:
        raise CnnccError(f"max_delay_ms must be 0 to {LONGEST_DELAY_MS}, got {max_delay_ms}")
    if max_waiting < 1 or workers < 1:
        raise CnnccError(f"max_waiting and workers must be at least 1, got {max_waiting} and {workers}")
    if when_full not in ("wait", "refuse"):
        raise CnnccError(f"when_full must be 'wait' or 'refuse', got {when_full!r}")
