"""How a layer may be computed otherwise than the model would: plain values, given from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cnncc.ir import Node, TensorType
from cnncc.ir.rules import extra_inputs


@dataclass(frozen=True)
class ConvKey:
    """What tells convolutions apart for a choice: geometry and layout, neither weights nor epilogue.

    `source` and `result` are logical shapes of one image, which is a batch of 1; `block` is the source's channels per
    block.
    """

    source: tuple[int, ...]
    block: int
    result: tuple[int, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]
    groups: int
    element: str = "float32"
    """Of source and result."""

    @property
    def op(self) -> str:
        return "conv"


@dataclass(frozen=True)
class NodeKey:
    """What tells nodes of any other op apart: attributes and inputs without those of the epilogue, and the result."""

    op: str
    attrs: tuple[tuple[str, Any], ...]
    sources: tuple[TensorType, ...]
    result: TensorType


ChoiceKey = ConvKey | NodeKey


class KernelChoice(Protocol):
    """How a layer is computed: a frozen dataclass of plain values, which only its algorithm understands."""

    @property
    def algorithm(self) -> str:
        """Name of the algorithm: one of `ALGORITHMS` of the machine."""


@dataclass(frozen=True)
class Given:
    """A choice that takes the model's place, and why."""

    choice: KernelChoice
    why: str


Choices = Mapping[ChoiceKey, Given]


def conv_key(node: Node, source: TensorType) -> ConvKey:
    """The key of a conv node that reads a value of type `source`."""
    a = node.attrs
    shapes = (_of_one(source).shape, source.block, _of_one(node.type).shape)
    how = (a["kernel"], a["stride"], a["dilation"], a["pad"], a["groups"])
    return ConvKey(*shapes, *how, source.element.name)


def choice_key(node: Node, sources: Sequence[TensorType]) -> ChoiceKey:
    """The key of a node that reads values of these types."""
    if node.op == "conv":
        return conv_key(node, sources[0])
    attrs = tuple(sorted((name, value) for name, value in node.attrs.items() if name != "epilogue"))
    own = len(sources) - extra_inputs(node.attrs)
    return NodeKey(node.op, attrs, tuple(map(_of_one, sources[:own])), _of_one(node.type))


def _of_one(kind: TensorType) -> TensorType:
    """The type of one image: a choice does not depend on how many there are."""
    return replace(kind, shape=(1, *kind.shape[1:]))
