"""Shapes of inputs as users give them: `3x320x320`, `image=3x320x320`, a tuple, or a dictionary of tuples; several
sizes of a network: `3x224x224,3x320x480`, or lists of tuples; and ranges: `3xhxw where h in 32..1024 step 32, w in
32..4096`, or tuples with Python's ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain, count
from numbers import Integral
from typing import NoReturn

from cnncc.base import size_ranges
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import AS_WRITTEN, InputShapes

Shape = tuple[int | Symbol, ...]
OneShape = Sequence[int | range | Symbol]
Several = str | OneShape | Sequence[OneShape]
"""The shape of an input, or one for each size of the network."""
SizesLike = Several | Mapping[str, Several]
"""What a caller may give: shapes of the only input, or of inputs by name."""
SIZES = re.compile(r"\d+(x\d+)*|\d+(,\d+)*", re.ASCII)
WHERE = re.compile(r"\s+where\b\s*")
RANGE = re.compile(
    r"\s*(?P<name>\S+)\s+in\s+(?P<least>\d+)\s*\.\.\s*(?P<most>\d+)(\s+step\s+(?P<step>\d+))?\s*", re.ASCII
)
RANGES = "e.g. 3xhxw where h in 32..1024 step 32, w in 32..4096 step 8"
AXES = ("w", "h", "c", "n")
"""What sizes with a range are called that a caller gives no names, from the last axis on."""


def parse_shape(text: str) -> tuple[str, Shape]:
    """The name, "" without one, and the sizes of `[NAME=]3x320x320`; commas may stand for each x. CnnccError for any
    other text."""
    name, _, sizes = text.rpartition("=")
    if not SIZES.fullmatch(sizes):
        hint = f"a range is said at the end: {RANGES}" if re.search(r"[A-Za-z]", sizes.replace("x", "")) else ""
        raise CnnccError(f"expected a shape such as 3x320x320 or image=3x320x320, got {text!r}", hint=hint)
    return name, tuple(map(int, re.split("[,x]", sizes)))


def parse_shapes(text: str) -> tuple[str, tuple[Shape, ...]]:
    """The name and the shapes of `[NAME=]3x224x224,3x320x480`, or the one shape of `[NAME=]3xhxw where h in 32..1024`.
    CnnccError for any other text."""
    if WHERE.search(text):
        name, ranged = _parse_ranged(text)
        return name, (ranged,)
    name, _, sizes = text.rpartition("=")
    parts = sizes.split(",")
    if len(parts) > 1 and all(SIZES.fullmatch(part) and "x" in part for part in parts):
        return name, tuple(parse_shape(part)[1] for part in parts)
    name, shape = parse_shape(text)
    return name, (shape,)


def _parse_ranged(text: str) -> tuple[str, Shape]:
    """`[NAME=]3xhxw where h in 32..1024 step 32, w in 32..4096 step 8`."""
    head, said = WHERE.split(text, maxsplit=1)
    symbols = _ranges(said, text)
    name, _, sizes = head.rpartition("=")
    side = "|".join(map(re.escape, sorted(symbols, key=len, reverse=True)))
    one = rf"(?:\d+|{side})"
    if re.fullmatch(rf"{one}(\s*x\s*{one})+(,{one}(\s*x\s*{one})+)+", sizes, re.ASCII):
        _refuse_both()
    by_x, by_comma = (re.fullmatch(rf"{one}({between}{one})*", sizes, re.ASCII) for between in (r"\s*x\s*", r"\s*,\s*"))
    if not (by_x or by_comma):
        hint = f"ranges are those of the names in the shape: {RANGES}"
        raise CnnccError(f"expected numbers and {', '.join(symbols)} with x between in {sizes!r}", hint=hint)
    shape = tuple(symbols[s] if s in symbols else int(s) for s in re.findall(one, sizes, re.ASCII))
    for symbol in symbols.values():
        if symbol not in shape:
            raise CnnccError(f"{symbol.name!r} is no size of {sizes!r}", hint=RANGES)
    return name, shape


def _ranges(said: str, text: str) -> dict[str, Symbol]:
    """The sizes by name of `h in 32..1024 step 32, w in 32..4096 step 8`."""
    found: dict[str, Symbol] = {}
    for part in said.split(","):
        match = RANGE.fullmatch(part)
        if not match:
            raise CnnccError(f"expected a range such as h in 32..1024 step 32, got {part.strip()!r}", hint=RANGES)
        name = match["name"]
        if name in found:
            raise CnnccError(f"{name} has two ranges in {text!r}", hint="one for each name")
        least, most, step = int(match["least"]), int(match["most"]), int(match["step"] or 1)
        found[name] = size_ranges.symbol(len(found), name, least, most, step)
    return found


def sizes_by_name(given: SizesLike | None) -> tuple[InputShapes, ...]:
    """Shapes by the names of inputs, for each size of the network. CnnccError for what is no shape, for inputs with
    different numbers of them, and for a range beside several sizes."""
    if given is None:
        return (AS_WRITTEN,)
    if isinstance(given, str):
        return by_size(dict([parse_shapes(given)]))
    named = given if isinstance(given, Mapping) else {"": given}
    known: dict[str, Symbol] = {}
    return by_size({name: _several(shapes, known) for name, shapes in named.items()})


def by_size(shapes: Mapping[str, Sequence[Shape]]) -> tuple[InputShapes, ...]:
    """The shapes of each size of a network: the first ones of all inputs, the second ones, and so on. An input with one
    shape has it at all sizes. CnnccError if the others have not one number of shapes, and for a range beside several
    sizes."""
    counts = {len(of) for of in shapes.values()} - {1}
    if len(counts) > 1:
        numbers = ", ".join(f"{name} {len(of)}" for name, of in shapes.items())
        raise CnnccError(f"inputs with different numbers of shapes: {numbers}", hint="give one for each size")
    if counts and any(size_ranges.ranged(shape) for of in shapes.values() for shape in of):
        _refuse_both()
    count = max(counts, default=1)
    return tuple({name: of[i if len(of) > 1 else 0] for name, of in shapes.items()} for i in range(count))


def _refuse_both() -> NoReturn:
    hint = "a range has all its sizes, and several sizes are for those alone: give one of the two"
    raise CnnccError("a range together with several sizes", hint=hint)


def _several(given: object, known: dict[str, Symbol]) -> tuple[Shape, ...]:
    if isinstance(given, str):
        return parse_shapes(given)[1]
    if isinstance(given, Sequence) and given and not _is_size(given[0]):
        return tuple(_sizes(shape, known) for shape in given)
    return (_sizes(given, known),)


def _sizes(given: object, known: dict[str, Symbol]) -> Shape:
    """A shape; its ranges get names, which `known` holds and is added to."""
    if isinstance(given, Sequence) and not isinstance(given, str | range) and given and all(map(_is_size, given)):
        return tuple(_size(size, len(given) - 1 - axis, known) for axis, size in enumerate(given))
    hint = "e.g. (3, 320, 320), {'image': (3, 320, 320)}, or (3, range(32, 1025, 32), range(32, 4097, 8))"
    raise CnnccError(f"a shape is whole numbers or ranges of them, got {given!r}", hint=hint)


def _size(given: int | range | Symbol, from_last: int, known: dict[str, Symbol]) -> int | Symbol:
    """A size. A range of an axis has the name of the axis; equal ones of several inputs are one size."""
    if not isinstance(given, range):
        return given if isinstance(given, Symbol) else int(given)
    if len(given) == 1:
        return given[0]
    if not given:
        raise CnnccError(f"{given!r} has no sizes", hint="e.g. range(32, 1025, 32)")
    axis = AXES[from_last] if from_last < len(AXES) else f"d{from_last}"
    for name in chain([axis], (f"{axis}{number}" for number in count(2))):
        made = size_ranges.symbol(len(known), name, given[0], given[-1], given.step)
        if name not in known:
            known[name] = made
        if known[name].sizes == made.sizes:
            return known[name]
    raise AssertionError("names have no end")


def _is_size(number: object) -> bool:
    return isinstance(number, range | Symbol) or (isinstance(number, Integral) and not isinstance(number, bool))
