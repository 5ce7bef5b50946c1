"""The requests that wait for a run: a bounded queue that gives them out in batches."""

from __future__ import annotations

import threading
import time
from collections import deque

from cnncc.base.errors import CnnccError
from cnncc.serving.request import Request


class QueueFullError(CnnccError):
    """As many requests wait as may wait: the caller should come again later."""


class ClosedError(CnnccError):
    """The batcher takes no more requests."""


class RequestQueue:
    """At most `max_waiting` requests in the order they came. Any number of threads may put and take.

    A batch is ready when `max_batch` images wait, when the first request has waited for `max_delay` seconds, or when
    the queue was closed. Requests stay in the queue until then, so that a caller can still cancel its future.
    """

    def __init__(self, max_batch: int, max_delay: float, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self._max_batch, self._max_delay = max_batch, max_delay
        self._waiting: deque[Request] = deque()
        self._images = 0
        self._closed = False
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def put(self, request: Request, wait: bool) -> bool:
        """Adds a request. If the queue is full, it waits for room, or else returns False. ClosedError if the queue is
        closed, or becomes so meanwhile."""
        with self._lock:
            while wait and not self._closed and len(self._waiting) >= self.max_waiting:
                self._has_room.wait()
            if self._closed:
                raise ClosedError("the batcher is closed", hint="submit before `close`, or before the end of `with`")
            if len(self._waiting) >= self.max_waiting:
                return False
            self._waiting.append(request)
            self._images += request.images
            if len(self._waiting) == 1 or self._images >= self._max_batch:
                self._has_work.notify()  # to start the clock of the first, or to run a full batch
            return True

    def take(self) -> tuple[list[Request], int] | None:
        """The next batch, once it is ready, and how many requests were dropped because their callers cancelled them.
        None if the queue is closed and empty.

        A batch has at most `max_batch` images; one request with more is a batch of its own."""
        with self._lock:
            while (left := self._seconds_left()) is None or left > 0:
                self._has_work.wait(left)
            if not self._waiting:
                return None
            before = len(self._waiting)
            batch = self._pop_batch()
            taken = before - len(self._waiting)
            self._has_room.notify(taken)
            if self._waiting:
                self._has_work.notify()  # the clock of those that are left is another worker's
            return batch, taken - len(batch)

    def _seconds_left(self) -> float | None:
        """Until a batch is ready: 0 or less if one is; None if that depends on others."""
        if self._closed or self._images >= self._max_batch:
            return 0.0
        return self._waiting[0].since + self._max_delay - time.monotonic() if self._waiting else None

    def _pop_batch(self) -> list[Request]:
        batch: list[Request] = []
        room = self._max_batch
        while self._waiting and (not batch or self._waiting[0].images <= room):
            request = self._waiting.popleft()
            self._images -= request.images
            if request.future.set_running_or_notify_cancel():
                batch.append(request)
                room -= request.images
        return batch

    def close(self) -> None:
        """From now on nothing is added, and what waits is ready."""
        with self._lock:
            self._closed = True
            self._has_work.notify_all()
            self._has_room.notify_all()
