"""Offsets for thousands of records that are alive at the same time: too many to list which of them clash."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnncc.plan.pieces import Record


def stack(records: Sequence[Record], order: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Each record in turn at the lowest offset that is free as long as it lives; offsets, and the bytes in all.

    An array operation on all records placed so far for each: 0.1 ms with 10 000 of them."""
    offsets = [0] * len(records)
    placed = np.zeros((4, len(records)), np.int64)
    """Start, stop, first and last step of those placed, by rising start."""
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
    """The lowest offset with `size` bytes free, between intervals by rising start, or above them all."""
    free = np.zeros(len(start) + 1, np.int64)
    np.maximum.accumulate(stop, out=free[1:])
    fits = free[:-1] + size <= start
    return int(free[fits.argmax() if fits.any() else -1])
