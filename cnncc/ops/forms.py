"""How an op is written in the language: data that `cnncc.lang` reads and prints by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from cnncc.ops.traits import Kind

Finish = Callable[[dict[str, Any], tuple[int, ...]], dict[str, Any]]


class Syntax(Enum):
    """How the value of an attribute is written."""

    DIMS = auto()
    RANGED = auto()
    WHERE = auto()
    SIZES = auto()
    SIDES = auto()
    KERNEL = auto()
    CHANNELS = auto()
    RESULTS = auto()
    COUNT = auto()
    NUMBER = auto()
    NUMBERS = auto()
    FACTORS = auto()
    PAIR = auto()
    PAIR_OR_ZERO = auto()
    PADS = auto()
    BOUNDS = auto()
    CORNER = auto()
    ORDER = auto()
    POSITIONS = auto()
    STEPS = auto()
    AXIS = auto()
    INTEGER = auto()
    SCALE = auto()
    ELEMENT = auto()


@dataclass(frozen=True)
class Always:
    """The value of an attribute that a word alone says, such as `ceil`."""

    value: Any


Word = tuple[str, Syntax | Always]
"""The attribute that a word sets, and how its value follows the word."""


def as_written(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """The `finish` of a form that says all."""
    return attrs


@dataclass(frozen=True)
class Form:
    """One word of the language that stands for an op. The first form of an op is the one it is printed in."""

    word: str
    example: str
    """One use of it."""
    positional: tuple[tuple[str, Syntax], ...] = ()
    """Attributes that follow the word, in order; `a+b` are two attributes that one item sets."""
    optional: tuple[str, Syntax] | None = None
    """An attribute that may follow them, if a number does."""
    words: Mapping[str, Word] = field(default_factory=dict)
    """Further words and the attribute each one sets; `/` is the stride."""
    finish: Finish = as_written
    """Sets what follows from the other attributes and the shape of the input."""
    chains: bool = False
    """Whether it may follow another op in the same statement."""
    source: bool = False
    """Whether it has no input and may be named by its first item."""
    arms: bool = False
    """Whether its inputs are arms in braces; what else belongs to it follows the closing brace."""
    epilogue: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """Post-ops that it always has, which take what its further arms are."""
    leads: bool = False
    """Whether a text made from a graph puts other ops behind it into the same statement."""
    after: tuple[Kind, ...] | None = None
    """Where such a text puts it behind others: the kinds it follows, None for all that lead."""
    unbiased: bool = False
    """Whether an op with a bias that it follows is assumed to have none, since it adds one of its own."""
    synonyms: tuple[str, ...] = ()
    """What it is called elsewhere, in lower case, without underscores and `2d`."""


def flags(attribute: str, values: Iterable[str]) -> Mapping[str, Word]:
    """Words that each are a value of one attribute."""
    return {value: (attribute, Always(value)) for value in values}


def numbers(*names: str) -> Mapping[str, Word]:
    """Words that are followed by the number of the attribute of the same name."""
    return {name: (name, Syntax.NUMBER) for name in names}


def same_pad(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Zero padding d*(F-1)/2 for odd kernels, so that stride 1 keeps the size; none for even ones."""
    (kh, kw), (dh, dw) = attrs["kernel"], attrs.get("dilation", (1, 1))
    tall, wide = (d * (k - 1) // 2 if k % 2 else 0 for k, d in ((kh, dh), (kw, dw)))
    return {"pad": (tall, wide, tall, wide), **attrs}


def unpack(*names: str) -> Finish:
    """Spread the pair under each `a+b` over a and b."""

    def finish(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        attrs = dict(attrs)
        for packed in names:
            if packed in attrs:
                attrs |= dict(zip(packed.split("+"), attrs.pop(packed), strict=True))
        return attrs

    return finish


STRIDE_PAD: Mapping[str, Word] = {"/": ("stride", Syntax.PAIR), "pad": ("pad", Syntax.PADS)}
DILATION: Mapping[str, Word] = {"dil": ("dilation", Syntax.PAIR)}
ROUNDING = flags("rounding", ("floor", "ceil", "exact"))
BIAS: Mapping[str, Word] = {"bias": ("bias", Always(True)), "nobias": ("bias", Always(False))}
KERNEL = ("kernel", Syntax.KERNEL)
