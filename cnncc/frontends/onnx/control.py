"""Control flow of ONNX: a branch whose condition is known is a part of the graph around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx.attributes import AttributeReader
from cnncc.frontends.onnx.values import Unsupported, Value

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

    from cnncc.frontends.onnx.site import Tensor

LOOP = "loops are not supported: a module does the same steps in every run"
RECURRENT = "recurrent layers are not supported"
REFUSED = {"Loop": LOOP, "Scan": LOOP, "SequenceMap": LOOP, **dict.fromkeys(("LSTM", "GRU", "RNN"), RECURRENT)}
"""What is not converted, whatever its inputs are."""


def branch_of(node: NodeProto, condition: Tensor | None) -> GraphProto:
    """The branch of an If that is taken. Unsupported if that depends on an input."""
    if isinstance(condition, Value):
        raise Unsupported("the condition is computed, but has to be known when compiling", [node.input[0]])
    if condition is None or condition.size != 1:
        raise Unsupported("the condition: expected one truth value")
    name = "then_branch" if bool(np.reshape(condition, ())) else "else_branch"
    graph: GraphProto = AttributeReader.of(node).read(name, "GRAPH", "a graph")
    if len(graph.output) != len(node.output):
        raise Unsupported(f"{name} has {len(graph.output)} results, the node {len(node.output)}")
    return graph


def read_by(node: NodeProto) -> set[str]:
    """The tensors that a node reads: its inputs, and what the graphs that it carries read from around them."""
    return set(node.input).union(*map(outer_names, graphs_of(node))) - {""}


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def outer_names(graph: GraphProto) -> set[str]:
    """Names that a graph reads and does not make."""
    made = made_in(graph)
    found = {port.name for port in graph.output}.union(*map(read_by, graph.node))
    return found - made - {""}


def made_in(graph: GraphProto) -> set[str]:
    """Names of the inputs, tensors and results of a graph."""
    made = {tensor.name for tensor in graph.initializer} | {port.name for port in graph.input}
    return made.union(*(node.output for node in graph.node)) - {""}


def needed(graph: GraphProto) -> set[str]:
    """Names of tensors that the outputs of a graph depend on."""
    wanted = {port.name for port in graph.output}
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted |= read_by(node)
    return wanted - {""}
