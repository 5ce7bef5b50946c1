"""Ctrl-C ends a command within a second, whatever it is doing.

Python raises KeyboardInterrupt only between its own instructions: not while the main thread is in a library (LLVM, a
long product of NumPy) or waits for other threads. A thread that sees the signal at once gives it a moment, then ends
the process.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cnncc.base import files

EXIT_INTERRUPTED = 130
PATIENCE = 0.3
"""Seconds in which a command may end by itself."""


@contextmanager
def watched() -> Iterator[None]:
    """While the block runs, an interrupt that it does not follow in time ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, signals = os.pipe()
    os.set_blocking(signals, False)
    before = signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
    hook, sys.unraisablehook = sys.unraisablehook, _without_interrupts(sys.unraisablehook)
    watcher = threading.Thread(target=_watch, args=(ours,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(before)
        os.close(signals)
        watcher.join()
        os.close(ours)


def _without_interrupts(hook: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[sys.UnraisableHookArgs], None]:
    """What Python calls with errors that nobody can catch, but for an interrupt: one that falls into a hook of a
    library, as when a process forks, is lost, and the watcher ends the process."""

    def tell_others(error: sys.UnraisableHookArgs) -> None:
        if error.exc_type is not KeyboardInterrupt:
            hook(error)

    return tell_others


def _watch(signals: int) -> None:
    """Reads the numbers of signals until the pipe is closed, which says that the block has ended."""
    while number := os.read(signals, 1):
        if number[0] == signal.SIGINT and not _closed_in_time(signals):
            end()


def _closed_in_time(signals: int) -> bool:
    ready, _, _ = select.select([signals], [], [], PATIENCE)
    return bool(ready) and os.read(signals, 1) == b""


def tell() -> int:
    """Says that the command was interrupted; returns the exit code.

    Python notes an interrupt within `exec`, which dataclasses use, and then ends by a signal whatever a program
    returns. Another `exec` takes the note back.
    """
    print("cnncc: interrupted", file=sys.stderr)
    exec("")
    return EXIT_INTERRUPTED


def end() -> None:
    """Ends the process at once; its temporary files go, and the workers that compile follow it."""
    files.remove_scratch()
    print("cnncc: interrupted", file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)
