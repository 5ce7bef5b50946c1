"""Channels in blocks inside the network, plain NCHW at its borders."""

from __future__ import annotations

from cnncc.base.elements import HALVES
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import TensorType
from cnncc.ops import traits
from cnncc.ops.traits import Kind, Order

RELAYOUT = "relayout"
"""The op that changes nothing but the order in memory."""


def assign_layouts(g: Graph, block: int, of_halves: int | None = None) -> Graph:
    """op(x) => op(relayout(x)) where op cannot read the layout of x; a rank-4 output y => relayout(y) named `y.nchw`.

    Must not fire for vectors, for convs that read a plain tensor (they can), for fc (reads either), or when the layouts
    are assigned already. Every output of the result is computed straight into it: a graph input, constant, view or
    second mention gets a copy named `y.out`. `block` is in channels; 1 keeps plain NCHW everywhere.
    `of_halves` is that of values of 16 bits, where it is another one: then a cast to or from halves writes blocks of
    its own, whatever it reads.
    """
    builder = _Builder(g, block, block if of_halves is None else of_halves)
    for node in g.nodes:
        builder.lay_out(node)
    outputs = tuple(builder.output(name) for name in g.outputs)
    result = g.rebuild(builder.nodes.values(), outputs)
    return g if (result.nodes, outputs) == (g.nodes, g.outputs) else result


class _Builder:
    """The nodes laid out so far; a relayout is made at its first use and shared by later ones."""

    def __init__(self, g: Graph, block: int, of_halves: int) -> None:
        self.block = block
        self.of_halves = of_halves
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
        writes = traits(node).layout.writes
        if len(node.type.shape) != 4 or writes is Order.LOGICAL:
            return node.type.with_block(1)
        if writes is Order.ANY and self._block(node.type) == self._block(self.nodes[node.inputs[0]].type):
            return node.type.with_block(self.nodes[node.inputs[0]].type.block)
        return node.type.with_block(self._block(node.type))

    def _block(self, kind: TensorType) -> int:
        """Channels of a block of a value."""
        return self.of_halves if kind.element in HALVES else self.block

    def _readable(self, node: Node, position: int, name: str) -> str:
        """The name of a value equal to `name` in a layout that `node` reads as its argument at `position`."""
        order = traits(node).layout.reads(position, node.attrs)
        if len(self.nodes[name].type.shape) != 4 or order is Order.ANY:
            return name
        if order is Order.FIRST:
            return self._as_block(name, self.nodes[node.inputs[0]].type.block)
        return self._as_block(name, 1 if order is Order.LOGICAL else self._block(self.nodes[name].type))

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
