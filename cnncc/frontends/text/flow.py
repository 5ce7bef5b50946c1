"""How values flow from the inputs of a graph to its outputs."""

from __future__ import annotations

import networkx as nx

from cnncc.ir import Graph
from cnncc.ops import traits
from cnncc.ops.traits import Kind

SOURCE = "\0source"
SINK = "\0sink"


def flow_of(graph: Graph) -> nx.DiGraph:
    """The values that depend on an input, from SOURCE, through whatever reads them, to SINK."""
    known = fixed(graph)
    flow = nx.DiGraph()
    flow.add_nodes_from([SOURCE, SINK])
    for node in (n for n in graph.nodes if n.name not in known):
        flow.add_edges_from((i, node.name) for i in [i for i in node.inputs if i not in known] or [SOURCE])
    flow.add_edges_from((name, SINK) for name in graph.outputs if name not in known)
    return flow


def starts(graph: Graph) -> dict[str, str]:
    """For each value that depends on an input, the last one, or SOURCE, that all ways to it go through."""
    found = nx.immediate_dominators(flow_of(graph), SOURCE)
    return {name: str(start) for name, start in found.items() if name not in (SOURCE, SINK)}


def fixed(graph: Graph) -> set[str]:
    """Values that depend on no input."""
    found: set[str] = set()
    for node in graph.nodes:
        if traits(node).kind is not Kind.INPUT and found.issuperset(node.inputs):
            found.add(node.name)
    return found
