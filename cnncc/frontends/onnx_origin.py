"""A network's own text inside the ONNX model that was written of it, and back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cnncc.frontends.onnx_values import bound
from cnncc.ir import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

TEXT, DIGEST = "cnncc.net", "cnncc.sha256"
"""Keys of the model's metadata."""


def mark(model: ModelProto, graph: Graph, text: str) -> None:
    """Puts the text of the graph into the model's metadata, with a digest of the nodes that it stands for."""
    from onnx import helper

    helper.set_model_props(model, {TEXT: text, DIGEST: digest(model, graph)})


def digest(model: ModelProto, graph: Graph) -> str:
    """Of everything but the values of the graph's own constants: new weights leave it as it is, a new node does not."""
    from onnx import ModelProto

    shell = ModelProto()
    copied(model, shell, graph)
    return hashlib.sha256(shell.SerializeToString(deterministic=True)).hexdigest()


def copied(model: ModelProto, shell: ModelProto, graph: Graph) -> None:
    """Copies a model without the bytes of its weights."""
    body = model.graph
    shell.graph.name = body.name
    for field in ("node", "input", "output"):
        getattr(shell.graph, field).extend(getattr(body, field))
    for tensor in body.initializer:
        if tensor.name not in graph.constants:
            shell.graph.initializer.append(tensor)
        else:
            shell.graph.initializer.add(name=tensor.name, dims=tensor.dims)


def original(model: ModelProto) -> tuple[str, Graph] | None:
    """The text and the graph that the model was written of, with the model's weights; None if it is of another origin,
    or its nodes have been changed since."""
    from onnx import numpy_helper

    from cnncc.lang.read import parse

    properties = {entry.key: entry.value for entry in model.metadata_props}
    if TEXT not in properties or DIGEST not in properties:
        return None
    graph = parse(properties[TEXT], "<metadata of the model>")
    if digest(model, graph) != properties[DIGEST]:
        return None
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    if graph.constants.keys() - tensors.keys():
        return None
    constants = {name: bound(numpy_helper.to_array(tensors[name])) for name in graph.constants}
    return properties[TEXT], graph.rebuild(graph.nodes, constants=constants)
