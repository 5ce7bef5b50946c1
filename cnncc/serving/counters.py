"""What a batcher has done so far."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnncc.serving.request import Request

KEPT = 4096
"""Waits of so many requests are kept, the latest ones, for the percentiles."""


@dataclass(frozen=True)
class ServingCounts:
    """What a batcher has done since it was made. `dataclasses.asdict` makes a dictionary of it."""

    batches: int
    """Runs of the model, failed ones too."""
    requests: int
    """Calls that were in these runs."""
    images: int
    """Images that were in these runs."""
    failed: int
    """Calls whose run failed."""
    cancelled: int
    """Calls that were dropped because their futures were cancelled before the run."""
    refused: int
    """Calls that were refused because the queue was full."""
    waiting: int
    """Calls that wait now."""
    mean_batch: float
    """Images of a run, on average; 0 before the first."""
    wait_p50_ms: float | None
    """Milliseconds from a call to the start of its run: half of the calls waited less. It is of the last 4096 calls;
    None before the first run."""
    wait_p99_ms: float | None
    """As `wait_p50_ms`: 99 of 100 calls waited less."""


class Counters:
    """Numbers that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: deque[float] = deque(maxlen=KEPT)
        self._batches = self._requests = self._images = self._failed = self._cancelled = self._refused = 0

    def add_batch(self, batch: Sequence[Request]) -> None:
        """Notes a run that starts now."""
        now = time.monotonic()
        with self._lock:
            self._batches += 1
            self._requests += len(batch)
            self._images += sum(r.images for r in batch)
            self._waits.extend(now - r.since for r in batch)

    def add_failed(self, requests: int) -> None:
        """Notes calls whose run failed."""
        with self._lock:
            self._failed += requests

    def add_cancelled(self, requests: int) -> None:
        """Notes calls that were cancelled in time."""
        with self._lock:
            self._cancelled += requests

    def add_refused(self) -> None:
        """Notes one call for which there was no room."""
        with self._lock:
            self._refused += 1

    def counts(self, waiting: int) -> ServingCounts:
        """All numbers of one moment; `waiting` is how many calls wait."""
        with self._lock:
            p50, p99 = (1e3 * np.percentile(self._waits, (50, 99))).tolist() if self._waits else (None, None)
            return ServingCounts(
                batches=self._batches,
                requests=self._requests,
                images=self._images,
                failed=self._failed,
                cancelled=self._cancelled,
                refused=self._refused,
                waiting=waiting,
                mean_batch=self._images / self._batches if self._batches else 0.0,
                wait_p50_ms=p50,
                wait_p99_ms=p99,
            )
