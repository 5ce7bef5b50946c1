"""Shapes of inputs as users give them: `3x320x320`, `image=3x320x320`, a tuple, or a dictionary of tuples; and several
sizes of a network: `3x224x224,3x320x480`, or lists of tuples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Integral

from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import AS_WRITTEN, InputShapes

Shape = tuple[int, ...]
Several = str | Sequence[int] | Sequence[Sequence[int]]
"""The shape of an input, or one for each size of the network."""
SizesLike = Several | Mapping[str, Several]
"""What a caller may give: shapes of the only input, or of inputs by name."""
SIZES = re.compile(r"\d+(x\d+)*|\d+(,\d+)*", re.ASCII)


def parse_shape(text: str) -> tuple[str, Shape]:
    """The name, "" without one, and the sizes of `[NAME=]3x320x320`; commas may stand for each x. CnnccError for any
    other text."""
    name, _, sizes = text.rpartition("=")
    if not SIZES.fullmatch(sizes):
        raise CnnccError(f"expected a shape such as 3x320x320 or image=3x320x320, got {text!r}")
    return name, tuple(map(int, re.split("[,x]", sizes)))


def parse_shapes(text: str) -> tuple[str, tuple[Shape, ...]]:
    """The name and the shapes of `[NAME=]3x224x224,3x320x480`. CnnccError for any other text."""
    name, _, sizes = text.rpartition("=")
    parts = sizes.split(",")
    if len(parts) > 1 and all(SIZES.fullmatch(part) and "x" in part for part in parts):
        return name, tuple(parse_shape(part)[1] for part in parts)
    name, shape = parse_shape(text)
    return name, (shape,)


def sizes_by_name(given: SizesLike | None) -> tuple[InputShapes, ...]:
    """Shapes by the names of inputs, for each size of the network. CnnccError for what is no shape, and for inputs with
    different numbers of them."""
    if given is None:
        return (AS_WRITTEN,)
    if isinstance(given, str):
        return by_size(dict([parse_shapes(given)]))
    named = given if isinstance(given, Mapping) else {"": given}
    return by_size({name: _several(shapes) for name, shapes in named.items()})


def by_size(shapes: Mapping[str, Sequence[Shape]]) -> tuple[InputShapes, ...]:
    """The shapes of each size of a network: the first ones of all inputs, the second ones, and so on. An input with one
    shape has it at all sizes. CnnccError if the others have not one number of shapes."""
    counts = {len(of) for of in shapes.values()} - {1}
    if len(counts) > 1:
        numbers = ", ".join(f"{name} {len(of)}" for name, of in shapes.items())
        raise CnnccError(f"inputs with different numbers of shapes: {numbers}", hint="give one for each size")
    count = max(counts, default=1)
    return tuple({name: of[i if len(of) > 1 else 0] for name, of in shapes.items()} for i in range(count))


def _several(given: object) -> tuple[Shape, ...]:
    if isinstance(given, str):
        return parse_shapes(given)[1]
    if isinstance(given, Sequence) and given and not _is_whole(given[0]):
        return tuple(map(_sizes, given))
    return (_sizes(given),)


def _sizes(given: object) -> Shape:
    if isinstance(given, Sequence) and not isinstance(given, str) and given and all(map(_is_whole, given)):
        return tuple(map(int, given))
    raise CnnccError(f"a shape is whole numbers, got {given!r}", hint="e.g. (3, 320, 320), or {'image': (3, 320, 320)}")


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)
