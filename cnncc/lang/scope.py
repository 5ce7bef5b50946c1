"""What names mean at one place of a text: parameters, saved values, the path of new names, the enclosing blocks."""

from __future__ import annotations

import math
import operator
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, product
from string import ascii_lowercase
from typing import NoReturn

from cnncc.base.dim import Symbol
from cnncc.base.errors import nearest
from cnncc.lang import ast
from cnncc.lang.source import Source, Stack, TextPiece

Number = int | float
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv}
LARGEST = 10**18
"""The largest whole number of the language."""
NUMBERS: Mapping[str, Number] = {"inf": math.inf, "nan": math.nan}
"""Numbers that have a name; a parameter may have it too."""
DEEPEST = 64
"""How deep blocks and arms may be nested."""


def letters() -> Iterator[str]:
    """a, b, ... z, aa, ab, ..."""
    return ("".join(combination) for size in count(1) for combination in product(ascii_lowercase, repeat=size))


@dataclass(frozen=True)
class Scope:
    """One sequence of statements: the body of the network, of one use of a block, or of an arm."""

    source: Source
    path: str = ""
    params: Mapping[str, Number] = field(default_factory=dict)
    names: ChainMap[str, str] = field(default_factory=ChainMap)
    """Saved values and labels that `from` finds here, by name. An arm also finds those of the sequences around it."""
    stack: Stack = ()
    calls: tuple[str, ...] = ()
    """The blocks that enclose this place, the outermost first."""
    depth: int = 0
    arms: Iterator[str] = field(default_factory=letters)
    """Letters for the arms of merges without a label in this sequence."""
    given: dict[str, TextPiece] = field(default_factory=dict)
    """The first part of each label and name that the author gave here, and its place."""
    sizes: dict[str, Symbol] = field(default_factory=dict)
    """Sizes that a caller chooses, by the names that inputs have given them."""
    generated: dict[str, tuple[str, TextPiece]] = field(default_factory=dict)
    """The first part of each name that was generated here: what it stands for, and its place."""

    def fail(self, message: str, piece: TextPiece, hint: str = "") -> NoReturn:
        raise self.source.error(message, piece, hint, self.stack)

    def join(self, segment: str) -> str:
        return f"{self.path}.{segment}" if self.path else segment

    def give(self, name: str, piece: TextPiece) -> None:
        """Notes a label or name that the author gave. CnnccError if a generated name has the same first part."""
        first = name.partition(".")[0]
        self.given.setdefault(first, piece)
        self.refuse_alike(first)

    def generate(self, segment: str, what: str, piece: TextPiece) -> None:
        """Notes a generated letter or number. CnnccError, at the given name, if a name that the author gave has the
        same first part."""
        self.generated.setdefault(segment, (what, piece))
        self.refuse_alike(segment)

    def refuse_alike(self, first: str) -> None:
        if first not in self.given or first not in self.generated:
            return
        what, piece = self.generated[first]
        message = f"the name {first!r} is also that of {what} at {self.source.at(piece)}"
        rule = (
            "unlabelled lines are called 0, 1, 2" if first.isdigit() else "arms of unlabelled merges are called a, b, c"
        )
        self.fail(message, self.given[first], f"{rule}: choose another name, or label the other one too")

    def arm(self, path: str, piece: TextPiece) -> Scope:
        """The scope of an arm of a merge in this sequence. Its values are called `path.0` and so on."""
        return Scope(self.source, path, self.params, self.names.new_child(), self.stack, self.calls, self.deeper(piece))

    def body(self, path: str, name: ast.Name, params: Mapping[str, Number]) -> Scope:
        """The scope of the body of a block that is used here."""
        stack = ((name.name, self.source.at(name)), *self.stack)
        return Scope(self.source, path, params, ChainMap(), stack, (*self.calls, name.name), self.deeper(name))

    def deeper(self, piece: TextPiece) -> int:
        if self.depth >= DEEPEST:
            self.fail(f"blocks and merges are nested more than {DEEPEST} deep", piece)
        return self.depth + 1

    def number(self, expr: ast.Expr) -> Number:
        """The value of an expression."""
        if isinstance(expr, ast.Number):
            return self.limited(expr.value, expr)
        if isinstance(expr, ast.Name):
            return self.parameter(expr)
        value = self.number(expr.first)
        for sign, right in expr.rest:
            value = self.compute(sign, value, self.number(right), expr)
        return value

    def limited(self, value: Number, piece: TextPiece) -> Number:
        """The value, if it is not too large. Whole numbers have a largest one, so that no text computes for long. All
        NaNs become one object, so that equal attributes compare as equal."""
        if isinstance(value, int) and abs(value) > LARGEST:
            self.fail("the number is too large", piece, f"at most {LARGEST}")
        return value if value == value else math.nan

    def parameter(self, name: ast.Name) -> Number:
        known = {**NUMBERS, **self.params}
        if name.name not in known:
            self.fail(f"unknown parameter {name.name!r}", name, self.known_parameters(name.name))
        return known[name.name]

    def known_parameters(self, name: str) -> str:
        """The hint for a word that is not a parameter: the parameters that there are."""
        if not self.params:
            return f"{name!r} is no parameter: there are none here"
        return f"{name!r} is no parameter here: {nearest(name, self.params)}"

    def compute(self, sign: str, a: Number, b: Number, piece: TextPiece) -> Number:
        if sign in ("/", "//") and b == 0:
            self.fail("division by zero", piece)
        if sign == "/" and isinstance(a, int) and isinstance(b, int):
            if a % b:
                self.fail(f"{a}/{b} is not a whole number", piece, "`//` rounds down")
            return a // b
        return self.limited(OPERATIONS[sign](a, b), piece)

    def whole(self, expr: ast.Expr, what: str, least: int = 0) -> int:
        """The value of an expression. CnnccError unless it is a whole number, at least `least`."""
        value = self.number(expr)
        if not isinstance(value, int):
            hint = f"write {value:.0f}" if isinstance(expr, ast.Number) and value.is_integer() else "`//` rounds down"
            self.fail(f"{what}: {value} is not a whole number", expr, hint)
        if value < least:
            self.fail(f"{what}: {value} is too small, at least {least}", expr)
        return value
