"""The canonical spacing and indentation of network texts. Line breaks and comments stay where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lark import Token

from cnncc.lang.parse import parser, syntax_tree
from cnncc.lang.source import Source

STEP = 2
TIGHT_BEFORE = frozenset({"RPAR", "COMMA", "SEMICOLON", "COLON", "BY", "STAR", "IDIV", "PLUS", "MINUS", "EQUAL"})
TIGHT_AFTER = frozenset({"LPAR", "CALL", "BY", "TIMES", "SLASH", "STAR", "IDIV", "PLUS", "MINUS", "EQUAL"})
GAP = re.compile(r"#[^\n]*|\n")
LINE_END = re.compile(r"[ \t\f\r]*[#\n]")


@dataclass
class Frame:
    """An open bracket: the column of its content, and the column of its bars and closing bracket if they start a
    line."""

    type: str
    content: int
    close: int


@dataclass
class Page:
    """Finished lines and the one being written."""

    lines: list[str] = field(default_factory=list)
    line: str = ""

    def end_line(self) -> None:
        self.lines.append(self.line.rstrip())
        self.line = ""

    def blank(self) -> None:
        """Writes one blank line for any number of them, and none at the start of the text or of a block."""
        if self.lines and self.lines[-1] and not self.lines[-1].endswith("{"):
            self.lines.append("")


def format_text(text: str, file: str = "<text>") -> str:
    """A network text in the canonical layout. It means the same, and formatting it again changes nothing.

    `file` is the name of the text in errors. Raises CnnccError if the text does not parse."""
    source = Source(file, text.removeprefix("\ufeff").replace("\r\n", "\n"))
    syntax_tree(source)
    page, frames = Page(), [Frame("", 0, 0)]
    before: list[Token] = []
    end = 0
    for token in tokens(source.text):
        gap = list(GAP.findall(source.text[end : token.start_pos]))
        if write_gap(page, gap, frames[-1].content):
            if token.type == "RBRACE" and page.lines[-1:] == [""]:
                page.lines.pop()
            page.line = " " * indent(token, frames[-1])
        elif before:
            page.line += space(before, token, frames[-1])
        write(page, token, frames, bool(LINE_END.match(source.text, token.end_pos or 0)))
        before.append(token)
        end = token.end_pos or 0
    write_gap(page, [*GAP.findall(source.text[end:]), "\n"], 0)
    return "\n".join(page.lines).rstrip("\n") + "\n"


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a correct text, without newlines."""
    return (t for t in parser().parse_interactive(text).iter_parse() if t.type != "_NL")


def write_gap(page: Page, gap: list[str], column: int) -> bool:
    """Writes the comments and newlines between two tokens. Returns whether a new line was started."""
    newlines = 0
    for piece in gap:
        if piece == "\n":
            newlines += 1
            if page.line.strip():
                page.end_line()
            elif newlines > 1:
                page.blank()
            continue
        comment = piece.rstrip()
        page.line = f"{page.line}  {comment}" if page.line.strip() else " " * column + comment
    return newlines > 0 or not (page.lines or page.line)


def indent(token: Token, frame: Frame) -> int:
    """The column of a token that starts a line."""
    return frame.close if token.type in ("BAR", "RBRACE", "RPAR") else frame.content


def write(page: Page, token: Token, frames: list[Frame], last: bool) -> None:
    """Writes a token and keeps track of brackets. `last` says that the token is the last of its line."""
    column = len(page.line)
    page.line += re.sub(r"\s", "", token) if token.type == "SPAN" else token
    if token.type in ("LBRACE", "LPAR"):
        base = frames[-1].content
        inline = column + (2 if token.type == "LBRACE" else 1)
        frames.append(Frame(token.type, base + STEP, base) if last else Frame(token.type, inline, column))
    elif token.type in ("RBRACE", "RPAR"):
        frames.pop()


def between_ranges(before: list[Token]) -> bool:
    """Whether the last token is the comma behind `h in 32..1024`, with a step or without."""
    types = [token.type for token in before[-3:-1]]
    return types[-1:] == ["SPAN"] or types == ["STEP", "INT"]


def space(before: list[Token], token: Token, frame: Frame) -> str:
    """The space between the last token and this one, on the same line."""
    last = before[-1].type
    inside = frame.type == "LPAR"
    if last == "COLON":
        return " " if len(before) > 1 and before[-2].type in ("LABEL", "TEXT") else ""
    if last == "COMMA":
        return " " if inside or between_ranges(before) else ""
    tight = token.type in TIGHT_BEFORE or last in TIGHT_AFTER or (token.type == "SLASH" and inside)
    return "" if tight or (last, token.type) == ("LBRACE", "RBRACE") else " "
