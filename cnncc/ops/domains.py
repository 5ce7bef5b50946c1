"""Which attributes and inputs an op is tried with: data that random graphs of the tests are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cnncc.ir.rules import Attrs, Shape


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int


@dataclass(frozen=True)
class Tenths:
    """A number with one digit behind the point, from low / 10 to high / 10."""

    low: int
    high: int


@dataclass(frozen=True)
class Each:
    """A tuple with an element of each of these domains."""

    domains: tuple[Domain, ...]


@dataclass(frozen=True)
class Shuffled:
    """The numbers 0 .. count - 1 in any order."""

    count: int


@dataclass(frozen=True)
class Several:
    """A tuple of `least` to `most` elements of one domain."""

    domain: Domain
    least: int
    most: int


Domain = Choice | Whole | Tenths | Each | Shuffled | Several
DomainRule = Domain | Callable[[Shape, Attrs], Domain]
"""The domain of an attribute, which may depend on the shape of the first input and the attributes drawn before."""


def choice(values: Iterable[Any]) -> Choice:
    return Choice(tuple(values))


def pair(low: int, high: int) -> Each:
    """Two whole numbers."""
    return Each((Whole(low, high),) * 2)


FLAG = Choice((False, True))


class Values(Enum):
    """Values of the first input that an op is tried with."""

    ANY = "all"
    POSITIVE = "between 0 and 1: beyond it has no value, or one that grows without bounds"
    LAST_POSITIVE = "any, but those of the last input between 0 and 1"
    INSIDE = "between 0 and 0.9"
    ABOVE_ONE = "between 1.5 and 2.5"
    EXACT = "values without rounding errors: it jumps, and would make a small error a large one"


class Inputs(Enum):
    """What a random node reads if it has no arms of its own."""

    NONE = "nothing: tests make it by hand, or a pass adds it"
    VALUE = "any value"
    IMAGE = "a value of channels, rows and columns"
    FITTING = "as many values as its arity asks for, or two or three, that fit each other"


@dataclass(frozen=True)
class Arm:
    """A further input, of the size that the first one needs."""

    dims: Callable[[Shape], tuple[Domain, ...]]
    """Of its channels, rows and columns, by the shape of the first input."""
    factor: Callable[[Shape], float] = lambda shape: 1.0
    """What its values, which are around 1, are multiplied by."""


@dataclass(frozen=True)
class Tried:
    """How to make a random node of an op. Its shape rule has the last word: what it refuses is drawn again."""

    inputs: Inputs
    attrs: Mapping[str, DomainRule]
    """In the order in which they are drawn; an attribute that is not here keeps its default."""
    values: Values = Values.ANY
    arms: tuple[Arm, ...] = ()
    """Of an op of an IMAGE: its further inputs."""
    why: str = ""
    """Of an op that reads NONE: why that cannot be said here."""


ANYTHING = Tried(Inputs.VALUE, {})
"""An op of one value without attributes."""


def untried(why: str) -> Tried:
    """Of an op whose random nodes no domains describe; `why` says what they would have to."""
    return Tried(Inputs.NONE, {}, why=why)


def window_domains(pooling: bool) -> Mapping[str, DomainRule]:
    """Domains of the attributes of a sliding window, most of which fit an image (n, c, h, w). Windows of a pool
    must not lie in the padding alone."""
    return {
        "dilation": pair(1, 2),
        "kernel": lambda shape, attrs: Each(
            tuple(
                choice(k for k in (1, 2, 3) if k == 1 or d * (k - 1) < side + (0 if pooling else 2))
                for side, d in zip(shape[2:], attrs.get("dilation", (1, 1)), strict=True)
            )
        ),
        "pad": lambda shape, attrs: Each(
            tuple(Whole(0, attrs["kernel"][i % 2] // 2 if pooling else 2) for i in range(4))
        ),
        "rounding": Choice(("floor", "ceil", "exact")),
        "stride": lambda shape, attrs: pair(1, 1) if attrs.get("rounding") == "exact" else pair(1, 3),
    }


def without(domains: Mapping[str, DomainRule], *names: str) -> Mapping[str, DomainRule]:
    return {name: rule for name, rule in domains.items() if name not in names}


def divisors_of_channels(shape: Shape, attrs: Attrs) -> Choice:
    return choice(g for g in range(1, shape[1] + 1) if shape[1] % g == 0)
