"""New weights for a network from a model of another format: the same network, trained again and exported again."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.frontends.same_graph import GraphDifference, constants_by
from cnncc.ir import Constant, Graph
from cnncc.ops import traits
from cnncc.ops.traits import Kind
from cnncc.passes.fold_batchnorm import fold_batchnorm


def with_weights_of(graph: Graph, model: Graph, path: str | os.PathLike[str]) -> Graph:
    """The graph with the values of a model's graph, read from `path`. Layers are found by what they compute, whatever
    they are called. What the graph does to pictures may be more than in the model. Batch norms of the model may be
    inside the layers before them in the graph, and a bias that it leaves out is zero.

    CnnccError if the graphs differ in anything but values; it names the first difference."""
    whole, model = with_biases(graph), with_biases(as_pictures(model, graph))
    found = constants_by(whole, model)
    if isinstance(found, GraphDifference):
        folded = fold_batchnorm(model)
        again = constants_by(whole, folded)
        if isinstance(again, GraphDifference):
            raise different(graph, model, found, path)
        model, found = folded, again
    values = {ours: model.constants[theirs] for ours, theirs in found.items()}
    refuse_biases(graph, whole, values, path)
    return graph.rebuild(graph.nodes, constants=values)


def as_pictures(model: Graph, graph: Graph) -> Graph:
    """The model with the preparation of pictures that the graph has, which belongs to the text. Shapes stay the
    model's, and so do a mean and std of its own."""
    inputs = {}
    for theirs, ours in zip(model.inputs, graph.inputs, strict=False):
        own = theirs.attrs["mean"] or theirs.attrs["std"] not in ((), (1.0,))
        kept = ("dims", "mean", "std") if own else ("dims",)
        inputs[theirs.name] = theirs.with_(attrs={**ours.attrs, **{key: theirs.attrs[key] for key in kept}})
    return model.replaced(inputs)


def with_biases(graph: Graph) -> Graph:
    """The graph with a bias of zeros in each layer that could have one and does not: some exporters leave zeros out."""
    bare = [node for node in graph.nodes if traits(node).kind is Kind.LINEAR and not node.attrs["bias"]]
    names = {node.name: free_name(graph, f"{node.name}.bias") for node in bare}
    nodes = {
        node.name: node.with_(attrs={**node.attrs, "bias": True}, weights={**node.weights, "bias": names[node.name]})
        for node in bare
    }
    return graph.replaced(nodes, constants={names[node.name]: zeros(node.attrs["out"]) for node in bare})


def free_name(graph: Graph, name: str) -> str:
    """The name of a new constant."""
    while name in graph.constants:
        name += ":"
    return name


def zeros(count: int) -> Constant:
    return Constant((count,), lambda: np.zeros(count, np.float32))


def refuse_biases(graph: Graph, whole: Graph, values: Mapping[str, Constant], path: str | os.PathLike[str]) -> None:
    """CnnccError for a bias of the model that is not zero, where the graph has none."""
    for node in graph.nodes:
        name = whole.by_name[node.name].weights.get("bias", "")
        if name and "bias" not in node.weights and values[name].compute().any():
            hint = "leave `nobias` out, or import the model anew"
            raise CnnccError(f"{node.name} has no bias, and in {os.fspath(path)} it has one", node.span, hint=hint)


def different(graph: Graph, model: Graph, found: GraphDifference, path: str | os.PathLike[str]) -> CnnccError:
    """What to say of a model that is of another network."""
    ours, theirs = found.told()
    hint = f"`cnncc import {os.fspath(path)}` writes the text of the model and its weights"
    if has_norms(graph) and not has_norms(model):
        hint = f"the model has its batch norms inside the layers before them: export it without folding them, or {hint}"
    what = f"{os.fspath(path)} is of another network than {graph.name}"
    if found.first is None and found.second is None:
        ours, theirs = (", ".join(g.output_names) for g in (graph, model))
        return CnnccError(f"{what}: its outputs are {theirs}, those of the text {ours}", hint=hint)
    span = found.first.span if found.first else None
    return CnnccError(f"{what}: where the text has {ours}, the model has {theirs}", span, hint=hint)


def has_norms(graph: Graph) -> bool:
    """Whether a graph has scales and shifts of channels that could be inside the layers before them."""
    return any(traits(node).folds for node in graph.nodes)
