"""One node of an ONNX model that is being converted: its inputs, attributes and where results go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.frontends.onnx_values import Builder, Unsupported, Value, plain_value

if TYPE_CHECKING:
    from onnx import NodeProto

Tensor = Value | np.ndarray
"""A computed tensor, or one that is known."""


@dataclass(frozen=True)
class Site:
    """A node with what its rule may look at."""

    node: NodeProto
    inputs: Sequence[Tensor | None]
    opset: int
    b: Builder
    used: frozenset[str]
    """Names of tensors that somebody reads."""

    @property
    def hint(self) -> str:
        """The name for what it computes: that of its first result."""
        return next((name for name in self.node.output if name), self.node.name)

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute as a Python value; texts as str, lists as tuples."""
        from onnx import helper

        for attribute in self.node.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                if isinstance(value, bytes):
                    return value.decode()
                if isinstance(value, float):  # 1e-5, not the 9.99999974e-06 that is nearest in float32
                    return float(f"{value:.7g}")
                return tuple(value) if isinstance(value, list) else value
        return default

    def has(self, i: int) -> bool:
        return i < len(self.inputs) and self.inputs[i] is not None

    def wants(self, output: int) -> bool:
        """Whether somebody reads a result."""
        return output < len(self.node.output) and self.node.output[output] in self.used

    def value(self, i: int) -> Value:
        """An input as a computed tensor; a known one becomes a learned tensor of the network."""
        tensor = self.inputs[i] if i < len(self.inputs) else None
        if tensor is None:
            raise Unsupported(f"input {i} is missing")
        if isinstance(tensor, Value):
            return tensor
        if not tensor.size:  # nothing can be computed of it: the result is known, once all inputs are
            raise Unsupported("the tensor is empty", self.node.input)
        return self.b.constant(tensor, self.node.input[i])

    def const(self, i: int, what: str) -> np.ndarray:
        """An input whose value has to be known."""
        tensor = self.inputs[i] if i < len(self.inputs) else None
        if tensor is None:
            raise Unsupported(f"{what} is missing")
        if isinstance(tensor, Value):
            raise Unsupported(f"{what} is computed, but has to be known when compiling", [self.node.input[i]])
        return tensor

    def ints(self, i: int, what: str) -> tuple[int, ...]:
        """A known vector of whole numbers."""
        return tuple(int(n) for n in np.atleast_1d(self.const(i, what)))

    def ints_or(self, i: int, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
        """What newer opsets have as an input and older ones as an attribute."""
        if self.has(i):
            return self.ints(i, name)
        given = self.attr(name)
        if given is None:
            return default
        return tuple(given) if isinstance(given, tuple) else (given,)

    def add(self, op: str, *inputs: str, weights: Sequence[np.ndarray] = (), **attrs: Any) -> str:
        """A node of the graph, named after the result."""
        source = self.node.input[1] if weights and len(self.node.input) > 1 else ""
        return self.b.add(op, inputs, self.hint, weights, source, **attrs)

    def pointwise(self, op: str, value: Value, **attrs: Any) -> Value:
        """A node for an op of one tensor that looks at one element at a time."""
        return Value(self.add(op, value.node, **attrs), value.shape, value.axes)

    def plain(self, node: str, shape: Sequence[int]) -> Value:
        return plain_value(node, shape)
