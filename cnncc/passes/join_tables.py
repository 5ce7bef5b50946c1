"""Functions of one number between bytes become tables of 256 bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnncc.base.elements import INT8
from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ir.types import Constant, TensorType
from cnncc.ops import traits
from cnncc.ops.quantize import dequantized, is_dequantized, quantized
from cnncc.ops.reference import through
from cnncc.ops.traits import Kind


def join_tables(g: Graph) -> Graph:
    """quantize(f(dequantize(x))) => lookup(x) with a table of f, whatever pointwise ops f is made of; none, too.

    Must not fire when another op reads a value in between, or it is a graph output.
    """
    return rewrite(g, RULES)


@rule("quantize")
def table_of_function(g: Draft, node: Node) -> Change | None:
    """quantize(f(dequantize(x))) => lookup(x)

    Must not fire when x has more than 8 bits, when a value of f has other users or is a graph output, or for an output
    that is x itself.
    """
    chain, at = functions_before(g, node)
    source = g[at.inputs[0]] if is_dequantized(at) else at
    if source is at or source.type.element.bits != 8:
        return None
    if not chain and source.type.numbers == node.type.numbers:
        return None if g.is_output(node.name) else Change(instead={node.name: source.name})
    name = f"{node.name}.table"
    table = Constant((256,), lambda: table_of(chain, source.type, node.type), INT8)
    joined = node.with_(op="lookup", inputs=(source.name,), weights={"table": name})
    return Change((joined,), {name: table})


def functions_before(g: Draft | Graph, node: Node) -> tuple[list[Node], Node]:
    """The functions of one number that lead to a node, the first one first, which nobody else reads; and what they
    read."""
    chain: list[Node] = []
    at = g[node.inputs[0]]
    while traits(at).kind is Kind.POINTWISE and g.is_private(at.name):
        chain.insert(0, at)
        at = g[at.inputs[0]]
    return chain, at


def table_of(chain: Sequence[Node], source: TensorType, result: TensorType) -> np.ndarray:
    """The result for each byte of the source, by the bits of that byte, as bits. The functions are computed in
    float64."""
    bits = np.arange(256, dtype=np.uint8).view(source.element.dtype)
    values = through(dequantized(bits, source).astype(np.float64).reshape(1, -1, 1, 1), chain)
    return quantized(values.reshape(-1), result).view(np.int8)


RULES = (table_of_function,)
