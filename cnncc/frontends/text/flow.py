"""How values flow from the inputs of a graph to its outputs."""

from __future__ import annotations

from cnncc.frontends.text.dominators import Flow, immediate_dominators
from cnncc.ir import Graph
from cnncc.ops import traits
from cnncc.ops.traits import Kind

SOURCE = "\0source"
SINK = "\0sink"


def flow_of(graph: Graph) -> Flow:
    """The values that depend on an input, each with those before it: from SOURCE, through whatever reads them, to
    SINK."""
    known = fixed(graph)
    sources = {n.name: [i for i in n.inputs if i not in known] for n in graph.nodes if n.name not in known}
    ends = [name for name in graph.outputs if name in sources]
    return {SOURCE: [], **{name: found or [SOURCE] for name, found in sources.items()}, SINK: ends}


def starts(graph: Graph) -> dict[str, str]:
    """For each value that depends on an input, the last one, or SOURCE, that all ways to it go through."""
    found = immediate_dominators(flow_of(graph))
    return {name: start for name, start in found.items() if name != SINK}


def fixed(graph: Graph) -> set[str]:
    """Values that depend on no input."""
    found: set[str] = set()
    for node in graph.nodes:
        if traits(node).kind is not Kind.INPUT and found.issuperset(node.inputs):
            found.add(node.name)
    return found
