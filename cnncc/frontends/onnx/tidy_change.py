"""What a rule that tidies a graph says, and what it asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cnncc.ir import Constant, Graph, Node


@dataclass
class Change:
    """A node that takes the place of another of the same name, with new constants."""

    node: Node
    constants: dict[str, Constant] = field(default_factory=dict)


def private(graph: Graph, name: str, op: str | tuple[str, ...]) -> Node | None:
    """The node of that name if it is of an op and only one node reads it."""
    node = graph[name]
    return node if node.op in ((op,) if isinstance(op, str) else op) and graph.is_private(name) else None


def remade(node: Node, source: Node, **changes: Any) -> Node:
    """`source` computing the value of `node`."""
    return source.with_(name=node.name, type=node.type, **changes)
