"""In which memory a value lies: the arena, a buffer of the caller's, or the module's constants."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InArena:
    """In the arena, in the storage named after its root: the first value written there. Others may be parts of it,
    views of it, or overwrite it."""

    storage: str


@dataclass(frozen=True)
class InInput:
    """In the buffer of an input, by its position among them."""

    index: int


@dataclass(frozen=True)
class InOutput:
    """In the buffer of an output, by its position among them."""

    index: int


@dataclass(frozen=True)
class InConstant:
    """Among the weights, as the value of a `const` node."""

    node: str


Home = InArena | InInput | InOutput | InConstant
