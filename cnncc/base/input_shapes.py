"""Shapes that a caller wants the inputs of a network to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnncc.base.errors import CnnccError

InputShapes = Mapping[str, Sequence[int]]
"""Shapes by the name of the input, of one image or with the batch; the name "" is the only input."""
AS_WRITTEN: InputShapes = {}


def by_name(shapes: InputShapes, inputs: Sequence[str], network: str = "this one") -> dict[str, tuple[int, ...]]:
    """The shapes by the names of inputs, or of what a caller takes for one. CnnccError for "" where there is not one
    input; `network` is what it calls the network."""
    if "" in shapes and len(inputs) != 1:
        known = f"{network} has {len(inputs)}{': ' * bool(inputs)}{', '.join(inputs)}"
        hint = f"say which: --shape {inputs[0] if inputs else 'NAME'}=..."
        raise CnnccError(f"a shape without a name is for networks of one input, {known}", hint=hint)
    return {name or inputs[0]: tuple(shape) for name, shape in shapes.items()}
