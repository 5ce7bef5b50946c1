"""Channels in blocks inside the network, plain NCHW at its borders."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.base.elements import FLOAT32, Element
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import TensorType
from cnncc.ops import traits
from cnncc.ops.source import is_narrow
from cnncc.ops.traits import Kind, Order

RELAYOUT = "relayout"
"""The op that changes nothing but the order in memory."""


def assign_layouts(g: Graph, block: int | Callable[[Element], int]) -> Graph:
    """op(x) => op(relayout(x)) where op cannot read the layout of x; a rank-4 output y => relayout(y) named `y.nchw`.

    Must not fire for vectors, for convs that read a plain tensor (they can), for fc (reads either), or when the layouts
    are assigned already. Every output of the result is computed straight into it: a graph input, constant, view or
    second mention gets a copy named `y.out`. `block` is in channels, for each type of numbers where it is not the same
    for all: what makes numbers of another type then writes blocks of its own, whatever it reads, and a conv reads plain
    tensors of float32 alone. 1 keeps plain NCHW everywhere.
    """
    builder = _Builder(g, block if callable(block) else lambda element: block)
    for node in g.nodes:
        builder.lay_out(node)
    outputs = tuple(builder.output(name) for name in g.outputs)
    result = g.rebuild(builder.nodes.values(), outputs)
    return g if (result.nodes, outputs) == (g.nodes, g.outputs) else result


class _Builder:
    """The nodes laid out so far; a relayout is made at its first use and shared by later ones."""

    def __init__(self, g: Graph, block_of: Callable[[Element], int]) -> None:
        self.block_of = block_of
        self.nodes: dict[str, Node] = {}
        self._taken = set(g.by_name)
        self._relayouts: dict[tuple[str, int], str] = {}
        self._written: set[str] = set()

    def lay_out(self, node: Node) -> None:
        """Add `node` with its result's layout, reading inputs in layouts it can read."""
        if node.op == RELAYOUT:
            self._relayouts.setdefault((node.inputs[0], node.type.block), node.name)
            self.nodes[node.name] = node
            return
        inputs = tuple(self._readable(node, position, name) for position, name in enumerate(node.inputs))
        self.nodes[node.name] = node.with_(inputs=inputs, type=self._result(node))

    def _result(self, node: Node) -> TensorType:
        writes, own = traits(node).layout.writes, self.block_of(node.type.element)
        narrow = is_narrow(node) and own != self.block_of(FLOAT32)
        if len(node.type.shape) != 4 or (writes is Order.LOGICAL and not narrow):
            return node.type.with_block(1)
        if writes is Order.ANY:
            first = self.nodes[node.inputs[0]].type
            return node.type.with_block(first.block if self.block_of(first.element) == own else own)
        return node.type.with_block(own)

    def _readable(self, node: Node, position: int, name: str) -> str:
        """The name of a value equal to `name` in a layout that `node` reads as its argument at `position`."""
        order, kind = traits(node).layout.reads(position, node.attrs), self.nodes[name].type
        if len(kind.shape) != 4:
            return name
        if order is Order.ANY:
            own = self.block_of(kind.element)
            kept = traits(node).layout.writes is Order.ANY or own == self.block_of(FLOAT32)
            return name if kept else self._as_block(name, own)
        if order is Order.FIRST:
            return self._as_block(name, self.nodes[node.inputs[0]].type.block)
        return self._as_block(name, 1 if order is Order.LOGICAL else self.block_of(self.nodes[name].type.element))

    def _as_block(self, name: str, block: int) -> str:
        source = self.nodes[name]
        if source.type.block == block:
            return name
        if (name, block) not in self._relayouts:
            suffix = "nchw" if block == 1 else f"nchw{block}c"
            copy = self._copy(name, RELAYOUT, suffix, source.type.with_block(block))
            self._relayouts[name, block] = copy
        return self._relayouts[name, block]

    def _copy(self, name: str, op: str, suffix: str, type: TensorType) -> str:
        copy = f"{name}.{suffix}"
        while copy in self._taken:
            copy += "_"
        self._taken.add(copy)
        source = self.nodes[name]
        self.nodes[copy] = Node(copy, op, (name,), type, span=source.span, stack=source.stack)
        return copy

    def output(self, name: str) -> str:
        """The name of the node that writes the output `name`: plain, computed, and the only one of its value."""
        plain = self._as_block(name, 1)
        if plain in self._written or _is_elsewhere(self.nodes[plain]):
            plain = self._copy(plain, "identity", "out", self.nodes[plain].type)
        self._written.add(plain)
        return plain


def _is_elsewhere(node: Node) -> bool:
    """Whether the value lies in memory that is not its own: the caller's, the weights', or that of another value."""
    return traits(node).kind in (Kind.INPUT, Kind.CONSTANT) or traits(node).view is not None
