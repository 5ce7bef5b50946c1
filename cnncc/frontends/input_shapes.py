"""Shapes of inputs as users give them: `3x320x320`, `image=3x320x320`, a tuple, or a dictionary of tuples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Integral

from cnncc.base.errors import CnnccError

Shape = tuple[int, ...]
Shapes = Mapping[str, Sequence[int]]
"""Shapes by the name of the input, of one image or with the batch; the name "" is the only input."""
AS_WRITTEN: Shapes = {}
ShapeLike = str | Sequence[int] | Mapping[str, Sequence[int]]
"""What a caller may give: the shape of the only input, or shapes by name."""
SIZES = re.compile(r"\d+(x\d+)*|\d+(,\d+)*", re.ASCII)


def parse_shape(text: str) -> tuple[str, Shape]:
    """The name, "" without one, and the sizes of `[NAME=]3x320x320`; commas may stand for each x. CnnccError for any
    other text."""
    name, _, sizes = text.rpartition("=")
    if not SIZES.fullmatch(sizes):
        raise CnnccError(f"expected a shape such as 3x320x320 or image=3x320x320, got {text!r}")
    return name, tuple(map(int, re.split("[,x]", sizes)))


def shapes_by_name(given: ShapeLike | None) -> Shapes:
    """Shapes by the names of inputs. CnnccError for what is no shape."""
    if given is None:
        return AS_WRITTEN
    if isinstance(given, str):
        return dict([parse_shape(given)])
    if isinstance(given, Mapping):
        return {name: _sizes(sizes) for name, sizes in given.items()}
    return {"": _sizes(given)}


def _sizes(given: object) -> Shape:
    if isinstance(given, Sequence) and not isinstance(given, str) and all(map(_is_whole, given)):
        return tuple(map(int, given))
    raise CnnccError(f"a shape is whole numbers, got {given!r}", hint="e.g. (3, 320, 320), or {'image': (3, 320, 320)}")


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)
