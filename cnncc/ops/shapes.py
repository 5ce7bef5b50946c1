"""Small checks and words that the shape rules share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cnncc.ops.table import Attrs, Shape, ShapeError, Shapes, Window

LARGEST_SIZE = 1 << 24
"""Channels, or pixels along an axis: more is a slip of the keyboard, and the choice of kernels would take for ever."""
MOST_ELEMENTS = 1 << 30
"""Of one value, for one image: 4 GiB of float32. What is larger is a slip too, or was made to do harm."""


def refuse_huge(shape: Sequence[int], what: str) -> None:
    """ShapeError, beginning with `what`, for a shape (batch first) that is beyond the limits above: to be asked before
    anything counts to the sizes of a value."""
    if max(shape, default=1) > LARGEST_SIZE or math.prod(shape[1:]) > MOST_ELEMENTS:
        hint = f"{LARGEST_SIZE} is the most along an axis, {MOST_ELEMENTS} in all"
        raise ShapeError(f"{what} {dims(shape)}", hint)


def dims(shape: Sequence[int]) -> str:
    """The shape of one image as papers write it: `512x28x28`, without the batch."""
    return "x".join(map(str, shape[1:]))


def listing(words: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail


def image(shape: Shape) -> Shape:
    """The shape itself if it is (n, c, h, w), else ShapeError."""
    if len(shape) == 4:
        return shape
    size = math.prod(shape[1:])
    raise ShapeError(
        f"needs an image (channels x height x width), got a vector of {size}",
        hint=f"`reshape` makes a vector an image again, e.g. reshape {size}x1x1",
    )


def at_least(low: int, attrs: Attrs, *names: str) -> None:
    """ShapeError if one of the named integer attributes (or an element of it) is below `low`."""
    for name in names:
        value = attrs[name]
        if min(value if isinstance(value, tuple) else (value,)) < low:
            text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            raise ShapeError(f"{name} {text}: must be at least {low}")


def whole_image(shapes: Shapes, attrs: Attrs) -> Window:
    """The `window` rule of an op whose results see every position: the input's height and width."""
    h, w = (*shapes[0][2:], 1, 1)[:2]
    return (h, w), (1, 1)
