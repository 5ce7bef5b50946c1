"""The one error family of cnncc, with a place in the source and a caret printer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


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
    """Bad input, told to a person: message, place, what encloses it, and what to do.

    `stack` lists the enclosing blocks from the innermost outwards, each as `(block name, place of the call)`.
    """

    def __init__(
        self,
        message: str,
        span: Span | None = None,
        stack: Iterable[tuple[str, Span]] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.stack = tuple(stack)
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.span}: {self.message}" if self.span else self.message]
        if self.span and self.span.text:
            lines += caret_lines(self.span)
        lines += [f"  in {block}, from {place}" for block, place in self.stack]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def caret_lines(span: Span) -> list[str]:
    """The source line and, below it, carets under the span; tabs are kept so that both align."""
    before = "".join("\t" if c == "\t" else " " for c in span.text[: span.column - 1])
    length = max(1, min(span.length, len(span.text) - span.column + 1))
    return [f"  | {span.text}", f"  | {before}{'^' * length}"]


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest choice if there is one, then all of them."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1)
    listing = ", ".join(known)
    return f"did you mean {close[0]!r}? known: {listing}" if close else f"known: {listing}"
