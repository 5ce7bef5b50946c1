"""What a reader of another format gives: a network with its text, and how its inputs and outputs were declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import FixedShapes
from cnncc.ir import Graph
from cnncc.ir.rules import Shape


@dataclass(frozen=True)
class Ragged:
    """How the rows look that follow the last one a computed number of rows has: all -1, or all NaN, or some of both."""

    minus_one: bool = False
    nan: bool = False

    def trimmed(self, rows: np.ndarray) -> np.ndarray:
        """The rows without such at the end."""
        flat = rows.reshape(len(rows), -1)
        missing = np.zeros(flat.shape, bool)
        if self.minus_one:
            missing |= flat == -1
        if self.nan:
            missing |= np.isnan(flat)
        there = np.flatnonzero(~missing.all(axis=1))
        return rows[: there[-1] + 1 if len(there) else 0]


@dataclass(frozen=True)
class ModelPort:
    """An input or output: its name, type and shape in the file, and how its axes lie in the graph's value `node`."""

    name: str
    shape: Shape
    axes: Shape
    node: str
    dtype: np.dtype[Any]
    known: np.ndarray | None = None
    """The value of an output that depends on no input."""
    ragged: Ragged | None = None
    """How rows look that are none, where the number of rows depends on the data."""

    def to_graph(self, array: np.ndarray, wanted: Shape) -> np.ndarray:
        """An array of the model as the graph takes it."""
        order = [self.axes.index(j) for j in range(len(self.axes))]
        return np.ascontiguousarray(array.reshape(self.shape).transpose(order), np.float32).reshape(wanted)

    def from_graph(self, array: np.ndarray) -> np.ndarray:
        """A value of the graph as the model has it."""
        stored = [self.shape[self.axes.index(j)] for j in range(len(self.axes))]
        found = array.reshape(stored).transpose(self.axes).reshape(self.shape)
        found = self.ragged.trimmed(found) if self.ragged else found
        return (np.rint(found) if self.dtype.kind in "iu" else found).astype(self.dtype)


def value_axes(shape: Shape, axes: Shape, usual: Shape) -> tuple[int | None, ...] | None:
    """For each axis of a port but the first, that of the value whose size it has, None for one of a single element.
    `usual` is the shape of the value where the port has this shape. None if these are not its sizes, in the order of
    `axes` or in that of the value without axes of a single element."""
    if len(axes) == len(usual) and [usual[axis] for axis in axes][1:] == list(shape[1:]):
        return tuple(axes[1:])
    left = [axis for axis in range(1, len(usual)) if usual[axis] != 1]
    found: list[int | None] = []
    for size in shape[1:]:
        if size == 1:
            found.append(None)
        elif left and usual[left[0]] == size:
            found.append(left.pop(0))
        else:
            return None
    return None if left or axes != tuple(range(len(axes))) else tuple(found)


@dataclass(frozen=True)
class Network:
    """An imported network: its text; the graph of the text, with weights; its ports in the order of the file; and what
    a person should know about the differences."""

    text: str
    graph: Graph
    inputs: Sequence[ModelPort]
    outputs: Sequence[ModelPort]
    notes: Sequence[str]
    batch: int = 1
    """Images for which the model declares its ports."""
    batch_is_free: bool = False
    """Whether that may be any number of images."""
    at: Callable[[FixedShapes], Graph] | None = None
    """Of one for a range of sizes that the text does not say at all of them: the graph for other shapes of its inputs,
    by name."""
    refused: CnnccError | None = None
    """Why the text does not: at which size it is another network, and where."""
