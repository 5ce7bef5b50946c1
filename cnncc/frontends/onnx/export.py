"""A graph with weights as an ONNX model: the graph the text says, before any pass."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.base.elements import HALVES
from cnncc.base.errors import CnnccError
from cnncc.base.files import write_whole
from cnncc.frontends.onnx import require_onnx
from cnncc.frontends.onnx.write_rules import RULES
from cnncc.ir import Graph, Node
from cnncc.lang.print_net import print_net
from cnncc.ops import TABLE
from cnncc.ops.quantized import ADDED
from cnncc.ops.type_rules import ON_HALVES

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST = (1 << 31) - (1 << 24)
"""Bytes of weights in one file: a message of protobuf ends at 2 GiB, and the nodes need some of it."""


def to_onnx(graph: Graph, text: str | None = None) -> ModelProto:
    """The ONNX model of a source graph with bound weights, for the graph's own batch.

    Ports, nodes and weights have the names they have in the graph; inputs are what the caller of a compiled
    module passes, before mean and std. The network's text, `text` or a flat one, goes into the metadata, so that import
    gives the same graph. Raises CnnccError without the package onnx, for more weights than a file can hold, and for an
    op that has no rule.
    """
    require_onnx()
    _refuse_large(graph)
    from cnncc.frontends.onnx.model import OnnxModel
    from cnncc.frontends.onnx.origin import mark

    model = OnnxModel(graph)
    for node in graph.nodes:
        assert node.attrs.get("epilogue", ()) in ((), ADDED), f"{node.name}: a source graph has no epilogues"
        if node.op not in RULES:
            hint = "an op has Op.onnx, or a rule in WRITTEN of a file of cnncc/frontends/onnx/convert"
            raise CnnccError(f"nothing says what {node.op} is in ONNX", node.span, hint=hint)
        _refuse_halves(graph, node)
        RULES[node.op](model, node)
    proto = model.proto()
    mark(proto, graph, text or print_net(in_words(graph), shapes=False))
    return proto


def _refuse_halves(graph: Graph, node: Node) -> None:
    """CnnccError for a layer that computes on halves."""
    read = next((e for name in node.inputs if (e := graph[name].type.element) in HALVES), None)
    if read is not None and TABLE[node.op].types in ON_HALVES:
        hint = f"`cast float32` before it, or `--dtype {read}` for a network on float32"
        raise CnnccError(f"the operator set that we write has no {node.op} on {read}", node.span, node.stack, hint)


def in_words(graph: Graph) -> Graph:
    """The graph without what gives a shared output to each image of a batch, which a text does not say."""
    spread = {n.name: n for n in graph.nodes if not TABLE[n.op].forms}
    shared = {n.inputs[0]: n.name for n in spread.values()}
    if not shared:
        return graph
    nodes = [
        n.with_(name=shared.get(n.name, n.name), inputs=tuple(shared.get(i, i) for i in n.inputs))
        for n in graph.nodes
        if n.name not in spread
    ]
    return replace(graph, nodes=tuple(nodes))


def write_onnx(graph: Graph, path: str | os.PathLike[str], text: str | None = None) -> ModelProto:
    """Writes `to_onnx(graph, text)` to a file, which appears whole or not at all; returns the model.

    Raises CnnccError when it cannot be written, and what `to_onnx` raises.
    """
    model = to_onnx(graph, text)
    try:
        write_whole(Path(path), model.SerializeToString(deterministic=True))
    except OSError as error:
        raise CnnccError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    return model


def _refuse_large(graph: Graph) -> None:
    total = sum(constant.nbytes for constant in graph.constants.values())
    if total > LARGEST:
        raise CnnccError(f"{graph.name} has {total / 2**30:.1f} GiB of weights: an ONNX file holds less than 2 GiB")
