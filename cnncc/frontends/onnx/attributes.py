"""The attributes of an op, read by type: what is missing, of another type or out of range is told by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnncc.frontends.onnx.tensors import array_of, shown
from cnncc.frontends.onnx.values import Unsupported

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

WHOLE = 1 << 63
"""ONNX's whole numbers lie within -2^63 .. 2^63 - 1."""
FIELDS = {
    "INT": "i", "FLOAT": "f", "STRING": "s", "TENSOR": "t", "GRAPH": "g",
    "INTS": "ints", "FLOATS": "floats", "STRINGS": "strings", "GRAPHS": "graphs",
}  # fmt: skip
"""Where an attribute of a type has its value."""
SHOWN = 60
"""Characters of a wrong value that are shown."""


class Attribute(NamedTuple):
    """What an op is given besides tensors: a value, and the name of its type in ONNX, such as `INT` or `FLOATS`."""

    kind: str
    value: Any


class AttributeReader:
    """Reads `attributes`. Without a default an attribute has to be there. Unsupported says which is wrong."""

    attributes: Mapping[str, Attribute]

    @staticmethod
    def of(node: NodeProto) -> AttributeReader:
        """A reader of any node of ONNX."""
        reader = AttributeReader()
        reader.attributes = attributes_of(node)
        return reader

    def gives(self, name: str) -> bool:
        """Whether there is such an attribute."""
        return name in self.attributes

    def read(self, name: str, kind: str, wanted: str, default: Any = None) -> Any:
        """The value of an attribute of a type, or the default."""
        attribute = self.attributes.get(name)
        if attribute is None:
            if default is None:
                raise Unsupported(f"attribute {name}: missing, expected {wanted}")
            return default
        if attribute.kind != kind:
            raise Unsupported(f"attribute {name}: expected {wanted}, got one of type {attribute.kind}")
        return attribute.value

    def integer(self, name: str, default: int | None = None, low: int = -WHOLE, high: int = WHOLE - 1) -> int:
        """A whole number of low .. high."""
        wanted = f"a whole number{within(low, high)}"
        value = self.read(name, "INT", wanted, default)
        if not low <= value <= high:
            raise wrong(name, wanted, value)
        return int(value)

    def integers(
        self,
        name: str,
        default: Sequence[int] | None = None,
        count: int | None = None,
        low: int = -WHOLE,
        high: int = WHOLE - 1,
    ) -> tuple[int, ...]:
        """Whole numbers of low .. high, `count` of them if that is given."""
        wanted = several(count, f"whole numbers{within(low, high)}")
        values = tuple(self.read(name, "INTS", wanted, default))
        if count not in (None, len(values)) or any(not low <= v <= high for v in values):
            raise wrong(name, wanted, list(values))
        return values

    def number(self, name: str, default: float | None = None, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number of low .. high as people write it: 1e-5, not 9.99999974e-06, its nearest in float32."""
        wanted = f"a finite number{within(low, high)}"
        value = self.read(name, "FLOAT", wanted, default)
        if not math.isfinite(value) or not low <= value <= high:
            raise wrong(name, wanted, value)
        return shortest(value)

    def unbounded(self, name: str, default: float) -> float:
        """A number that may be infinite, but not NaN."""
        value = self.read(name, "FLOAT", "a number", default)
        if math.isnan(value):
            raise wrong(name, "a number", value)
        return shortest(value)

    def numbers(
        self, name: str, default: Sequence[float] | None = None, count: int | None = None, low: float = -math.inf
    ) -> tuple[float, ...]:
        """Finite numbers of at least `low`, `count` of them if that is given."""
        wanted = several(count, f"finite numbers{within(low, math.inf)}")
        values = tuple(map(float, self.read(name, "FLOATS", wanted, default)))
        if count not in (None, len(values)) or any(not math.isfinite(v) or v < low for v in values):
            raise wrong(name, wanted, list(values))
        return tuple(map(shortest, values))

    def flag(self, name: str, default: bool = False) -> bool:
        """0 or 1."""
        return bool(self.integer(name, int(default), 0, 1))

    def choice(self, name: str, choices: Iterable[str], default: str | None = None) -> str:
        """One of some words."""
        words = tuple(choices)
        wanted = f"one of {', '.join(words)}"
        value = self.read(name, "STRING", wanted, default)
        word = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if word not in words:
            raise wrong(name, wanted, word)
        return word

    def tensor(self, name: str) -> np.ndarray:
        """A tensor that the node carries."""
        return array_of(self.read(name, "TENSOR", "a tensor"), f"attribute {name}")


def find(node: NodeProto, name: str) -> AttributeProto | None:
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def type_of(attribute: AttributeProto) -> str:
    """`INT`, `FLOATS`, ...; `UNDEFINED` and numbers that stand for nothing as they are."""
    from onnx import AttributeProto

    known = AttributeProto.AttributeType.values()
    return AttributeProto.AttributeType.Name(attribute.type) if attribute.type in known else str(attribute.type)


def attributes_of(node: NodeProto) -> dict[str, Attribute]:
    """The attributes of a node of ONNX by name, the first of those that have one name."""
    kinds = [(attribute, type_of(attribute)) for attribute in reversed(node.attribute)]
    return {a.name: Attribute(kind, getattr(a, FIELDS[kind]) if kind in FIELDS else None) for a, kind in kinds}


def wrong(name: str, wanted: str, got: object) -> Unsupported:
    return Unsupported(f"attribute {name}: expected {wanted}, got {shown(got, SHOWN)}")


def within(low: float, high: float) -> str:
    """The range of numbers in words."""
    bounded_below, bounded_above = low > -WHOLE, high < WHOLE - 1
    if bounded_below and bounded_above:
        return f" of {low:g} to {high:g}"
    return f" of at least {low:g}" if bounded_below else f" of at most {high:g}" if bounded_above else ""


def several(count: int | None, what: str) -> str:
    """So many of something, in words."""
    return what if count is None else f"{count} {what.replace('numbers', 'number', 1) if count == 1 else what}"


def shortest(value: float) -> float:
    """A float32 by the fewest digits that tell it from all others: 0.1, not 0.10000000149011612."""
    return float(str(np.float32(value)))
