"""Tables on standard output and progress on standard error, by rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

PIPED_WIDTH = 400
"""Columns when nobody looks: wide enough that no cell is cut."""


def console() -> Console:
    """Standard output: as wide as the terminal, or as wide as needed when piped."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def table(*columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns are text, folded where room is short; the others numbers, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, header_style="bold")
    for position, title in enumerate(columns):
        text = position < left
        made.add_column(title, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    return made


@contextmanager
def progress(what: str) -> Iterator[Progress | None]:
    """A bar on standard error that goes away when done; None (no reporting) unless that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda text, done, total: bar.update(task, completed=done, total=total or 1, description=text)


def size(count: float) -> str:
    """Bytes for people: 4,096 bytes is `4.0 KiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
