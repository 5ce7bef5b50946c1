"""Tables on standard output and progress on standard error, by rich."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cnncc.cli import notices

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

PIPED_WIDTH = 400
"""Columns when nobody looks: wide enough that no cell is cut."""

TEXT_WIDTH = 100
"""Columns that running text fills at most."""

LABEL_WIDTH = 12
"""Columns of the labels before figures, and of the indentation of what follows."""


NO_BREAK = "\N{NO-BREAK SPACE}"


def port_name(name: str) -> str:
    """The name of an input or output as it is; in quotes, with escapes, if it has characters that a terminal does not
    show: models of others may call them anything."""
    return name if name.isprintable() else json.dumps(name)


def width() -> int:
    """Columns of the terminal, or as many as needed when piped."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH


def console() -> Console:
    """Standard output, as wide as `width` says. BrokenPipeError if its reader has gone, as `print` does."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; what to do is decided in one place, `main`

    return Ours(width=width(), highlight=False, markup=False, emoji=False)


def table(*columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns are text, folded where room is short; the others numbers, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, header_style="bold")
    for position, title in enumerate(columns):
        text = position < left
        made.add_column(title, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    return made


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, drop: Sequence[str] = ()) -> None:
    """Print a table of cells that are never cut or folded. Where the terminal is narrower, the columns of `drop` are
    left out, in that order, and a line says so."""
    widths = {title: max(map(len, cells)) for title, *cells in zip(columns, columns, *rows, strict=True)}
    kept = list(columns)
    dropped = []
    for title in drop:
        if _columns_of(widths, kept) <= width():
            break
        kept.remove(title)
        dropped.append(title)
    made = table(*kept, left=sum(title in kept for title in columns[:left]))
    for column in made.columns:
        column.no_wrap = True
    for row in rows:
        made.add_row(*(cell for title, cell in zip(columns, row, strict=True) if title in kept))
    out = console()
    out.width = max(out.width, _columns_of(widths, kept))
    out.print(made)
    if dropped:
        print(f"no room for {', '.join(dropped)}: --json has all, or a wider terminal")


def _columns_of(widths: Mapping[str, int], titles: Sequence[str]) -> int:
    return sum(widths[title] for title in titles) + GAP * (len(titles) - 1)


GAP = 2
"""Columns between those of a table."""


def print_field(label: str, text: str) -> None:
    """A figure after its label; long text goes on below, indented. Words (paths, names) and sizes stay whole."""
    indent = " " * (LABEL_WIDTH + 1)
    columns = min(width(), TEXT_WIDTH)
    whole_sizes = re.sub(r"(\d) ([KMG]iB|bytes)", rf"\1{NO_BREAK}\2", text)
    for line in textwrap.wrap(
        f"{label:<{LABEL_WIDTH}} {whole_sizes}",
        columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        print(line.replace(NO_BREAK, " "))


@contextmanager
def progress(what: str, wanted: bool = True) -> Iterator[Progress | None]:
    """A bar on standard error that goes away when done; None (no reporting) unless that is a terminal, or where rich
    is not installed: an installation that only runs modules has none."""
    if notices.current().quiet or not (wanted and sys.stderr.isatty()) or find_spec("rich") is None:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def tell(text: str, done: int, total: int) -> None:
            count = f" ({done} of {total})" if total > 1 else ""
            bar.update(task, completed=done, total=total or 1, description=f"{text}{count}")

        yield tell


def size(count: float) -> str:
    """Bytes for people: 4,096 bytes is `4.00 KiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def stored_as(weights_dtype: str) -> str:
    """What to add where weights are named or counted; nothing if all of them are float32."""
    return "" if weights_dtype == "float32" else f", those of float32 convolutions and fc as {weights_dtype}"


def short_size(count: float) -> str:
    """Bytes in the few characters of a table: 3,211,264 bytes is `3.1 MiB`, 602,112 are `588 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{_short(count)} {unit}"
        count /= 1024
    return f"{_short(count)} GiB"


def short_count(count: float) -> str:
    """A count in the few characters of a table: 118,013,952 is `118.0M`; exact below 1000."""
    for unit in ("", "k", "M"):
        if count < 999.95:
            return f"{count:.1f}{unit}" if unit else f"{count:.0f}"
        count /= 1000
    return f"{count:.1f}G"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"
