"""One node of an exported program that is being converted: an ATen op and its arguments, by their names in its schema.

A rule of `aten/` says what the op is in ops of ONNX, whose rules are those of the ONNX reader: no op is explained
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.frontends.onnx.attributes import Attribute
from cnncc.frontends.onnx.convert import RULES
from cnncc.frontends.onnx.convert.arithmetic import truth
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.types import Kind
from cnncc.frontends.onnx.values import Builder, Unsupported, Value

OPSET = 23
"""The version of ONNX's ops that `AtenCall.onnx` speaks of."""
Operand = str | Tensor | float | None
"""The name of an argument, a tensor, or a number."""


@dataclass(frozen=True)
class AtenCall:
    """A use of an ATen op with what its rule may look at."""

    op: str
    """Its name, with its overload: aten.conv2d.default."""
    hint: str
    """The name for what it computes."""
    given: Mapping[str, Any]
    """All arguments, defaults too: computed tensors as `Value`, known ones as arrays, lists of them, numbers, None."""
    names: Mapping[str, str]
    """What the program calls the tensors among them: parameters and buffers by their names in the state dict."""
    kinds: Mapping[str, Kind]
    """Their types; here all are float32."""
    kind: Kind
    """The type of the first result."""
    b: Builder
    read: Set[int]
    """Which results somebody reads, of an op with several."""

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self[name].shape)

    def value(self, name: str) -> Value:
        """An argument as a computed tensor."""
        return self.site("Identity", name).value(0)

    def ints(self, name: str, count: int = 1) -> tuple[int, ...]:
        """Whole numbers, one number for all `count` axes, or none."""
        given = self[name]
        found = tuple(map(int, given)) if isinstance(given, list | tuple) else () if given is None else (int(given),)
        return found * count if len(found) == 1 else found

    def truth(self, name: str) -> Tensor | None:
        """A tensor as truth values: 1 for whatever is not 0."""
        tensor, kind = self.tensor(self[name]), self.kinds.get(name)
        if isinstance(tensor, Value):
            return tensor if kind is not None and kind.kind == "b" else truth(self.site("Identity", name), tensor)
        return tensor if tensor is None else tensor != 0

    def site(self, op: str, *operands: Operand, results: int = 1, **attributes: Any) -> OnnxSite:
        """A use of an op of ONNX on such operands; attributes that are None are left out."""
        names = [self.names.get(o, self.hint) if isinstance(o, str) else self.hint for o in operands]
        kinds = [self.kinds.get(o) if isinstance(o, str) else None for o in operands]
        tensors = [self.tensor(self[o] if isinstance(o, str) else o) for o in operands]
        made = [self.hint, *(f"{self.hint}_{i}" for i in range(1, results))]
        used = frozenset(name for i, name in enumerate(made) if results == 1 or i in self.read)
        given = {name: attribute(value) for name, value in attributes.items() if value is not None}
        return OnnxSite(op, names, made, given, tensors, OPSET, self.b, used, kinds)

    def tensor(self, given: Any) -> Tensor | None:
        """An operand as rules of ONNX take it."""
        if given is None or isinstance(given, Value | np.ndarray):
            return given
        if isinstance(given, bool | int | float) and (isinstance(given, float) or abs(given) < 1 << 63):
            return np.asarray(given)
        raise Unsupported(f"an argument that is {type(given).__name__}, no tensor of numbers")

    def onnx(self, op: str, *operands: Operand, **attributes: Any) -> Any:
        """The result of an op of ONNX, the first if it has several."""
        found = RULES[op](self.site(op, *operands, **attributes))
        return found[0] if isinstance(found, list) else found

    def several(self, op: str, results: int, *operands: Operand, **attributes: Any) -> list[Tensor]:
        """All results of an op of ONNX."""
        found = RULES[op](self.site(op, *operands, results=results, **attributes))
        return found if isinstance(found, list) else [found]

    def float_of(self, name: str, default: float) -> float:
        """A number that may be left out."""
        given = self[name]
        return default if given is None else float(given)

    def only(self, name: str, *allowed: Any) -> None:
        """Unsupported for an argument that is none of some values."""
        if self[name] not in allowed:
            raise Unsupported(f"{name}={self[name]}: only {' or '.join(map(str, allowed))} has a counterpart")


AtenRule = Callable[[AtenCall], Any]
"""Says what one node of a program computes here: a tensor, or a list of several."""


def attribute(value: Any) -> Attribute:
    """A value of Python as an attribute of ONNX."""
    if isinstance(value, bool | int):
        return Attribute("INT", int(value))
    if isinstance(value, float):
        return Attribute("FLOAT", value)
    if isinstance(value, str):
        return Attribute("STRING", value)
    numbers = tuple(value)
    return Attribute("INTS" if all(isinstance(n, int) for n in numbers) else "FLOATS", numbers)
