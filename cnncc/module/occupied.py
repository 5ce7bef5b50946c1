"""Which bytes are in use, while tensors come and go."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class Occupied:
    """A set of bytes as the runs it consists of. Thousands of tensors side by side are one run: what is looked through
    for a hole is only as long as there are holes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._starts: list[int] = []
        self._stops: list[int] = []

    @property
    def runs(self) -> Sequence[tuple[int, int]]:
        """Their starts and stops, rising."""
        return list(zip(self._starts, self._stops, strict=True))

    def add(self, start: int, stop: int) -> None:
        """Bytes that were free are in use from now on."""
        if start == stop:
            return
        at = bisect_left(self._starts, start)
        first, last = start, stop
        low = high = at
        if at and self._stops[at - 1] == start:
            low, first = at - 1, self._starts[at - 1]
        if at < len(self._starts) and self._starts[at] == stop:
            high, last = at + 1, self._stops[at]
        self._starts[low:high], self._stops[low:high] = [first], [last]
        self.bytes += stop - start

    def remove(self, start: int, stop: int) -> None:
        """Bytes that were in use are free from now on."""
        if start == stop:
            return
        at = bisect_right(self._starts, start) - 1
        first, last = self._starts[at], self._stops[at]
        left = [run for run in ((first, start), (stop, last)) if run[0] < run[1]]
        self._starts[at : at + 1] = [a for a, _ in left]
        self._stops[at : at + 1] = [b for _, b in left]
        self.bytes -= stop - start
