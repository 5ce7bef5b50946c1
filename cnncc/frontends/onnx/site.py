"""One op of a model that is being converted: its inputs, attributes and where results go."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.frontends.onnx.attributes import SHOWN, WHOLE, Attribute, AttributeReader, several, within
from cnncc.frontends.onnx.types import Kind
from cnncc.frontends.onnx.values import REAL, Builder, Unsupported, Value, plain_value

Tensor = Value | np.ndarray
"""A computed tensor, or one that is known."""


@dataclass(frozen=True)
class Tensors:
    """A sequence of tensors. Only the rules of `convert/sequences.py` see one."""

    items: tuple[Tensor, ...]


BOUNDS = 1e30
"""Beyond which a number is taken for a bound."""


def decimal(number: float) -> float:
    """The shortest decimal for a number that is a float32: 0.2, where float64 would say 0.20000000298023224. The bounds
    of float32 stay what they are: they stand for infinity."""
    if not abs(number) < BOUNDS:
        return number
    single = np.float32(number)
    return float(str(single)) if float(single) == number else number


MOST_NUMBERS = 1 << 16
"""In a vector of axes, sizes or the like."""


@dataclass(frozen=True)
class OnnxSite(AttributeReader):
    """A use of an op of ONNX, by whatever model, with what its rule may look at. Attributes and known inputs are read
    by the methods here only, which say what is wrong with them; that there are as many inputs as the op takes, its
    reader has checked."""

    op_type: str
    names: Sequence[str]
    """What the model calls the inputs."""
    results: Sequence[str]
    """What it calls the results; nothing for those that it leaves out."""
    attributes: Mapping[str, Attribute]
    inputs: Sequence[Tensor | None]
    opset: int
    b: Builder
    used: frozenset[str]
    """Names of tensors that somebody reads."""
    kinds: Sequence[Kind | None] = ()
    """ONNX's types of the inputs; here all are float32."""

    @property
    def hint(self) -> str:
        """The name for what it computes: that of its first result."""
        return next((name for name in self.results if name), "")

    def kind(self, i: int) -> Kind | None:
        """The type of an input."""
        return self.kinds[i] if i < len(self.kinds) else None

    def has(self, i: int) -> bool:
        return i < len(self.inputs) and self.inputs[i] is not None

    def wants(self, output: int) -> bool:
        """Whether somebody reads a result."""
        return output < len(self.results) and self.results[output] in self.used

    def tensor_at(self, i: int) -> Tensor:
        """An input, computed or known."""
        tensor = self.inputs[i] if i < len(self.inputs) else None
        if tensor is None:
            raise Unsupported(f"input {i} is missing")
        return tensor

    def value(self, i: int, ranks: Sequence[int] = ()) -> Value:
        """An input as a computed tensor, of one of some ranks if they are given; a known one becomes a learned tensor
        of the network."""
        tensor = self.tensor_at(i)
        if ranks and len(tensor.shape) not in ranks:
            expected = " or ".join(map(str, ranks))
            raise Unsupported(f"input {i} has {len(tensor.shape)} axes, expected {expected}: {list(tensor.shape)}")
        if isinstance(tensor, Value):
            return tensor
        if not tensor.size:  # nothing can be computed of it: the result is known, once all inputs are
            raise Unsupported("the tensor is empty", self.names)
        return self.b.constant(tensor, self.names[i])

    def const(self, i: int, what: str) -> np.ndarray:
        """An input whose value has to be known."""
        tensor = self.inputs[i] if i < len(self.inputs) else None
        if tensor is None:
            raise Unsupported(f"{what} is missing")
        if isinstance(tensor, Value):
            raise Unsupported(f"{what} is computed, but has to be known when compiling", [self.names[i]])
        return tensor

    def vector(self, i: int, what: str, count: int | None = None) -> np.ndarray:
        """Known numbers, one after the other, `count` of them if that is given."""
        tensor = self.const(i, what)
        if tensor.dtype.kind not in REAL:
            raise Unsupported(f"{what}: expected numbers, got {tensor.dtype}")
        if count not in (None, tensor.size):
            raise Unsupported(f"{what}: expected {several(count, 'numbers')}, got shape {list(tensor.shape)}")
        return tensor.reshape(-1)

    def ints(
        self, i: int, what: str, count: int | None = None, low: int = -WHOLE, high: int = WHOLE - 1
    ) -> tuple[int, ...]:
        """A known vector of whole numbers of low .. high, `count` of them if that is given."""
        tensor = self.const(i, what)
        wanted = several(count, f"whole numbers{within(low, high)}")
        if tensor.dtype.kind not in "iu" or tensor.ndim > 1 or tensor.size > MOST_NUMBERS:
            raise Unsupported(f"{what}: expected {wanted}, got {tensor.dtype} of shape {list(tensor.shape)}")
        numbers = tuple(map(int, tensor.reshape(-1)))
        if count not in (None, tensor.size) or any(not low <= n <= high for n in numbers):
            raise Unsupported(f"{what}: expected {wanted}, got {str(list(numbers))[:SHOWN]}")
        return numbers

    def scalar(self, i: int, what: str, finite: bool = True) -> float:
        """A known number; unless it has to be finite, it may be infinite."""
        number = float(self.vector(i, what, 1)[0])
        if math.isnan(number) or (finite and math.isinf(number)):
            raise Unsupported(f"{what}: expected a{' finite' if finite else ''} number, got {number}")
        return number

    def flag_at(self, i: int, what: str) -> bool:
        """A known truth value."""
        return bool(self.vector(i, what, 1)[0])

    def ints_or(
        self,
        i: int,
        name: str,
        default: tuple[int, ...] | None = None,
        count: int | None = None,
        low: int = -WHOLE,
        high: int = WHOLE - 1,
    ) -> tuple[int, ...] | None:
        """What newer opsets have as an input and older ones as an attribute."""
        if self.has(i):
            return self.ints(i, name, count, low, high)
        return self.integers(name, None, count, low, high) if self.gives(name) else default

    def add(self, op: str, *inputs: str, weights: Sequence[np.ndarray] = (), **attrs: Any) -> str:
        """A node of the graph, named after the result."""
        source = self.names[1] if weights and len(self.names) > 1 else ""
        made = self.b.add(op, inputs, self.hint, weights, source, **attrs)
        self.b.trace(made, self.names[1:])
        return made

    def pointwise(self, op: str, value: Value, **attrs: Any) -> Value:
        """A node for an op of one tensor that looks at one element at a time."""
        numbers: dict[str, Any] = {key: decimal(a) if isinstance(a, float) else a for key, a in attrs.items()}
        return Value(self.add(op, value.node, **numbers), value.shape, value.axes)

    def whole_numbers(self, value: Value) -> Value:
        """A tensor as ONNX has it, in float32: of bytes the integers themselves, whatever they stand for."""
        known = self.b.nodes[value.node].type.quantization
        if known is None:
            return value
        numbers = self.pointwise("dequantize", value)
        steps = self.pointwise("affine", numbers, scale=1 / known.scale, shift=float(known.zero))
        return self.pointwise("round", steps)

    def plain(self, node: str, shape: Sequence[int]) -> Value:
        return plain_value(node, shape)


OnnxRule = Callable[[OnnxSite], Tensor]
"""Says what one node of a model computes here."""
