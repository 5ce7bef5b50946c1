"""A network as the list of kernel calls that computes it, with the memory each one uses. Needs no TVM."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Self, TypeVar

from cnncc.base.dim import most_of
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.machines import Machine
from cnncc.module.layout import to_stored
from cnncc.ops import traits
from cnncc.ops.traits import Kind
from cnncc.options import Options
from cnncc.plan import ArenaPlan
from cnncc.plan.alias_values import image_bytes

LARGEST_INDEX = (1 << 31) - 1
"""Kernels count elements in int32."""

M = TypeVar("M", bound=Machine, covariant=True)


@dataclass(frozen=True)
class Arena:
    """Bytes of a run's memory and what they hold. `bound` is the least any plan of the activations could need."""

    bytes: int
    bound: int
    added_bytes: int
    """That the kernels' workspace and scratch and the counters take beyond the activations' bytes."""
    total_bytes: int


@dataclass(frozen=True, eq=False)
class Program(ABC, Generic[M]):
    """Everything about a compiled network but its machine code. Weights lie one after the other, each at a multiple of
    the machine's `align` bytes."""

    source: Graph
    """The graph as written, before any pass, with the batch."""
    graph: Graph
    plan: ArenaPlan
    selections: dict[str, Selection]
    """Node name -> its kernel calls; nodes without work are not listed."""
    target: M
    options: Options
    order_given: tuple[Node, ...] = ()
    """The nodes of `graph` in the order of the source."""
    proven: bool = False
    """Whether no order of the nodes needs less memory than that of `graph`."""

    @property
    @abstractmethod
    def threads(self) -> int:
        """Most threads that a run may use."""

    @property
    @abstractmethod
    def arena_bytes(self) -> int:
        """Memory of a run: activations, workspace of the kernels, and what else the machine needs."""

    @abstractmethod
    def images_at_once(self, call: Call) -> int:
        """Images that one call of the kernel computes."""

    @abstractmethod
    def workspace_at_once(self, call: Call) -> int:
        """Bytes of workspace that one call of the kernel sees."""

    def settled(self) -> Self:
        """The program once its kernels are known: the plan may be made anew around the memory that they need."""
        return self

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """All calls in execution order."""
        return tuple(c for s in self.selections.values() for c in s.calls)

    @property
    def arena(self) -> Arena:
        """The memory of a run and what it holds."""
        return Arena(self.plan.bytes, self.plan.bound, self.arena_bytes - self.plan.bytes, self.arena_bytes)

    @cached_property
    def weights(self) -> tuple[tuple[Packed, int], ...]:
        """Every packed weight with its byte offset in the weights of the module; one of no bytes has a place too."""
        constants = [
            Packed(f"{n.name}.value", self._stored(n)) for n in self.graph.nodes if traits(n).kind is Kind.CONSTANT
        ]
        placed, offset = [], 0
        for packed in [*constants, *(w for s in self.selections.values() for w in s.weights)]:
            placed.append((packed, offset))
            offset += -(-max(packed.nbytes, 1) // self.target.align) * self.target.align
        return tuple(placed)

    def _stored(self, node: Node) -> Constant:
        """A const node's value as its layout stores it, flat."""
        constant = self.graph.constants[node.weights["value"]]
        return constant.map((math.prod(node.type.stored_shape),), lambda v: to_stored(v, node.type).ravel())

    @cached_property
    def source_names(self) -> dict[str, str]:
        """Each output value -> the value of the source it is: late passes give copies names of their own."""
        return dict(zip(self.graph.outputs, self.source.outputs, strict=True))

    @cached_property
    def outputs(self) -> dict[str, TensorType]:
        """What each output is called, and its type, in order."""
        types = (self.graph[value].type for value in self.graph.outputs)
        return dict(zip(self.source.output_names, types, strict=True))

    @cached_property
    def weight_offsets(self) -> dict[str, int]:
        return {packed.name: offset for packed, offset in self.weights}

    @property
    def weight_bytes(self) -> int:
        if not self.weights:
            return 0
        packed, offset = self.weights[-1]
        return offset + packed.nbytes


def check_indices(program: Program[Machine]) -> None:
    """CnnccError if a kernel would have to count beyond its 32-bit indices: in the images that it takes at once, in its
    weights, scratch or workspace; of a range of sizes, at any of them."""
    for name, selection in program.selections.items():
        for call in selection.calls:
            most = _largest_array(program, name, call)
            if most > LARGEST_INDEX:
                node = program.graph[name]
                what = f"{node.op} needs an array of {most} numbers, more than {LARGEST_INDEX}"
                hint = "smaller images, fewer channels or, for fc, fewer images in a batch"
                raise CnnccError(what, span=node.span, stack=node.stack, hint=hint)


def _largest_array(program: Program[Machine], name: str, call: Call) -> int:
    """Numbers of the largest array that a call of a node's counts in. What workspace and scratch hold is not known:
    they are counted as if it were numbers of the smallest type around."""
    graph, images, placements = program.graph, program.images_at_once(call), program.plan.placements
    sizes = {value: graph[value].type.element.itemsize for value in (name, *graph[name].inputs)}
    values = [images * most_of(image_bytes(graph[value].type)) // size for value, size in sizes.items()]
    if call.whole_batch:  # it reads the distances of images from a table of 32 bits
        values += [most_of(placements[value].image_stride) // size for value, size in sizes.items()]
    weights = [packed.constant.shape[0] for packed in program.selections[name].weights]
    between = max(most_of(call.kernel.scratch_bytes), most_of(program.workspace_at_once(call))) // min(sizes.values())
    return max(*values, *weights, between)
