"""New weights for a network from a model of another format: the same network, trained again and exported again."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cnncc.base.errors import CnnccError
from cnncc.frontends.same_graph import GraphDifference, constants_by
from cnncc.ir import Constant, Graph
from cnncc.ops import traits
from cnncc.passes.fold_batchnorm import fold_batchnorm


def with_weights_of(graph: Graph, model: Graph, path: str | os.PathLike[str]) -> Graph:
    """The graph with the values of a model's graph, read from `path`. Layers are found by what they compute, whatever
    they are called. Batch norms of the model may be inside the layers before them in the graph.

    CnnccError if the graphs differ in anything but values; it names the first difference."""
    found = constants_by(graph, model)
    if isinstance(found, GraphDifference):
        folded = fold_batchnorm(model)
        again = constants_by(graph, folded)
        if isinstance(again, GraphDifference):
            raise different(graph, model, found, path)
        model, found = folded, again
    return graph.rebuild(graph.nodes, constants=_renamed(model.constants, found))


def _renamed(constants: Mapping[str, Constant], names: Mapping[str, str]) -> dict[str, Constant]:
    return {ours: constants[theirs] for ours, theirs in names.items()}


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
