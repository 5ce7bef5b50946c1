"""Which values of a graph become bytes. It depends on the graph alone, and on which layers are to stay in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property

from cnncc import ops
from cnncc.base.elements import UINT8
from cnncc.base.errors import CnnccError, nearest
from cnncc.ir import Graph, Node, TensorType
from cnncc.ir.rules import ShapeError
from cnncc.ir.types import Quantization
from cnncc.ops import traits
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.quantized import ON_BYTES
from cnncc.ops.traits import Kind

ONE = Quantization(1.0)


class Mode(Enum):
    """What becomes of a node."""

    FLOAT = auto()
    LAYER = auto()
    """Sums of products of bytes; the result is bytes, or float32 where only float32 is wanted."""
    SUM = auto()
    MEAN = auto()
    PRODUCT = auto()
    FUNCTION = auto()
    """A table."""
    MOVE = auto()
    """It moves bytes, whose scale stays."""


BY_OP: Mapping[str, Mode] = {
    "conv": Mode.LAYER,
    "conv_transpose": Mode.LAYER,
    "fc": Mode.LAYER,
    "add": Mode.SUM,
    "gap": Mode.MEAN,
    "mul": Mode.PRODUCT,
}
"""Ops that have another op on bytes."""
assert BY_OP.keys() == ON_BYTES.keys()


@dataclass(frozen=True)
class ByteLayer:
    """A node with weights, and those behind it that it computes too: a sum, and bounds."""

    nodes: tuple[Node, ...]
    added: str = ""
    """What the sum adds; empty without one."""

    @property
    def node(self) -> Node:
        return self.nodes[0]

    @property
    def name(self) -> str:
        """Of its result."""
        return self.nodes[-1].name

    @property
    def bounds(self) -> Node | None:
        """The activation that bounds its result."""
        return self.nodes[-1] if self.nodes[-1].op in BOUNDED else None


@dataclass(frozen=True)
class BytePlan:
    """What becomes of each node of a graph."""

    graph: Graph
    modes: Mapping[str, Mode]

    def is_bytes(self, name: str) -> bool:
        """Whether what computes a value gives bytes."""
        return self.modes[name] is not Mode.FLOAT and self._wanted_as_bytes(name)

    def _wanted_as_bytes(self, name: str) -> bool:
        """Whether somebody reads bytes of a value."""
        return read_as_bytes(self.graph, name, self.modes)

    def users(self, name: str) -> tuple[Node, ...]:
        return self.graph.users(name)

    @cached_property
    def layers(self) -> Mapping[str, ByteLayer]:
        """By the name of each node that belongs to one."""
        found: dict[str, ByteLayer] = {}
        for node in self.graph.nodes:
            if self.modes[node.name] is Mode.LAYER:
                layer = self._layer(node, found)
                found |= {n.name: layer for n in layer.nodes}
        return found

    def _layer(self, node: Node, taken: Mapping[str, ByteLayer]) -> ByteLayer:
        nodes, added = [node], ""
        then = self._only_user(node)
        if then is not None and self.modes[then.name] is Mode.SUM and then.name not in taken:
            other = next((name for name in then.inputs if name != node.name), node.name)
            if self._position[other] < self._position[node.name] and self.is_bytes(then.name):
                nodes, added = [*nodes, then], other
                then = self._only_user(then)
        if then is not None and then.op in BOUNDED and self.modes[then.name] is Mode.FUNCTION:
            nodes.append(then)
        return ByteLayer(tuple(nodes), added)

    @cached_property
    def _position(self) -> Mapping[str, int]:
        return {node.name: i for i, node in enumerate(self.graph.nodes)}

    def _only_user(self, node: Node) -> Node | None:
        return self.users(node.name)[0] if self.graph.is_private(node.name) else None

    def is_inside(self, node: Node) -> bool:
        """Whether a function is computed on the way to another one."""
        then = self._only_user(node)
        return (
            self.modes[node.name] is Mode.FUNCTION and then is not None and self.modes[then.name] is Mode.FUNCTION
        ) and node.name not in self.layers

    @cached_property
    def scaled(self) -> tuple[str, ...]:
        """The values that need a scale, in order: those that are computed as bytes, or made bytes for a reader."""
        return tuple(node.name for node in self.graph.nodes if self._needs_scale(node))

    def _needs_scale(self, node: Node) -> bool:
        layer = self.layers.get(node.name)
        if (layer is not None and node.name != layer.name) or self.is_inside(node):
            return False
        return self._wanted_as_bytes(node.name)

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The values that need a scale, those together that have to have the same."""
        first = {name: name for name in self.scaled}

        def root(name: str) -> str:
            while first[name] != name:
                name = first[name]
            return name

        for node in self.graph.nodes:
            if self.modes[node.name] is Mode.MOVE and node.name in first:
                for name in node.inputs:
                    first[root(name)] = root(node.name)
        found: dict[str, list[str]] = {}
        for name in self.scaled:
            found.setdefault(root(name), []).append(name)
        return tuple(map(tuple, found.values()))

    @property
    def possible(self) -> tuple[str, ...]:
        """The values that may be bytes in some plan of the graph."""
        names = {name for node in self.graph.nodes if node.op in BY_OP for name in (*node.inputs, node.name)}
        return tuple(
            node.name for node in self.graph.nodes if node.name in names and node.name not in self.graph.shared
        )

    @property
    def left(self) -> tuple[Node, ...]:
        """The nodes that are computed in float32 though they compute something."""
        kinds = (Kind.INPUT, Kind.CONSTANT)
        return tuple(
            node for node in self.graph.nodes if self.modes[node.name] is Mode.FLOAT and traits(node).kind not in kinds
        )


def plan(graph: Graph, keep: Set[str] = frozenset()) -> BytePlan:
    """What becomes of the nodes of a graph after its batch norms are folded. Those named in `keep` stay float32.
    CnnccError for a name that is none."""
    names = [node.name for node in graph.nodes if node.op in BY_OP]
    for name in sorted(keep):
        if name not in names:
            raise CnnccError(f"{graph.name} has no layer {name!r} to keep", hint=nearest(name, names))
    stay = {*keep, *_gates(graph)}
    modes: dict[str, Mode] = {}
    for node in graph.nodes:
        modes[node.name] = Mode.FLOAT if node.name in stay else _mode(graph, node, modes)
    for node in reversed(graph.nodes):
        if modes[node.name] not in (Mode.FLOAT, Mode.LAYER, Mode.MEAN) and not read_as_bytes(graph, node.name, modes):
            modes[node.name] = Mode.FLOAT
    return BytePlan(graph, modes)


def read_as_bytes(graph: Graph, name: str, modes: Mapping[str, Mode]) -> bool:
    """Whether some reader of a value takes bytes. A value that only float32 is wanted of is better computed so."""
    return any(
        modes[user.name] is not Mode.FLOAT and (modes[user.name] is not Mode.PRODUCT or user.inputs[0] == name)
        for user in graph.users(name)
    )


def _mode(graph: Graph, node: Node, modes: Mapping[str, Mode]) -> Mode:
    """What a node can become, by what its inputs are."""
    kinds = [modes[name] for name in node.inputs]
    mode = BY_OP.get(node.op)
    if mode is Mode.LAYER:
        return Mode.LAYER if node.inputs[0] not in graph.shared else Mode.FLOAT
    if not kinds or kinds[0] is Mode.FLOAT:
        return Mode.FLOAT
    if mode is not None:
        return mode if _fits(graph, node, mode, kinds) else Mode.FLOAT
    if traits(node).kind is Kind.POINTWISE:
        return Mode.FUNCTION
    return Mode.MOVE if Mode.FLOAT not in kinds and _moves(graph, node) else Mode.FLOAT


def _fits(graph: Graph, node: Node, mode: Mode, kinds: list[Mode]) -> bool:
    """Whether the op on bytes has a node's inputs."""
    shapes = [graph[name].type.shape for name in node.inputs]
    if mode is Mode.MEAN:
        return True
    if len(shapes) != 2 or len(shapes[0]) != 4:
        return False
    if mode is Mode.SUM:
        return shapes[0] == shapes[1] and Mode.FLOAT not in kinds
    return shapes[1][1:] == (shapes[0][1], 1, 1)


def _moves(graph: Graph, node: Node) -> bool:
    """Whether an op takes bytes as they are, and its result has their scale."""
    given = tuple(_as_bytes(graph[name]) for name in node.inputs)
    try:
        return ops.infer_type(node.op, given, node.attrs).quantization == ONE
    except ShapeError:
        return False


def _as_bytes(node: Node) -> TensorType:
    """The type that a value would have as bytes."""
    return replace(node.type, element=UINT8, quantization=ONE)


def _gates(graph: Graph) -> Iterator[str]:
    """The nodes that compute the factor of each channel from its mean (Hu et al. 2018, section 3): they are small, and
    what they round is multiplied with everything."""
    for node in graph.nodes:
        if BY_OP.get(node.op) is Mode.PRODUCT and len(node.inputs) == 2:
            yield from _gate(graph, graph[node.inputs[1]])


def _gate(graph: Graph, node: Node) -> Iterator[str]:
    while len(node.inputs) == 1 and BY_OP.get(node.op) is not Mode.MEAN and len(graph[node.inputs[0]].type.shape) == 4:
        if node.type.shape[2:] != (1, 1):
            return
        yield node.name
        node = graph[node.inputs[0]]
