"""What the graph needs to know of an op to check a node. The ops themselves live above, in `cnncc.ops`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cnncc.base.elements import Element

if TYPE_CHECKING:
    from cnncc.ir.types import TensorType

Shape = tuple[int, ...]
Attrs = Mapping[str, Any]


class ShapeError(Exception):
    """A rule about shapes or types refuses what it is given. The verifier and the elaborator add place and node to the
    message."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Rules(Protocol):
    """The part of an op that the verifier reads."""

    @property
    def arity(self) -> tuple[int, int | None]: ...
    @property
    def attributes(self) -> Attrs: ...

    def weights(self, shapes: tuple[Shape, ...], attrs: Attrs, /) -> Mapping[str, Shape]: ...
    def type(self, types: tuple[TensorType, ...], attrs: Attrs, /) -> TensorType: ...
    def elements(self, attrs: Attrs, /) -> Mapping[str, Element]: ...


def added_inputs(epilogue: Sequence[tuple[str, object]]) -> int:
    """How many inputs the post-ops of an epilogue take: one per fused `add`."""
    return sum(name == "add" for name, _ in epilogue)


def extra_inputs(attrs: Attrs) -> int:
    """How many inputs of a node come after the op's own, for its epilogue."""
    return added_inputs(attrs.get("epilogue", ()))


def check_arity(arity: tuple[int, int | None], count: int, attrs: Attrs) -> None:
    """ShapeError unless `count` inputs are what the op and its epilogue take."""
    low, high = arity
    own = count - extra_inputs(attrs)
    if own < low or (high is not None and own > high):
        wanted = str(low) if low == high else f"{low} or more" if high is None else f"{low} to {high}"
        raise ShapeError(f"takes {wanted} input{'' if wanted == '1' else 's'}, got {own}")
