"""What a kernel is and how a node calls it. Nothing here needs TVM, so planning and summaries stay quick."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from cnncc.base.elements import HALVES, Element
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.kernels.shared.choices import Choices, Given, KernelChoice, choice_key
from cnncc.kernels.shared.operands import NodeValue, Operand, PackedWeight
from cnncc.machines import Machine
from cnncc.options import Options

Epilogue = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
"""As in the graph: `("add", ())` adds the next extra operand, anything else is an activation with its attributes."""


M = TypeVar("M", bound=Machine, covariant=True)


@dataclass(frozen=True)
class Kernel:
    """One compiled function, wholly described by plain data: two equal kernels are one object file."""

    family: str
    """Key of the lowering table, `cnncc.kernels.cpu.lower.LOWER`."""
    name: str
    """What people see: the parameters that matter, as in `conv_f32_nchw16c_14x32_avx512`."""
    config: Any
    """Frozen dataclass of the family with everything the lowering needs."""
    units: int
    """Independent parts of one call; threads share them out."""
    scratch_bytes: int
    """Private scratch each thread needs."""

    @property
    def symbol(self) -> str:
        """A C identifier unique to this kernel."""
        digest = hashlib.sha256(repr((self.family, self.config)).encode()).hexdigest()
        return f"{self.name}_{digest[:12]}"


@dataclass(frozen=True, eq=False)
class Packed:
    """A weight in the layout its kernel reads, flat; computed when the module is written."""

    name: str
    constant: Constant

    @property
    def operand(self) -> PackedWeight:
        """What a call that reads it has."""
        return PackedWeight(self.name)

    @property
    def nbytes(self) -> int:
        """Bytes in the module."""
        return self.constant.element.bytes(self.constant.shape[0])

    def compute(self) -> np.ndarray:
        """The elements as the module stores them."""
        array = np.ascontiguousarray(self.constant.compute())
        assert array.dtype == self.constant.element.dtype, (self.name, array.dtype, self.constant.element)
        return array


@dataclass(frozen=True)
class Call:
    """One step of the module: a kernel on operands. It is called once for each image of the batch, unless the kernel
    takes the whole batch itself (`whole_batch`)."""

    node: str
    kernel: Kernel
    operands: tuple[Operand, ...]
    result: Operand
    whole_batch: bool = False
    """Whether the kernel computes all images of the run, of which it is told in two operands more, before the result:
    their number, an int32, and how far the images of each value lie apart, as int32 in numbers of that value, in the
    order of the operands, of the result last."""
    workspace_bytes: int = 0
    """For each image."""
    extent: int | None = None
    """How much of its node's value it computes, to be compared among the calls of the node; None where that follows
    from the bytes that each of them reads."""


@dataclass(frozen=True, eq=False)
class Selection:
    """How a node is computed: the calls in order, the weights they read, and why this was chosen."""

    calls: tuple[Call, ...]
    weights: tuple[Packed, ...]
    why: str
    choice: KernelChoice | None = None
    """What was chosen for an op that has several algorithms; None for other ops."""


@dataclass(frozen=True, eq=False)
class Site(Generic[M]):
    """A node to be computed and the machine that does it: what rules may look at whatever that is."""

    graph: Graph
    node: Node
    target: M
    options: Options
    choices: Choices = field(default_factory=dict, kw_only=True)
    """What takes the place of the model's picks, by what tells nodes apart."""

    @property
    def batch(self) -> int:
        return self.node.type.shape[0]

    @property
    def block(self) -> int:
        return self.target.block

    def type(self, position: int = 0) -> TensorType:
        """Type of an input by position."""
        return self.graph[self.node.inputs[position]].type

    @property
    def element(self) -> Element:
        """Of the result."""
        return self.node.type.element

    @property
    def weights_dtype(self) -> str:
        """What the module stores the node's weight as where it is no integer, a key of `ELEMENTS`."""
        read = self.type().element
        return read.name if read in HALVES else self.options.weights_dtype

    def constant(self, slot: str) -> Constant | None:
        """The constant in a weight slot, None where the node has none."""
        name = self.node.weights.get(slot)
        return None if name is None else self.graph.constants[name]

    def values(self, names: Sequence[str]) -> tuple[Operand, ...]:
        return tuple(NodeValue(n) for n in names)

    @property
    def given(self) -> Given | None:
        """The choice for the node that takes the place of the model's."""
        if not self.choices:
            return None
        sources = [self.graph[name].type for name in self.node.inputs]
        return self.choices.get(choice_key(self.node, sources))

    @property
    def result(self) -> Operand:
        return NodeValue(self.node.name)


def blocks(channels: int, block: int) -> int:
    """Blocks that hold so many channels."""
    return -(-channels // block)
