"""How much of the machine others took while we measured: a ratio taken on a busy machine says little."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter


class Others:
    """Adds up, over turns, the processor time of all processes but this one and the one whose turn it is."""

    def __init__(self) -> None:
        self._taken = 0
        self._there = 0.0

    @contextmanager
    def turn(self, pid: int) -> Iterator[None]:
        """The turn of a process that lives at its end; one that ends with an error does not count."""
        start, before = perf_counter(), _others(pid)
        yield
        self._taken += _others(pid) - before
        self._there += (perf_counter() - start) * os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)

    @property
    def share(self) -> float:
        """Part of the machine's processors that others had during the turns, 0 to 1."""
        return min(1.0, max(0, self._taken) / self._there) if self._there else 0.0


def _others(pid: int) -> int:
    return _busy_ticks() - _process_ticks("self") - _process_ticks(str(pid))


def _busy_ticks() -> int:
    """All processors together: everything but idle and waiting, with what the hypervisor stole."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return user + nice + system + irq + softirq + steal


def _process_ticks(pid: str) -> int:
    """User and system time of a process and its threads; its name may hold spaces, so count from behind it."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])
