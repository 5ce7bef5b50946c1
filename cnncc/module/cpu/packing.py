"""Packed weights, computed on all cores while code is made and others are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from cnncc.kernels.shared.spec import Packed
from cnncc.machines.targets import available_cores

MOST_WORKERS = 4
"""Threads at most: each holds a weight and its packed form."""

AHEAD = 48 << 20
"""Bytes of packed weights that may wait, or as many weights as there are threads, however large those are."""


class Packing:
    """Offset and value of each weight, in order, to be gone through once. Threads begin before anybody asks: NumPy lets
    go of the interpreter while it draws random numbers, copies and multiplies. `close` ends them early."""

    def __init__(self, weights: Sequence[tuple[Packed, int]]) -> None:
        self._workers = min(available_cores(), MOST_WORKERS)
        self._pool = ThreadPoolExecutor(self._workers)
        self._left = deque(weights)
        self._waiting: deque[tuple[Packed, int, Future[np.ndarray]]] = deque()
        self._used = False
        self._submit()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        assert not self._used, "weights are handed out once, and not after they were closed"
        self._used = True
        try:
            while self._waiting:
                _, offset, future = self._waiting.popleft()
                self._submit()
                yield offset, future.result()
        finally:
            self.close()

    def close(self) -> None:
        """Waits for what is being computed; the rest never begins."""
        self._used = True
        self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        held = sum(packed.nbytes for packed, _, _ in self._waiting)
        while self._left and (len(self._waiting) < self._workers or held + self._left[0][0].nbytes <= AHEAD):
            packed, offset = self._left.popleft()
            self._waiting.append((packed, offset, self._pool.submit(packed.compute)))
            held += packed.nbytes
