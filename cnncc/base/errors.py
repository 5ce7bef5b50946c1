"""The one error family of cnncc, with a place in the source and a caret printer."""

from __future__ import annotations

import difflib
import os
import sys
import textwrap
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HINT_WIDTH = 100
"""Columns that a hint fills before it goes on in the next line."""
LINE_WIDTH = 100
"""Characters that are shown of a source line."""
MANY = 64
"""Names in a hint that nobody reads if the nearest one is there."""
PACKAGE = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Span:
    """A place in a source text. `line` and `column` count from 1; `length` is in characters."""

    file: str
    line: int
    column: int
    length: int = 1
    text: str = ""
    """The whole source line, for the caret display."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class CnnccError(Exception):
    """Something is wrong with what the user gave. Its text has the message, the place, what encloses the place, and
    what to do. It is the base of all errors that cnncc raises on purpose."""

    def __init__(
        self,
        message: str,
        span: Span | None = None,
        stack: Iterable[tuple[str, Span]] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        """What is wrong."""
        self.span = span
        """Where: file, line and column of a text, counted from 1. None if no text is to blame."""
        self.stack = tuple(stack)
        """The blocks around the place, from the innermost outwards, each as (name of the block, place of its use)."""
        self.hint = hint
        """What to do about it; empty if there is nothing to say."""

    def __str__(self) -> str:
        return _told(self.message, self.span, self.stack, self.hint)


class CnnccWarning(UserWarning):
    """Input that is legal, but most likely not what the user meant. It comes through `warnings.warn`."""

    def __init__(self, message: str, span: Span | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        """What is doubtful."""
        self.span = span
        """Where, as in an error."""
        self.hint = hint
        """What to write instead."""

    def __str__(self) -> str:
        return _told(self.message, self.span, (), self.hint)


def warn(message: str, span: Span | None = None, hint: str = "") -> None:
    """Warn, as Python does, at the line that called into this package. The command line shows it in its own way."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(CnnccWarning(message, span, hint), stacklevel=level)


def _told(message: str, span: Span | None, stack: Iterable[tuple[str, Span]], hint: str) -> str:
    """Message, source line with carets, enclosing blocks and hint, each on lines of its own."""
    lines = [f"{span}: {message}" if span else message]
    if span and span.text:
        lines += caret_lines(span)
    lines += [f"  in {block}, from {place}" for block, place in stack]
    if hint:
        lines += _hint_lines(hint)
    return "\n".join(lines)


def _hint_lines(hint: str) -> list[str]:
    """The hint, indented, in lines of at most `HINT_WIDTH`; words (paths, names) stay whole."""
    wrap = textwrap.TextWrapper(HINT_WIDTH, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False)
    first, *rest = hint.split("\n")
    wrapped = wrap.wrap(f"  hint: {first}")
    wrap.initial_indent = " " * 8
    return [*wrapped, *(line for paragraph in rest for line in wrap.wrap(paragraph))]


def reason(error: OSError) -> str:
    """Why a file operation failed, without paths or numbers: `no such file or folder`."""
    known = {FileNotFoundError: "no such file or folder", IsADirectoryError: "it is a folder"}
    text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return known.get(type(error), text[:1].lower() + text[1:])


def caret_lines(span: Span) -> list[str]:
    """The source line and, below it, carets under the span. Both align in a terminal: tabs are kept, wide characters
    get two carets, what cannot be shown is `?`. Of a long line only `LINE_WIDTH` characters around the span appear."""
    at = span.column - 1
    start = max(0, min(at - LINE_WIDTH // 2, len(span.text) - LINE_WIDTH))
    shown = "".join(c if c == "\t" or c.isprintable() else "?" for c in span.text[start : start + LINE_WIDTH])
    at -= start
    head, tail = "..." if start else "", "..." if start + LINE_WIDTH < len(span.text) else ""
    before = "".join("\t" if c == "\t" else " " * _width(c) for c in shown[:at])
    carets = "^" * max(1, sum(map(_width, shown[at : at + span.length])))
    return [f"  | {head}{shown}{tail}", f"  | {' ' * len(head)}{before}{carets}"]


def _width(character: str) -> int:
    """Columns of a terminal: 2 for wide ones (East Asian, emoji), 0 for accents that join the character before."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def nearest_one(name: str, choices: Iterable[str]) -> str:
    """A hint that names the nearest choice; empty if none is near."""
    close = difflib.get_close_matches(name, sorted(choices), n=1)
    return f"did you mean {close[0]}?" if close else ""


def nearest(name: str, choices: Iterable[str], heading: str = "known") -> str:
    """A hint for an unknown name: the nearest choice if there is one, then, unless these are very many, all of them
    under a heading. Without a near one all are listed."""
    known = sorted(choices)
    if not known:
        return ""
    close = difflib.get_close_matches(name, known, n=1)
    if close and len(known) > MANY:
        return f"did you mean {close[0]!r}?"
    listing = ", ".join(known)
    return f"did you mean {close[0]!r}? {heading}: {listing}" if close else f"{heading}: {listing}"
