"""Offsets for thousands of records that are alive at the same time. The pairs that clash are too many to be listed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnncc.plan.pieces import Record


def stack(records: Sequence[Record], order: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Places each record in turn at the lowest offset that is free during its whole life. Returns the offsets and the
    total bytes.

    Each record takes array operations on all records placed so far: 0.1 ms with 10 000 of them."""
    offsets = [0] * len(records)
    placed = np.zeros((4, len(records)), np.int64)
    """Start, stop, first step and last step of the records placed so far, sorted by start."""
    for count, i in enumerate(order):
        first, last, size = records[i]
        start, stop, begins, ends = placed[:, :count]
        alive = (begins <= last) & (ends >= first)
        offsets[i] = _lowest(start[alive], stop[alive], size)
        at = int(np.searchsorted(start, offsets[i]))
        placed[:, at + 1 : count + 1] = placed[:, at:count]
        placed[:, at] = offsets[i], offsets[i] + size, first, last
    return tuple(offsets), int(placed[1].max(initial=0))


def _lowest(start: np.ndarray, stop: np.ndarray, size: int) -> int:
    """The lowest offset with `size` free bytes, between the taken intervals or above them; `start` is sorted."""
    free = np.zeros(len(start) + 1, np.int64)
    np.maximum.accumulate(stop, out=free[1:])
    fits = free[:-1] + size <= start
    return int(free[fits.argmax() if fits.any() else -1])
