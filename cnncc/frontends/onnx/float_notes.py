"""What a quantised model computes in float32, by the names of its nodes, and why."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.frontends.onnx.byte_layers import LAYERS
from cnncc.frontends.onnx.byte_moves import MOVES
from cnncc.ir import Graph, Node
from cnncc.ops import macs
from cnncc.ops.quantize import is_dequantized, is_quantized
from cnncc.ops.quantized import ON_BYTES
from cnncc.passes.join_tables import join_tables

SOURCES = ("input", "const", "quantize", "dequantize")
EXACT = frozenset({*SOURCES, *LAYERS.values(), "qgap", "identity", "dropout", *MOVES})
"""Ops that compute nothing, or on bytes."""
SUMS = frozenset({*ON_BYTES, "avgpool", "concat"})
"""Ops that there are on bytes."""
READS = "what they read is float32"
WEIGHTS = "their weights are not int8 with one scale for each output"
RESULT = "no such op has bytes of these shapes, or its result is not quantised"
NO_OP = "bytes have no such op"
MOST = 40
"""Nodes of a note that are named."""


def float_notes(graph: Graph, labels: Mapping[str, str], reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason. `labels` are the nodes of the model for which nodes of the graph were made, `reasons`
    what is known of some of those. What comes behind the last bytes, as the softmax of a classifier, is float32 in the
    model too: of that only products are told."""
    tables, before = in_tables(graph), before_bytes(graph)
    found: dict[str, dict[str, None]] = {}
    for node in graph.nodes:
        label = labels.get(node.name, node.name)
        if label in reasons:
            found.setdefault(reasons[label], {})[label] = None
        elif not node.type.is_float or node.op in EXACT or node.name in tables:
            continue
        elif node.name in before or macs(graph, node):
            found.setdefault(why(graph, node), {})[label] = None
    return [f"computed in float32, since {reason}: {listed(list(names))}" for reason, names in found.items()]


def why(graph: Graph, node: Node) -> str:
    """Why a node is no layer on bytes."""
    if not any(is_dequantized(graph[name]) for name in node.inputs):
        return READS
    if node.op in LAYERS:
        return WEIGHTS
    return RESULT if node.op in SUMS else NO_OP


def before_bytes(graph: Graph) -> set[str]:
    """The values that some bytes are made of."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if is_quantized(node) or node.name in found:
            found.update(node.inputs)
    return found


def in_tables(graph: Graph) -> set[str]:
    """Functions of one number between dequantize and quantize: a compile makes tables of bytes of them."""
    left = join_tables(graph).by_name
    return {node.name for node in graph.nodes if node.name not in left}


def listed(names: list[str]) -> str:
    """Names in a row, and how many more there are."""
    more = [f"and {len(names) - MOST} more"] if len(names) > MOST else []
    return ", ".join([*names[:MOST], *more])
