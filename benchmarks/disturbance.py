"""How much of the machine others took while we measured: a ratio taken on a busy machine says little."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter


class Others:
    """Counts from its making the processor time of all processes but this one and the given ones."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._ours = ["self", *map(str, pids)]
        self._start = perf_counter()
        self._before = self._others()

    def share(self) -> float:
        """Share of the machine's processors since then, 0 to 1."""
        ticks = (perf_counter() - self._start) * os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
        return max(0.0, self._others() - self._before) / ticks

    def _others(self) -> int:
        return _busy_ticks() - sum(_process_ticks(pid) for pid in self._ours)


def _busy_ticks() -> int:
    """All processors together: everything but idle and waiting, with what the hypervisor stole."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return user + nice + system + irq + softirq + steal


def _process_ticks(pid: str) -> int:
    """User and system time of a process and its threads; its name may hold spaces, so count from behind it."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])
