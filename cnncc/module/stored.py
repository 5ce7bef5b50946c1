"""What compiled networks have in common, whatever runs them: the chosen kernels, and where their weights lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.module.layout import to_stored
from cnncc.passes import ArenaPlan


@dataclass(frozen=True, eq=False)
class Stored:
    """A lowered network with a kernel for each node. Weights lie one after the other, each at a multiple of
    `weight_align` bytes."""

    source: Graph
    """The graph as written, before any pass, with the batch."""
    graph: Graph
    plan: ArenaPlan
    selections: dict[str, Selection]
    """Node name -> its kernel calls; nodes without work are not listed."""

    @property
    def weight_align(self) -> int:
        raise NotImplementedError

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """All calls in execution order."""
        return tuple(c for s in self.selections.values() for c in s.calls)

    @cached_property
    def weights(self) -> tuple[tuple[Packed, int], ...]:
        """Every packed weight with its byte offset in the weights of the module; one of no bytes has a place too."""
        constants = [Packed(f"{n.name}.value", self._stored(n)) for n in self.graph.nodes if n.op == "const"]
        placed, offset = [], 0
        for packed in [*constants, *(w for s in self.selections.values() for w in s.weights)]:
            placed.append((packed, offset))
            offset += -(-max(packed.nbytes, 1) // self.weight_align) * self.weight_align
        return tuple(placed)

    def _stored(self, node: Node) -> Constant:
        """A const node's value as its layout stores it, flat."""
        constant = self.graph.constants[node.weights["value"]]
        return constant.map((node.type.nbytes // 4,), lambda v: to_stored(v, node.type).ravel())

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
