"""What depends on constants only is a constant."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import Constant
from cnncc.ops import TABLE, traits
from cnncc.ops.traits import Kind

LARGEST = 1 << 22
"""Most elements a folded result may have: beyond 16 MiB the module would grow more than the work saved is worth."""


def fold_constants(g: Graph) -> Graph:
    """op(const, ...; weights) => const: the value of the op's reference in float64, rounded to float32, when asked for.

    Must not fire when any input is not a constant, for graph inputs, for a value given to each image of a batch, or
    when the result is huge (`LARGEST`).
    """
    nodes: dict[str, Node] = {}
    constants = dict(g.constants)
    for node in g.nodes:
        if _foldable(node, nodes):
            value = f"{node.name}.value"
            constants[value] = _evaluate(node, nodes, constants)
            nodes[node.name] = node.with_(
                op="const", inputs=(), attrs={"dims": node.type.shape[1:]}, weights={"value": value}
            )
        else:
            nodes[node.name] = node
    if all(nodes[n.name] is n for n in g.nodes):
        return g
    return g.rebuild(nodes.values(), constants=constants)


def _foldable(node: Node, nodes: dict[str, Node]) -> bool:
    if not node.inputs or node.attrs.get("epilogue") or node.type.shape[0] > 1:
        return False
    return all(traits(nodes[i]).kind is Kind.CONSTANT for i in node.inputs) and math.prod(node.type.shape) <= LARGEST


def _evaluate(node: Node, nodes: dict[str, Node], constants: dict[str, Constant]) -> Constant:
    """The constant that computes `node` from the values of its inputs and weights."""
    slots = tuple(node.weights)
    sources = [constants[nodes[i].weights["value"]] for i in node.inputs]
    sources += [constants[node.weights[slot]] for slot in slots]
    arity = len(node.inputs)

    def compute(*values: np.ndarray) -> np.ndarray:
        exact = [v.astype(np.float64) for v in values]
        weights = dict(zip(slots, exact[arity:], strict=True))
        return TABLE[node.op].reference(tuple(exact[:arity]), weights, node.attrs).astype(np.float32)

    return sources[0].map(node.type.shape, compute, *sources[1:])
