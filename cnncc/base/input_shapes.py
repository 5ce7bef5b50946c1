"""Shapes that a caller wants the inputs of a network to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError

InputShapes = Mapping[str, Sequence[int | Symbol]]
"""Shapes by the name of the input, of one image or with the batch; the name "" is the only input. A
symbol is a size that the caller of a module chooses."""
FixedShapes = Mapping[str, Sequence[int]]
"""The same, of one size."""
AS_WRITTEN: InputShapes = {}


def by_name(
    shapes: InputShapes, inputs: Sequence[str], network: str = "this one"
) -> dict[str, tuple[int | Symbol, ...]]:
    """The shapes by the names of inputs, or of what a caller takes for one. CnnccError for "" where there is not one
    input; `network` is what it calls the network."""
    if "" in shapes and len(inputs) != 1:
        known = f"{network} has {len(inputs)}{': ' * bool(inputs)}{', '.join(inputs)}"
        hint = f"say which: --shape {inputs[0] if inputs else 'NAME'}=..."
        raise CnnccError(f"a shape without a name is for networks of one input, {known}", hint=hint)
    return {name or inputs[0]: tuple(shape) for name, shape in shapes.items()}


def has_ranges(shapes: InputShapes) -> bool:
    """Whether the caller of a module chooses any of the sizes."""
    return any(isinstance(size, Symbol) for sizes in shapes.values() for size in sizes)


def numbered(shapes: InputShapes, inputs: Sequence[str]) -> dict[str, tuple[int | Symbol, ...]]:
    """The shapes, by name, with symbols numbered in the order of the inputs and of their axes. CnnccError for a name
    that has one range here and another there."""
    known: dict[str, Symbol] = {}
    found: dict[str, tuple[int | Symbol, ...]] = {}
    for name in (name for name in inputs if name in shapes):
        sizes: list[int | Symbol] = []
        for size in shapes[name]:
            if isinstance(size, Symbol):
                own = replace(size, index=known[size.name].index if size.name in known else len(known))
                if known.setdefault(size.name, own) != own:
                    hint = f"give the shapes of all inputs with {size.name}, or call it otherwise"
                    what = f"input {name!r}: {size}, but for another input {known[size.name]}"
                    raise CnnccError(what, hint=hint)
                sizes.append(own)
            else:
                sizes.append(size)
        found[name] = tuple(sizes)
    return found
