"""Brackets and newlines, between lexer and parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from lark import Token

DEEPEST = 64
CLOSES = {"RPAR": "LPAR", "RBRACE": "LBRACE"}
WRITTEN = {"LPAR": "(", "RPAR": ")", "LBRACE": "{", "RBRACE": "}"}


class NestingError(Exception):
    """Brackets that do not match. `token` is the bracket that the error points at."""

    def __init__(self, message: str, token: Token, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.token = token
        self.hint = hint


def close(opened: list[Token], token: Token) -> None:
    """Removes from the stack the bracket that `token` closes."""
    mine = WRITTEN[token.type]
    if not opened:
        raise NestingError(f"{mine!r} closes nothing", token, f"there is no open {WRITTEN[CLOSES[token.type]]!r} here")
    last = opened.pop()
    if last.type != CLOSES[token.type]:
        place = f"line {last.line}, column {last.column}"
        raise NestingError(f"{mine!r} does not close the {last.value!r} of {place}", token)


class Nesting:
    """Lark's `postlex`. It drops newlines inside parentheses, replaces several newlines by one, and checks that
    brackets match, so that an unclosed bracket is reported where it was opened and not at the end of the file."""

    always_accept: ClassVar[tuple[str, ...]] = ("_NL", "RPAR", "RBRACE")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        opened: list[Token] = []
        after_newline = False
        for token in stream:
            if token.type in CLOSES:
                close(opened, token)
            if token.type in CLOSES.values():
                opened.append(token)
                if len(opened) > DEEPEST:
                    message = f"brackets are nested more than {DEEPEST} deep"
                    raise NestingError(message, token, "make inner parts blocks of their own")
            newline = token.type == "_NL"
            if not (newline and (after_newline or (opened and opened[-1].type == "LPAR"))):
                yield token
            after_newline = newline
        if opened:
            raise NestingError(f"this {opened[-1].value!r} is never closed", opened[-1])
