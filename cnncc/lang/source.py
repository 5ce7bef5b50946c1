"""A network text and places in it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from cnncc.base.errors import CnnccError, Span

Stack = tuple[tuple[str, Span], ...]


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Something in a text, from character `start` up to `end` (counted from 0)."""

    start: int
    end: int


@dataclass(frozen=True)
class Source:
    """A text, and its name in messages."""

    file: str
    text: str

    @cached_property
    def starts(self) -> list[int]:
        """The character at which each line begins."""
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def span(self, start: int, end: int) -> Span:
        """The place of the characters from `start` up to `end`. The carets are under the first line only."""
        row = bisect_right(self.starts, start) - 1
        first = self.starts[row]
        stop = self.starts[row + 1] - 1 if row + 1 < len(self.starts) else len(self.text)
        length = max(1, min(end, stop) - start)
        return Span(self.file, row + 1, start - first + 1, length, self.text[first:stop].rstrip("\r"))

    def at(self, piece: TextPiece) -> Span:
        return self.span(piece.start, piece.end)

    def error(self, message: str, piece: TextPiece, hint: str = "", stack: Stack = ()) -> CnnccError:
        """An error at a piece of the text."""
        return CnnccError(message, self.at(piece), stack, hint)
