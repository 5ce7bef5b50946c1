"""Functions of one number between bytes become tables of 256 bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import INT8
from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ir.types import Constant, TensorType
from cnncc.ops import TABLE, traits
from cnncc.ops.quantize import dequantized, is_dequantized, quantized
from cnncc.ops.traits import Kind

LONGEST = 1000
"""Ops of a function, at most."""


def join_tables(g: Graph) -> Graph:
    """quantize(f(dequantize(x))) => lookup(x) with a table of f, whatever ops of single numbers f is made of.

    Must not fire when another op reads a value in between, or it is a graph output.
    """
    return rewrite(g, RULES)


@rule("quantize")
def table_of_function(g: Draft, node: Node) -> Change | None:
    """quantize(f(dequantize(x))) => lookup(x)

    Must not fire when x has more than 8 bits, when f takes numbers of several tensors, when a value of f has other
    users or is a graph output, or for an output that is x itself.
    """
    found = function_before(g, node)
    if found is None or found.source.type.element.bits != 8:
        return None
    if not found.computed and found.source.type.numbers == node.type.numbers:
        return None if g.is_output(node.name) else Change(instead={node.name: found.source.name})
    name, result = f"{node.name}.table", node.type
    tables = {at.weights["table"]: g.constants[at.weights["table"]] for at in found.nodes if is_table(at)}
    table = Constant((256,), lambda: found.table(tables, result), INT8)
    joined = node.with_(op="lookup", inputs=(found.source.name,), weights={"table": name})
    return Change((joined,), {name: table})


@dataclass(frozen=True)
class ByteFunction:
    """What float32 ops make of each number of a tensor of bytes, number by number."""

    source: Node
    nodes: tuple[Node, ...]
    """Each after those that it reads: `dequantize` of the source or of a `lookup` in it, then ops of single numbers."""

    @property
    def computed(self) -> tuple[Node, ...]:
        """The ops of single numbers."""
        return tuple(node for node in self.nodes if not (is_dequantized(node) or is_table(node)))

    def table(self, constants: Mapping[str, Constant], result: TensorType) -> np.ndarray:
        """The result for each byte of the source, by the bits of that byte, as bits. The last node's value is rounded;
        the others are computed in float64."""
        bits = np.arange(256, dtype=np.uint8)
        values: dict[str, np.ndarray] = {self.source.name: bits.view(self.source.type.element.dtype)}
        types = {self.source.name: self.source.type}
        for node in self.nodes:
            args = tuple(values[name] for name in node.inputs)
            if is_table(node):
                entries = constants[node.weights["table"]].compute().view(node.type.element.dtype)
                values[node.name], types[node.name] = entries[args[0].view(np.uint8)], node.type
            elif is_dequantized(node):
                numbers = dequantized(args[0], types[node.inputs[0]])
                values[node.name] = numbers.astype(np.float64).reshape(1, -1, 1, 1)
            else:
                values[node.name] = TABLE[node.op].reference(args, {}, node.attrs)
        return quantized(values[self.nodes[-1].name].reshape(-1), result).view(np.int8)


def is_table(node: Node) -> bool:
    """Whether a node looks each byte up."""
    return "table" in node.weights


def function_before(g: Draft | Graph, node: Node) -> ByteFunction | None:
    """The function of one tensor of bytes that a node rounds; None for anything else, and for values that others read
    too."""
    nodes = numbers_before(g, node)
    if nodes is None:
        return None
    inside = {node.name, *nodes}
    for each in nodes.values():
        if is_dequantized(each):
            continue
        if g.is_output(each.name) or not all(user.name in inside for user in g.users(each.name)):
            return None
    read = {at.inputs[0]: g[at.inputs[0]] for at in nodes.values() if is_dequantized(at)}
    if len(read) == 1:
        (source,) = read.values()
        return ByteFunction(source, tuple(nodes.values()))
    roots = {at.inputs[0] if is_table(at) else at.name for at in read.values()}
    if len(roots) != 1:
        return None
    (root,) = roots
    tables = {name: at for name, at in read.items() if name != root}
    return ByteFunction(g[root], (*tables.values(), *nodes.values()))


def numbers_before(g: Draft | Graph, node: Node) -> dict[str, Node] | None:
    """The ops of single numbers that lead from `dequantize` to a node, with these, each after those that it reads; None
    where another op does."""
    found: dict[str, Node] = {}
    entered: set[str] = set()
    ahead = [node.inputs[0]]
    while ahead:
        at = g[ahead[-1]]
        if at.name in found:
            ahead.pop()
        elif is_dequantized(at) or at.name in entered:  # what it reads is there
            found[ahead.pop()] = at
        else:
            single = traits(at).kind in (Kind.POINTWISE, Kind.MERGE) and not at.weights
            if not single or any(g[name].type.shape != node.type.shape for name in (at.name, *at.inputs)):
                return None
            entered.add(at.name)
            if len(entered) > LONGEST:
                return None
            ahead += at.inputs
    return found


RULES = (table_of_function,)
