"""Packed weights, computed on all cores while others are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from cnncc.kernels.spec import Packed
from cnncc.targets import available_cores

MOST_WORKERS = 4
"""Threads at most: each holds a weight and its packed form."""


def computed(weights: Sequence[tuple[Packed, int]]) -> Iterator[tuple[int, np.ndarray]]:
    """Offset and value of each weight, in order. NumPy lets go of the interpreter while it draws random numbers, copies
    and multiplies, so threads do; only a few values are held at a time."""
    workers = min(available_cores(), MOST_WORKERS)
    waiting: deque[tuple[int, Future[np.ndarray]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for packed, offset in weights:
            waiting.append((offset, pool.submit(packed.compute)))
            if len(waiting) > workers:
                at, future = waiting.popleft()
                yield at, future.result()
        while waiting:
            at, future = waiting.popleft()
            yield at, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
