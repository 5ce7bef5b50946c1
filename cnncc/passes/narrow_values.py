"""Values in halves, bfloat16 or float16, between layers that multiply them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from cnncc import ops
from cnncc.base.elements import BFLOAT16, Element
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rules import ShapeError
from cnncc.ir.types import TensorType
from cnncc.ops.source import is_prepared
from cnncc.ops.traits import Kind


def narrow_values(g: Graph, half: Element = BFLOAT16, takes: Callable[[str], bool] = lambda op: True) -> Graph:
    """conv(x) => conv(cast(x)) in halves, and so on for all that takes halves of a value that is of halves already.

    What takes float32 only gets casts back, as every output does. An input with mean or std, or of another type, of
    which only halves are read is rounded to them as it is made. `half` is their type, and `takes` says for which ops
    the machine computes on it. Must not fire for a graph without convolutions, nor for values that are not float32:
    those stay as they are.
    """
    narrower = _Narrower(g, half, takes)
    for node in g.nodes:
        narrower.add(node)
    outputs = tuple(narrower.as_element(name, g[name].type.element) for name in g.outputs)
    if not narrower.casts:
        return g
    narrowed = g.rebuild(narrower.nodes.values(), outputs)
    return _round_inputs(narrowed, half, set(narrower.casts.values())) if takes("input") else narrowed


def _round_inputs(g: Graph, half: Element, made: Collection[str]) -> Graph:
    """cast(x) => x in halves, where x is an input that is computed from the caller's array and nobody else reads it.
    `made` are the casts that may go."""
    casts = {
        user.name: node.name
        for node in g.inputs
        if is_prepared(node) and g.is_private(node.name)
        for user in g.users(node.name)
        if user.name in made and user.type.element == half
    }
    inputs = set(casts.values())
    nodes = []
    for node in g.nodes:
        if node.name in inputs:
            kind = replace(node.type, element=half)
            nodes.append(node.with_(type=kind, attrs={**node.attrs, "value": half.name}))
        elif node.name not in casts:
            nodes.append(node.with_(inputs=tuple(casts.get(name, name) for name in node.inputs)))
    return g.rebuild(nodes)


class _Narrower:
    """The nodes so far; a cast is made at its first use and shared by later ones."""

    def __init__(self, g: Graph, half: Element, takes: Callable[[str], bool]) -> None:
        self.g = g
        self.half = half
        self.takes = takes
        self.nodes: dict[str, Node] = {}
        self.casts: dict[tuple[str, Element], str] = {}
        self._taken = set(g.by_name)

    def add(self, node: Node) -> None:
        """Adds the node on halves if it takes them and one of its values is of halves, or if it is a convolution."""
        wanted = self.narrowed(node)
        if wanted is None:
            inputs = tuple(self.as_element(name, self.g[name].type.element) for name in node.inputs)
            self.nodes[node.name] = node.with_(inputs=inputs)
            return
        given, result = wanted
        inputs = tuple(self.as_element(name, t.element) for name, t in zip(node.inputs, given, strict=True))
        self.nodes[node.name] = node.with_(inputs=inputs, type=result)

    def narrowed(self, node: Node) -> tuple[list[TensorType], TensorType] | None:
        """The types of the node's inputs and result with halves; None if it stays as it is."""
        types = [self.g[name].type for name in node.inputs]
        traits = ops.traits(node)
        starts = traits.kind is Kind.LINEAR and not traits.flat
        if not starts and all(self.nodes[name].type.element != self.half for name in node.inputs):
            return None
        if not self.takes(node.op):
            return None
        for count in (len(types), 1):
            given = [*map(self.halved, types[:count]), *types[count:]]
            try:
                return given, ops.TABLE[node.op].type(tuple(given), node.attrs)
            except ShapeError:
                continue
        return None

    def as_element(self, name: str, element: Element) -> str:
        """The name of a value equal to `name`, but for rounding, of that element."""
        source = self.nodes[name]
        if source.type.element == element:
            return name
        if (name, element) not in self.casts:
            cast = f"{name}.{element.short}"
            while cast in self._taken:
                cast += "_"
            self._taken.add(cast)
            kind = replace(source.type, element=element)
            attrs = ops.complete(CAST, {"to": element.name})
            self.nodes[cast] = Node(cast, CAST, (name,), kind, attrs, span=source.span, stack=source.stack)
            self.casts[name, element] = cast
        return self.casts[name, element]

    def halved(self, kind: TensorType) -> TensorType:
        """Halves for float32; other types as they are."""
        return replace(kind, element=self.half) if kind.is_float else kind


CAST = "cast"
"""The op that makes other types of numbers."""
