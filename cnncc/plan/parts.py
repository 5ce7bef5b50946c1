"""What values consist of: a concat of the arms that are written inside it, and those of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate


class Parts:
    """A forest of steps, each of which is a part of a later one (`inside`) or of none (-1). An answer takes no longer
    for a concat of concats of concats, as a DenseNet has them, than for a single value."""

    def __init__(self, inside: Sequence[int], sizes: Sequence[int]) -> None:
        self._count = _counts(inside)
        self._start = _starts(inside, self._count)
        in_order = [0] * len(sizes)
        for step, start in enumerate(self._start):
            in_order[start] = sizes[step]
        self._sums = [0, *accumulate(in_order)]

    def bytes_of(self, steps: Iterable[int]) -> int:
        """Bytes of the steps and of all they consist of, each counted once."""
        total = covered = 0
        for start, stop in sorted((self._start[s], self._start[s] + self._count[s]) for s in steps):
            if stop > covered:  # otherwise it is a part of one before
                total += self._sums[stop] - self._sums[start]
                covered = stop
        return total


def _counts(inside: Sequence[int]) -> list[int]:
    """Of how many steps each consists, itself among them."""
    counts = [1] * len(inside)
    for step, whole in enumerate(inside):  # parts come before what they are parts of
        if whole >= 0:
            counts[whole] += counts[step]
    return counts


def _starts(inside: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Positions such that a step and all it consists of are neighbours, the step first."""
    starts = [0] * len(inside)
    free = [0] * (len(inside) + 1)
    """The next position inside each step; the last is for those that are no part."""
    for step in reversed(range(len(inside))):
        whole = inside[step]
        starts[step] = free[whole]
        free[whole] += counts[step]
        free[step] = starts[step] + 1
    return starts
