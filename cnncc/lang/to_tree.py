"""The nodes of the syntax tree that the parser makes for each rule of the grammar."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from lark import Token, Transformer

from cnncc.lang import ast

Parts = list[Any]
DIGITS = 18
"""Most digits of a whole number. Longer numbers must have a point or an exponent."""


class NumberError(Exception):
    """A number that is too large to compute with."""

    def __init__(self, token: Token, message: str, hint: str = "") -> None:
        super().__init__(token)
        self.token = token
        self.message = message
        self.hint = hint


def edges(parts: Parts) -> tuple[int, int]:
    """Where the text that a rule matched starts and ends."""
    return start_of(parts[0]), end_of(parts[-1])


def start_of(part: Any) -> int:
    position = part.start_pos if isinstance(part, Token) else part.start
    assert position is not None
    return int(position)


def end_of(part: Any) -> int:
    position = part.end_pos if isinstance(part, Token) else part.end
    assert position is not None
    return int(position)


def is_token(part: Any, *types: str) -> bool:
    return isinstance(part, Token) and part.type in types


def only(kind: type | tuple[type, ...], parts: Parts) -> Any:
    """The parts of one kind, in order."""
    return tuple(p for p in parts if isinstance(p, kind))


def word(token: Token) -> ast.Text:
    """A bare or quoted name."""
    text = json.loads(token, strict=False) if token.type == "TEXT" else str(token)
    return ast.Text(*edges([token]), text)


def opened(items: Iterable[ast.Item]) -> Iterator[ast.Item]:
    """The items after the first. There, `mean(1, 2)` means `mean (1, 2)`, because a block can only start a
    statement."""
    for item in items:
        if isinstance(item, ast.Call) and not any(a.name for a in item.args):
            yield ast.Value(item.name.start, item.name.end, item.name)
            yield ast.Listing(item.start, item.end, tuple(a.value for a in item.args))
        else:
            yield item


def ends(span: Token) -> Iterator[Token]:
    """The two numbers of `32..1024`, as tokens."""
    assert span.start_pos is not None
    for match in re.finditer(r"\d+", span):
        yield Token("INT", match[0], span.start_pos + match.start(), end_pos=span.start_pos + match.end())


EXPRESSION = (ast.Number, ast.Name, ast.Arith)
ITEM = (ast.Value, ast.Sizes, ast.Stride, ast.Listing, ast.Range, ast.Call, ast.Text, ast.Where)


class ToTree(Transformer):  # type: ignore[type-arg]
    """One method per rule of the grammar; brackets and operators arrive as tokens."""

    def number(self, parts: Parts) -> ast.Number:
        token = parts[0]
        if token.type == "INT" and len(token) > DIGITS:
            raise NumberError(token, f"a number of more than {DIGITS} digits")
        whole = token.type == "INT" or (token.type == "NEGATIVE" and token[1:].isdigit() and len(token) <= DIGITS)
        value = int(token) if whole else float(token)
        if math.isinf(value) and "inf" not in token:
            raise NumberError(token, "the number is too large", "`inf` is infinity")
        return ast.Number(*edges(parts), value)

    def name(self, parts: Parts) -> ast.Name:
        return ast.Name(*edges(parts), str(parts[0]))

    def paren(self, parts: Parts) -> Any:
        return parts[1]

    def sum(self, parts: Parts) -> Any:
        if len(parts) == 1:
            return parts[0]
        pairs = zip(map(str, parts[1::2]), parts[2::2], strict=True)
        return ast.Arith(*edges(parts), parts[0], tuple(pairs))

    plain_sum = plain_product = product = sum

    def value(self, parts: Parts) -> ast.Value:
        return ast.Value(*edges(parts), parts[0])

    def range(self, parts: Parts) -> ast.Range:
        return ast.Range(*edges(parts), parts[0], parts[2])

    def sizes(self, parts: Parts) -> ast.Sizes:
        return ast.Sizes(*edges(parts), tuple(parts[::2]))

    def stride(self, parts: Parts) -> ast.Stride:
        return ast.Stride(*edges(parts), tuple(parts[1::2]))

    def listing(self, parts: Parts) -> ast.Listing:
        return ast.Listing(*edges(parts), only(EXPRESSION, parts))

    def arg(self, parts: Parts) -> ast.Arg:
        key, _, value = parts
        given = key and self.name([key])
        return ast.Arg(*edges([key or value, value]), given, value)

    def call(self, parts: Parts) -> ast.Call:
        return ast.Call(*edges(parts), self.name(parts[:1]), only(ast.Arg, parts))

    def text(self, parts: Parts) -> ast.Text:
        return word(parts[0])

    def choice(self, parts: Parts) -> ast.Choice:
        name, _, span, _, step = parts
        least, most = (self.number([token]).value for token in ends(span))
        every = self.number([step]).value if step else 1
        return ast.Choice(*edges([name, step or span]), self.name([name]), int(least), int(most), int(every))

    def where(self, parts: Parts) -> ast.Where:
        return ast.Where(*edges(parts), only(ast.Choice, parts))

    def times(self, parts: Parts) -> tuple[str, Any]:
        return ("times", parts[1])

    def op(self, parts: Parts) -> ast.Op:
        times = parts.pop()[1] if isinstance(parts[-1], tuple) else None
        return ast.Op(*edges(parts), (parts[0], *opened(parts[1:])), times)

    def merge(self, parts: Parts) -> ast.Merge:
        times = parts.pop()[1] if isinstance(parts[-1], tuple) else None
        arms = tuple(p for p in parts if isinstance(p, list))
        name = self.name(parts[:1])
        return ast.Merge(*edges(parts), name, tuple(map(tuple, arms)), tuple(opened(only(ITEM, parts))), times)

    def sequence(self, parts: Parts) -> Parts:
        return parts

    def refer(self, parts: Parts) -> ast.Refer:
        verb, *words = (part for part in parts if part is not None)
        at = next((i for i, part in enumerate(words) if is_token(part, "AS")), len(words))
        target, port = ([*map(word, found), None][0] for found in (words[:at], words[at + 1 :]))
        return ast.Refer(*edges([verb, *words]), str(verb), target, port)

    def label(self, parts: Parts) -> Token:
        return parts[0]

    def group(self, parts: Parts) -> ast.Group:
        label = word(parts[0]) if is_token(parts[0], "LABEL", "TEXT") else None
        return ast.Group(*edges(parts), label, only((ast.Op, ast.Merge, ast.Refer), parts))

    def param(self, parts: Parts) -> ast.Param:
        name, _, default = parts
        return ast.Param(*edges([name, default or name]), str(name), default)

    def block(self, parts: Parts) -> ast.Block:
        body = next(p for p in parts if isinstance(p, list))
        return ast.Block(*edges(parts), self.name(parts[1:2]), only(ast.Param, parts), tuple(body))

    def start(self, parts: Parts) -> ast.Net:
        return ast.Net(*edges(parts), word(parts[1]), only(ast.Block, parts), only(ast.Group, parts))
