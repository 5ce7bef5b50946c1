"""A network's own text inside the ONNX model that was written of it, and back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.tensors import array_of
from cnncc.frontends.onnx.values import Unsupported, bound
from cnncc.frontends.onnx.write_bytes import is_by_input
from cnncc.ir import Constant, Graph
from cnncc.ops.conv import turned_weight

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
    or its nodes have been changed since: then only the nodes count."""
    from cnncc.lang.read import parse

    properties = {entry.key: entry.value for entry in model.metadata_props}
    text = properties.get(TEXT)
    if not isinstance(text, str) or DIGEST not in properties:  # what is not UTF-8 comes as bytes
        return None
    try:
        graph = parse(text, "<metadata of the model>")
        if digest(model, graph) != properties[DIGEST]:
            return None
        constants = stored_constants(model, graph)
    except (CnnccError, Unsupported):
        return None
    return None if constants is None else (text, graph.rebuild(graph.nodes, constants=constants))


def stored_constants(model: ModelProto, graph: Graph) -> dict[str, Constant] | None:
    """The model's tensors as the graph's constants; None if they are others. Unsupported for a broken one."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    if not graph.constants.keys() <= tensors.keys():
        return None
    turned = {node.weights["weight"] for node in graph.nodes if is_by_input(node)}
    arrays = {name: array_of(tensors[name], name) for name in graph.constants}
    arrays |= {name: turned_weight(arrays[name], 1) for name in turned if arrays[name].ndim > 2}
    if any(arrays[name].shape != constant.shape for name, constant in graph.constants.items()):
        return None
    return {name: bound(arrays[name], known.element) for name, known in graph.constants.items()}
