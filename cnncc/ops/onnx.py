"""What an op is called in ONNX, where it is the same op there. What is not has rules in `cnncc.frontends.onnx`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OPSET = 17
"""The opset that models are written in: the newest that every runtime of the last years reads. Nothing we write has
become simpler since."""


@dataclass(frozen=True)
class Onnx:
    """An op of ONNX with the same inputs in the same order."""

    name: str
    numbers: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """ONNX's attribute -> ours, and its default there."""
    fixed: Mapping[str, int] = field(default_factory=dict)
    """Attributes with which it is our op. One with such has a rule of its own for reading."""
    since: int = 1
    """The first opset that has it: beyond OPSET it is only read."""

    @property
    def is_written(self) -> bool:
        return self.since <= OPSET
