"""Sizes that `torch.export` left open, as ranges: a program is exported again at some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import FixedShapes
from cnncc.base.size_ranges import LARGEST, Sizes, symbol
from cnncc.frontends.onnx.ports import OPEN_AXES
from cnncc.frontends.torch import trees
from cnncc.frontends.torch.export import program_of, traced, whole
from cnncc.frontends.torch.program import FREE, TorchPort, TorchProgram, is_open


def ranges_of(exported: ExportedProgram) -> dict[str, Sizes]:
    """The shapes of the inputs by name, if sizes other than the batch are open; nothing else. An open batch has `FREE`
    images. CnnccError for a size without a largest one, and for one that is computed of several."""
    ports = program_of(exported).inputs
    if not any(is_open(size) for port in ports for size in port.node.meta["val"].shape[1:]):
        return {}
    known: dict[Any, Symbol] = {}
    return {port.name: _sizes(port, exported.range_constraints, known) for port in ports}


def has_free_batch(exported: ExportedProgram) -> bool:
    """Whether the first axis of all inputs is open."""
    shapes = [port.node.meta["val"].shape for port in program_of(exported).inputs]
    return all(shape and is_open(shape[0]) for shape in shapes)


def program_at(exported: ExportedProgram, sizes: FixedShapes, strictly: bool) -> TorchProgram:
    """The program for inputs of these shapes, by name: exported again from what was exported."""
    leaves, spec = trees.flatten(exported.example_inputs)
    names = iter(port.name for port in program_of(exported).inputs)
    given = [_of_shape(leaf, sizes[next(names)]) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    args, kwargs = trees.unflatten(given, spec)
    return program_of(whole(traced(exported.module(), args, kwargs)), strictly)


def _of_shape(leaf: torch.Tensor, shape: Any) -> torch.Tensor:
    """Only shape and type of an example count."""
    return torch.zeros(tuple(shape), dtype=leaf.dtype, device=leaf.device)


def _sizes(port: TorchPort, bounds: Mapping[Any, Any], known: dict[Any, Symbol]) -> Sizes:
    shape = port.node.meta["val"].shape
    found: list[int | Symbol] = []
    for axis, size in enumerate(shape):
        if not is_open(size):
            found.append(int(size))
        elif axis == 0:
            found.append(FREE)
        else:
            found.append(_size(f"axis {axis} of input {port.name}", size.node.expr, axis - len(shape), bounds, known))
    return tuple(found)


def _size(what: str, expression: Any, axis: int, bounds: Mapping[Any, Any], known: dict[Any, Symbol]) -> Symbol:
    """The range of a size of PyTorch, a whole multiple of one `Dim` and a number. The same expression is one size."""
    if expression in known:
        return known[expression]
    if len(expression.free_symbols) != 1:
        raise CnnccError(f"{what} is {expression}, computed of several sizes", hint="give it a Dim of its own")
    (free,) = expression.free_symbols
    low, high = bounds[free].lower, bounds[free].upper
    if not high.is_Integer or int(high) > LARGEST:
        hint = 'dynamic_shapes={"x": {2: Dim("h", min=32, max=1024)}}; a step of 8 is 8 * Dim("h", min=4, max=128)'
        raise CnnccError(f"{what} has no largest size", hint=hint)
    least, most = (int(expression.subs(free, end)) for end in (low, high))
    step = int(expression.subs(free, low + 1)) - least
    if most != least + step * int(high - low):
        hint = 'a size is a Dim, or a multiple of one: 8 * Dim("h", min=4, max=128)'
        raise CnnccError(f"{what} is {expression}", hint=hint)
    names = {taken.name for taken in known.values()}
    letter = OPEN_AXES[min(-axis, len(OPEN_AXES)) - 1]
    name = next(n for n in (letter, *(f"{letter}{i}" for i in range(2, 2 + len(names) + 1))) if n not in names)
    known[expression] = symbol(len(known), name, least, most, step)
    return known[expression]
