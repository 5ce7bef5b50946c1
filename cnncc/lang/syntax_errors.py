"""What the parser expected, in words."""

from __future__ import annotations

import re

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from cnncc.errors import CnnccError
from cnncc.lang.source import Piece, Source

WORDS = {
    "NET": "`net NAME`",
    "NAME": "an op, a block or a parameter",
    "REF": "a name",
    "INT": "a number",
    "LABEL": "a label",
    "BLOCK": "`block`",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "BAR": "'|'",
    "EQUAL": "'='",
    "COLON": "':'",
    "COMMA": "','",
    "SEMICOLON": "';'",
    "_NL": "the end of the line",
}
"""Terminals a person can act on, in the order they are listed; the others go without saying."""
INNER_BLOCK = re.compile(r"\bblock\s+\w+(\([^()]*\))?$")
MANY = 7
"""More alternatives than this are not worth reading."""


def complaint(token: Token) -> str:
    """`unexpected '}'`, or that something is missing at the end."""
    if token.type == "$END":
        return "the text ends too early"
    return "the line ends too early" if token.type == "_NL" else f"unexpected {str(token)!r}"


def expected(error: UnexpectedToken) -> str:
    """`expected a name or '{'`, or nothing if almost anything would do."""
    accepted = set(error.accepts or error.expected)
    words = [text for terminal, text in WORDS.items() if terminal in accepted]
    if not words or len(words) > MANY:
        return ""
    *head, last = words
    return f": expected {', '.join(head)} or {last}" if head else f": expected {last}"


def hint(source: Source, token: Token) -> str:
    """Advice for the mistakes people make."""
    before = source.text[: token.start_pos].rstrip(" \t")
    if token.type == "BLOCK" or INNER_BLOCK.search(before):
        return "blocks are defined at the top level, each on a line of its own"
    if token.type in ("NET", "LABEL"):
        return "one network a text; start each statement on a line of its own, or after ';'"
    if token.type == "EQUAL":
        return "arguments by name stand in the parentheses of a block: bottleneck(64, s=2), with no space before '('"
    if token.type == "COLON" or before.endswith(":"):
        return "a label starts its line: `conv1: conv 3x3 64`"
    if token.type == "SLASH":
        return "outside parentheses '/' is a stride; write (c/2) for a division"
    return ""


def explain(source: Source, error: UnexpectedToken | UnexpectedCharacters) -> CnnccError:
    """The error of the parser as one a person can use."""
    if isinstance(error, UnexpectedCharacters):
        start = error.pos_in_stream or 0
        text = source.text[start]
        advice = "a text in quotes ends on the line it starts on" if text == '"' else ""
        return source.error(f"unexpected character {text!r}", Piece(start, start + 1), advice)
    token = error.token
    if "NET" in error.expected:
        return source.error(f"{complaint(token)}: a network starts with `net NAME`", place(source, token))
    return source.error(f"{complaint(token)}{expected(error)}", place(source, token), hint(source, token))


def place(source: Source, token: Token) -> Piece:
    """Where the token is; for the end of the text, just after the last character that says something."""
    if token.type != "$END":
        return Piece(token.start_pos or 0, token.end_pos or 0)
    end = len(source.text.rstrip())
    return Piece(end, end + 1)
