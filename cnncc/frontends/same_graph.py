"""Which node of one graph is which of another, by what they compute: names play no part, nor does the order of the
nodes, or of the arms of a sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnncc.ir import Graph, Node
from cnncc.lang.forms import form_of
from cnncc.lang.print_net import further
from cnncc.ops import TABLE, traits
from cnncc.ops.traits import Kind
from cnncc.passes.drop_identities import drop_identities

Digests = Mapping[str, int]
"""A number for each node: two nodes have the same if they compute the same, but for values of weights."""


@dataclass(frozen=True)
class GraphDifference:
    """The first node of each graph that the other one does not have; None if only the outputs differ."""

    first: Node | None
    second: Node | None

    def told(self) -> tuple[str, str]:
        """Both nodes as the language writes them."""
        return _told(self.first), _told(self.second)


def constants_by(first: Graph, second: Graph) -> dict[str, str] | GraphDifference:
    """The constants of the second graph by those of the first that they stand for. Inputs and outputs go by their names
    if these are the same, else by their order."""
    first, second = drop_identities(first), drop_identities(with_outputs_of(first, second))
    known: dict[object, int] = {}
    by_name = {node.name for node in first.inputs} == {node.name for node in second.inputs}
    ours, theirs = digests(first, known, by_name), digests(second, known, by_name)
    if [ours[name] for name in first.outputs] != [theirs[name] for name in second.outputs]:
        return GraphDifference(_first_unknown(first, ours, theirs), _first_unknown(second, theirs, ours))
    found: dict[str, str] = {}
    for a, b in pairs(first, second, ours, theirs):
        for slot, name in first[a].weights.items():
            if found.setdefault(name, second[b].weights[slot]) != second[b].weights[slot]:
                return GraphDifference(first[a], second[b])  # one layer here, two with weights of their own there
    return found


def with_outputs_of(first: Graph, second: Graph) -> Graph:
    """The second graph with its outputs in the order of the first one's, if they have the same names."""
    if set(first.output_names) != set(second.output_names):
        return second
    values = dict(zip(second.output_names, second.outputs, strict=True))
    return replace(second, outputs=tuple(values[name] for name in first.output_names), ports=first.output_names)


def digests(graph: Graph, known: dict[object, int], by_name: bool) -> Digests:
    """Digests of all nodes; `known` holds those given so far, and is added to."""
    found: dict[str, int] = {}
    places = {node.name: node.name if by_name else place for place, node in enumerate(graph.inputs)}
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs]
        attrs = sorted((key, value) for key, value in node.attrs.items() if key not in ("batch", "range"))
        weights = [(slot, c.shape, c.element) for slot, c in ((s, graph.constants[n]) for s, n in node.weights.items())]
        arms = tuple(sorted(inputs) if in_any_order(node) else inputs)
        made = (node.op, repr(attrs), tuple(weights), node.type.shape[1:], arms, places.get(node.name))
        found[node.name] = known.setdefault(made, len(known))
    return found


def in_any_order(node: Node) -> bool:
    """Whether the arms may change places: so it is with what takes any number of them."""
    return traits(node).kind is Kind.MERGE and TABLE[node.op].arity[1] is None


def pairs(first: Graph, second: Graph, ours: Digests, theirs: Digests) -> set[tuple[str, str]]:
    """Nodes of both graphs that are the same, from the outputs on: among equal arms the order decides."""
    found: set[tuple[str, str]] = set()
    waiting = list(zip(first.outputs, second.outputs, strict=True))
    while waiting:
        pair = waiting.pop()
        if pair not in found:
            found.add(pair)
            waiting += zip(_arms(first[pair[0]], ours), _arms(second[pair[1]], theirs), strict=True)
    return found


def _arms(node: Node, digests: Digests) -> Sequence[str]:
    return sorted(node.inputs, key=digests.__getitem__) if in_any_order(node) else node.inputs


def _first_unknown(graph: Graph, digests: Digests, others: Digests) -> Node | None:
    known = set(others.values())
    return next((node for node in graph.nodes if digests[node.name] not in known), None)


def _told(node: Node | None) -> str:
    """`conv2 (conv 3x3 64)`."""
    if node is None:
        return "nothing more"
    return f"{node.name} ({' '.join([form_of(node).word, *further(node)])})"
