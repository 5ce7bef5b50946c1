"""What a node costs and sees: parameters, multiply-adds, receptive field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from cnncc.ir import Constant, Graph, Node
from cnncc.ops.epilogue import own_count
from cnncc.ops.table import NOT_TRAINED, Op, Shapes

Pair = tuple[Fraction, Fraction]


def input_shapes(graph: Graph, node: Node) -> Shapes:
    """Logical shapes of what the node reads."""
    return tuple(graph[name].type.shape for name in node.inputs)


def trained(graph: Graph, nodes: Iterable[Node]) -> list[Constant]:
    """Constants of trained parameters (no running statistics) of the nodes, each once, in the order of the nodes."""
    names = dict.fromkeys(name for n in nodes for slot, name in n.weights.items() if slot not in NOT_TRAINED)
    return [graph.constants[name] for name in names]


def count(constants: Iterable[Constant]) -> int:
    """Numbers in constants."""
    return sum(math.prod(constant.shape) for constant in constants)


def node_macs(table: Mapping[str, Op], graph: Graph, node: Node) -> int:
    """Multiply-adds of the whole batch."""
    return table[node.op].macs(input_shapes(graph, node), node.type.shape, node.attrs)


def most(pairs: Iterable[Pair], start: int) -> Pair:
    """The larger of each axis."""
    h, w = Fraction(start), Fraction(start)
    for a, b in pairs:
        h, w = max(h, a), max(w, b)
    return h, w


def receptive_fields(table: Mapping[str, Op], graph: Graph) -> dict[str, tuple[int, int]]:
    """Height and width, in positions of the graph's inputs, that one position of each value depends on.

    Grows by (span - 1) * jump at each op, the jump being the distance between neighbours; the largest over the
    inputs. As usual it is not cut off at the border of the image. Global pools, fc, flatten and reshape have the
    whole of their input as window.
    """
    fields: dict[str, Pair] = {}
    jumps: dict[str, Pair] = {}
    for node in graph.nodes:
        own = node.inputs[: own_count(len(node.inputs), node.attrs)]
        extras = node.inputs[len(own) :]
        jump = most((jumps[i] for i in own), start=0) if own else (Fraction(1), Fraction(1))
        seen = most((fields[i] for i in own), start=1)
        spans, strides = table[node.op].window(input_shapes(graph, node), node.attrs)
        grown = (seen[0] + (spans[0] - 1) * jump[0], seen[1] + (spans[1] - 1) * jump[1])
        fields[node.name] = most((grown, *(fields[i] for i in extras)), start=1)
        jumps[node.name] = (jump[0] * strides[0], jump[1] * strides[1])
    return {name: (math.ceil(h), math.ceil(w)) for name, (h, w) in fields.items()}
