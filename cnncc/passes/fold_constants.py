"""What depends on constants only is a constant."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ir.types import Constant
from cnncc.ops import TABLE, complete, traits
from cnncc.ops.traits import Kind

LARGEST = 1 << 22
"""Most elements a folded result may have: beyond 16 MiB the module would grow more than the work saved is worth."""


def fold_constants(g: Graph) -> Graph:
    """op(const, ...; weights) => const: the value of the op's reference in float64, rounded to float32, when asked for.

    Must not fire when any input is not a constant, for graph inputs, for a value given to each image of a batch, for
    what is not float32, or when the result is huge (`LARGEST`).
    """
    return rewrite(g, RULES)


@rule()
def known_result(g: Draft, node: Node) -> Change | None:
    """op(const, ...; weights) => const: the value of the op's reference, when asked for

    Must not fire when any input is not a constant, for graph inputs, for an op with an epilogue, for a value given to
    each image of a batch, for what is not float32, or when the result is huge (`LARGEST`).
    """
    if not node.inputs or node.attrs.get("epilogue") or node.type.shape[0] > 1:
        return None
    if not all(kind.is_float for kind in (node.type, *(g[i].type for i in node.inputs))):
        return None
    if any(traits(g[i]).kind is not Kind.CONSTANT for i in node.inputs) or math.prod(node.type.shape) > LARGEST:
        return None
    name = f"{node.name}.value"
    attrs = complete("const", {"dims": node.type.shape[1:]})
    known = node.with_(op="const", inputs=(), attrs=attrs, weights={"value": name})
    return Change((known,), {name: _evaluated(g, node)})


RULES = (known_result,)


def _evaluated(g: Draft, node: Node) -> Constant:
    """The constant that computes `node` from the values of its inputs and weights."""
    slots = tuple(node.weights)
    sources = [g.constants[g[i].weights["value"]] for i in node.inputs]
    sources += [g.constants[node.weights[slot]] for slot in slots]
    arity = len(node.inputs)

    def compute(*values: np.ndarray) -> np.ndarray:
        exact = [v.astype(np.float64) for v in values]
        weights = dict(zip(slots, exact[arity:], strict=True))
        return TABLE[node.op].reference(tuple(exact[:arity]), weights, node.attrs).astype(np.float32)

    return sources[0].map(node.type.shape, compute, *sources[1:])
