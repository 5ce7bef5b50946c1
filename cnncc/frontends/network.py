"""What a reader of another format gives: a network with its text, and how its inputs and outputs were declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
