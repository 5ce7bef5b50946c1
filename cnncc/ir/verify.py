"""The verifier: what must hold of every graph, before and after every pass."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.base.elements import FLOAT32, Element
from cnncc.base.errors import CnnccError
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rules import Rules, Shape, ShapeError, check_arity
from cnncc.ir.types import TensorType


class VerifyError(CnnccError):
    """A graph breaks a rule: a bug of cnncc, not of its user. Names the node (or the graph) and the rule."""

    def __init__(self, where: str, rule: str, message: str, node: Node | None = None) -> None:
        super().__init__(
            f"internal error, {where}: {rule}: {message}", node.span if node else None, node.stack if node else ()
        )
        self.where = where
        self.rule = rule


def verify(graph: Graph, table: Mapping[str, Rules]) -> None:
    """VerifyError unless names are unique and in topological order, outputs exist, and every node has a known op,
    its attributes and arity, the type its rules give, and constants of the right shapes and elements.

    Layout is free: a blocked type must have the rule's logical shape, a block of at least 1, and rank 4 if blocked.
    """
    seen: dict[str, Node] = {}
    for node in graph.nodes:
        check_names(node, seen)
        check_node(graph, node, table, tuple(seen[name].type for name in node.inputs))
        seen[node.name] = node
    check_outputs(graph)


def check_names(node: Node, seen: Mapping[str, Node]) -> None:
    """A name of its own, and inputs that come before."""
    if node.name in seen:
        raise fault(node, "names", "another node has this name")
    for name in node.inputs:
        if name not in seen:
            raise fault(node, "order", f"reads {name!r}, which is not computed before it")


def check_node(graph: Graph, node: Node, table: Mapping[str, Rules], types: tuple[TensorType, ...]) -> None:
    """Op, attributes, arity, type, weights."""
    if node.op not in table:
        raise fault(node, "op", f"unknown op {node.op!r}")
    rules = table[node.op]
    check_attributes(node, rules)
    try:
        check_arity(rules.arity, len(node.inputs), node.attrs)
    except ShapeError as error:
        raise fault(node, "arity", error.message) from error
    try:
        wanted = rules.type(types, node.attrs)
    except ShapeError as error:
        raise fault(node, "shape", error.message) from error
    check_type(node, wanted)
    check_weights(graph, node, rules.weights(tuple(t.shape for t in types), node.attrs), rules.elements(node.attrs))


def check_attributes(node: Node, rules: Rules) -> None:
    """Exactly the table's keys."""
    unknown, missing = node.attrs.keys() - rules.attributes.keys(), rules.attributes.keys() - node.attrs.keys()
    if unknown or missing:
        words = [f"unknown {', '.join(sorted(unknown))}"] if unknown else []
        words += [f"missing {', '.join(sorted(missing))}"] if missing else []
        raise fault(node, "attributes", "; ".join(words))


def check_type(node: Node, wanted: TensorType) -> None:
    """The type the rules give, but for the layout, which must exist."""
    block, rank = node.type.block, len(wanted.shape)
    if node.type != wanted and node.type.with_block(wanted.block) != wanted:
        raise fault(node, "type", f"is {node.type}, the op gives {wanted}")
    if block < 1 or (block > 1 and rank != 4):
        raise fault(node, "layout", f"channel block {block} on a tensor of rank {rank}")


def check_weights(graph: Graph, node: Node, slots: Mapping[str, Shape], elements: Mapping[str, Element]) -> None:
    """Exactly the table's slots, each a constant of the graph with the right shape and element."""
    if node.weights.keys() != slots.keys():
        raise fault(
            node, "weights", f"slots {', '.join(node.weights) or 'none'}, expected {', '.join(slots) or 'none'}"
        )
    for slot, shape in slots.items():
        name = node.weights[slot]
        if name not in graph.constants:
            raise fault(node, "weights", f"{slot} is {name!r}, which is no constant of the graph")
        found, element = graph.constants[name], elements.get(slot, FLOAT32)
        if found.shape != shape:
            raise fault(node, "weights", f"{name} is {found.shape}, the op needs {shape}")
        if found.element != element:
            raise fault(node, "weights", f"{name} is {found.element}, the op needs {element}")


def check_outputs(graph: Graph) -> None:
    """At least one output, all of them nodes, and a name or none for each."""
    if not graph.outputs:
        raise VerifyError(f"graph {graph.name!r}", "outputs", "has none")
    if len(graph.ports) != len(graph.outputs):
        raise VerifyError(f"graph {graph.name!r}", "outputs", f"{len(graph.outputs)}, with {len(graph.ports)} names")
    for name in graph.outputs:
        if name not in graph.by_name:
            raise VerifyError(f"graph {graph.name!r}", "outputs", f"{name!r} is no node")


def fault(node: Node, rule: str, message: str) -> VerifyError:
    return VerifyError(f"node {node.name!r} ({node.op})", rule, message, node)
