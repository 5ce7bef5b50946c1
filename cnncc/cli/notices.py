"""Warnings of a command: on standard error, each once, none with --quiet; and all of them for --json."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cnncc.base.errors import CnnccWarning


@dataclass
class Notices:
    """What was said while a command ran."""

    quiet: bool = False
    said: dict[str, CnnccWarning] = field(default_factory=dict)

    def tell(self, warning: CnnccWarning) -> None:
        """Say it, unless it was said before."""
        if str(warning) not in self.said and not self.quiet:
            print(f"cnncc: warning: {warning}", file=sys.stderr)
        self.said.setdefault(str(warning), warning)

    def messages(self) -> list[str]:
        """Of all of them, without places."""
        return [warning.message for warning in self.said.values()]

    def to_json(self) -> list[dict[str, Any]]:
        """Message, place (None if it has none) and hint of each."""
        return [
            {"message": w.message, "place": str(w.span) if w.span else None, "hint": w.hint} for w in self.said.values()
        ]


_current = Notices()


def current() -> Notices:
    """Those of the command that runs."""
    return _current


@contextmanager
def listening(quiet: bool) -> Iterator[None]:
    """Shows our warnings as the command line does; others stay with Python."""
    global _current
    before, _current = _current, Notices(quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("always", CnnccWarning)
        others = warnings.showwarning

        def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            if isinstance(message, CnnccWarning):
                _current.tell(message)
            else:
                others(message, *args, **kwargs)

        warnings.showwarning = show
        try:
            yield
        finally:
            _current = before
