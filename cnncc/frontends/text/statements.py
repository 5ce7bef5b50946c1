"""The statements of a text as a tree: chains of ops, merges with arms, and references to named values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DEEPEST = 8
"""Arms inside each other."""


@dataclass(frozen=True)
class Chain:
    """An op and those that follow it in the same statement."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Joined:
    """A merge with its arms, and ops that follow it."""

    arms: tuple[Sequence, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class From:
    """Makes a named value the current one."""

    name: str


@dataclass(frozen=True)
class Save:
    """Names the current value."""

    name: str


@dataclass(frozen=True)
class Output:
    """Gives back a named value, or, without one, the current one; `port` is what the output is called, if anything."""

    name: str
    port: str


Statement = Chain | Joined | From | Save | Output
Sequence = tuple[Statement, ...]


def emitted(sequence: Sequence) -> Iterator[str]:
    """The nodes of statements in the order in which the text makes them."""
    for statement in sequence:
        if isinstance(statement, Joined):
            for arm in statement.arms:
                yield from emitted(arm)
        if isinstance(statement, Chain | Joined):
            yield from statement.nodes


def merges(sequence: Sequence) -> Iterator[Joined]:
    """All merges, also those in arms."""
    for statement in sequence:
        if isinstance(statement, Joined):
            yield statement
            for arm in statement.arms:
                yield from merges(arm)
