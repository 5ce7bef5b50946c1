"""The syntax tree of a network text. Every part knows its place."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.lang.source import TextPiece


@dataclass(frozen=True, slots=True)
class Number(TextPiece):
    value: int | float


@dataclass(frozen=True, slots=True)
class Name(TextPiece):
    name: str


@dataclass(frozen=True, slots=True)
class Arith(TextPiece):
    """A computation: `first`, then pairs of an operator and its right side, from left to right. All operators have one
    precedence."""

    first: Expr
    rest: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Value(TextPiece):
    """A number, a parameter, a computation or a word of the language: `64`, `c`, `4*c`, `relu`."""

    expr: Expr

    @property
    def word(self) -> str | None:
        return self.expr.name if isinstance(self.expr, Name) else None


@dataclass(frozen=True, slots=True)
class Sizes(TextPiece):
    """`3x3`, `3x224x224`."""

    sides: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Stride(TextPiece):
    """`/2`, `/2x1`."""

    sides: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Listing(TextPiece):
    """`1,2` or `(1, 2)`."""

    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Range(TextPiece):
    """`0:16`."""

    low: Expr
    high: Expr


@dataclass(frozen=True, slots=True)
class Text(TextPiece):
    """A name: bare, or in quotes where it has other characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice(TextPiece):
    """`h in 32..1024 step 32`."""

    name: Name
    least: int
    most: int
    step: int


@dataclass(frozen=True, slots=True)
class Where(TextPiece):
    """`where h in 32..1024, w in 32..4096 step 8`: what sizes with a name may be."""

    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Arg(TextPiece):
    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(TextPiece):
    """A block with arguments, `bottleneck(64, s=2)`."""

    name: Name
    args: tuple[Arg, ...]


@dataclass(frozen=True, slots=True)
class Op(TextPiece):
    """A chain of ops, or a block and a chain."""

    items: tuple[Item, ...]
    times: Expr | None


@dataclass(frozen=True, slots=True)
class Merge(TextPiece):
    name: Name
    arms: tuple[tuple[Group, ...], ...]
    items: tuple[Item, ...]
    times: Expr | None


@dataclass(frozen=True, slots=True)
class Refer(TextPiece):
    """`save NAME`, `from NAME`, `output [NAME] [as NAME]`."""

    verb: str
    target: Text | None
    port: Text | None = None
    """The name of an output."""


@dataclass(frozen=True, slots=True)
class Group(TextPiece):
    """The statements of one line, which share a label."""

    label: Text | None
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Param(TextPiece):
    name: str
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Block(TextPiece):
    name: Name
    params: tuple[Param, ...]
    body: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Net(TextPiece):
    name: Text
    blocks: tuple[Block, ...]
    body: tuple[Group, ...]


Expr = Number | Name | Arith
Item = Value | Sizes | Stride | Listing | Range | Call | Text | Where
Statement = Op | Merge | Refer
