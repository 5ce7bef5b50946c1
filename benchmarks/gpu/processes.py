"""Processes that leave none behind: those that a phase starts, and those that these start."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO


def run_session(command: Sequence[str], seconds: float, out: TextIO) -> int:
    """Runs a command in a session of its own, which prints into a file. Its status; it is ended when its time is over.
    Whatever it started is ended with it."""
    child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        return child.wait(max(0.1, seconds))
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
    finally:  # also where this process is interrupted: the terminal does not reach other sessions
        for pid in _of_session(child.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def run_group(command: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Runs a command and what it starts as a group, within the session of this process. Its status and what it printed;
    no status if its time was over and the group was ended."""
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", process_group=0
    )
    try:
        said, _ = child.communicate(timeout=max(1.0, seconds))
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        said, _ = child.communicate()
        return None, said
    return child.returncode, said


def _of_session(leader: int) -> list[int]:
    """The processes of a session, by the files of the kernel (proc_pid_stat(5))."""

    def belongs(stat: Path) -> bool:
        with suppress(OSError, IndexError, ValueError):  # it may have ended by now
            return int(stat.read_text().rpartition(")")[2].split()[3]) == leader
        return False

    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if belongs(stat)]
