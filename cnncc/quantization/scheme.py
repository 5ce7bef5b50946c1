"""What calibration found, as it lies in a file beside the weights: the scale and the zero point of each value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.ir.rules import ShapeError
from cnncc.ir.types import Quantization
from cnncc.weights import files

KEY = "quantization"
"""Of the part of a file's description."""
VERSION = 1


@dataclass(frozen=True)
class Scheme:
    """How the values of a network become bytes."""

    values: Mapping[str, Quantization]
    """By the name of the value, uint8."""
    keep: frozenset[str] = frozenset()
    """The layers that stay float32."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """How it was found: method, images."""

    def to_json(self) -> dict[str, Any]:
        values = {name: [known.scale, known.zero] for name, known in self.values.items()}
        return {"version": VERSION, "values": values, "keep": sorted(self.keep), "about": dict(self.about)}


def from_json(stored: Mapping[str, Any]) -> Scheme:
    """CnnccError for what is none, or of a later version."""
    if stored.get("version") != VERSION:
        raise CnnccError(f"scales of version {stored.get('version')}; this cnncc knows {VERSION}")
    try:
        values = {name: Quantization(float(scale), int(zero)) for name, (scale, zero) in stored["values"].items()}
        return Scheme(values, frozenset(stored["keep"]), stored["about"])
    except (KeyError, TypeError, ValueError, ShapeError) as error:
        raise CnnccError(f"the scales are damaged: {error}", hint="write the file again: cnncc quantize") from error


def load(path: str | os.PathLike[str]) -> Scheme | None:
    """The scheme of a weights file, None if it has none. CnnccError if it is damaged."""
    stored = files.description(path).get(KEY)
    try:
        return None if stored is None else from_json(stored)
    except CnnccError as error:
        raise CnnccError(f"{os.fspath(path)}: {error.message}", hint=error.hint) from error


def save(graph: Graph, scheme: Scheme, path: str | os.PathLike[str]) -> None:
    """Writes the weights of a float32 graph and the scales beside them. CnnccError if that cannot be written."""
    files.save(graph, path, about={KEY: scheme.to_json()})
