"""Graph -> Graph rewrites, in the order in which they run. Each file holds one; a pass knows no target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from cnncc.base.errors import CnnccError
from cnncc.ir.graph import Graph, Node
from cnncc.passes.assign_layouts import assign_layouts
from cnncc.passes.drop_identities import drop_identities
from cnncc.passes.drop_taps import drop_taps
from cnncc.passes.fold_batchnorm import fold_batchnorm
from cnncc.passes.fold_constants import fold_constants
from cnncc.passes.fold_scales import fold_scales
from cnncc.passes.fuse_epilogues import fuse_epilogues
from cnncc.passes.infer_shapes import infer_shapes
from cnncc.passes.join_activations import join_activations
from cnncc.passes.join_channels import join_channels
from cnncc.passes.join_moves import join_moves
from cnncc.passes.join_norms import join_norms
from cnncc.passes.join_permutes import join_permutes
from cnncc.passes.join_rows import join_rows
from cnncc.passes.join_tables import join_tables
from cnncc.passes.merge_siblings import merge_siblings
from cnncc.passes.narrow_values import narrow_values

__all__ = ["PASSES", "assign_layouts", "narrow_values", "with_batch"]

PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("infer_shapes", infer_shapes),
    ("drop_identities", drop_identities),
    ("fold_constants", fold_constants),
    ("join_moves", join_moves),
    ("drop_taps", drop_taps),  # after moves: a pad of its own is padding by now
    ("join_activations", join_activations),
    ("fold_scales", fold_scales),
    ("join_norms", join_norms),
    ("join_permutes", join_permutes),
    ("join_rows", join_rows),
    ("join_tables", join_tables),  # after activations: a swish of two ops is one by now
    ("fold_batchnorm", fold_batchnorm),  # before fusing: only a bare conv can take a batch norm
    ("fuse_epilogues", fuse_epilogues),
    ("merge_siblings", merge_siblings),  # after fusing: equal activations then move along inside the convs
    ("join_channels", join_channels),
)
"""The passes that know no machine, in order. `cnncc.module.phases` runs them and has all phases of a compile: these,
then `assign_layouts` and the planning of memory."""


def with_batch(graph: Graph, n: int) -> Graph:
    """The graph for `n` images at a time: every input gets the batch, every type is inferred again. An output that no
    input has a part in is given for each image.

    Raises CnnccError when `n` is not positive.
    """
    if n < 1:
        raise CnnccError(f"a batch of {n} images", hint="the batch is at least 1")
    inputs = {node.name: node.with_(attrs={**node.attrs, "batch": n}) for node in graph.inputs}
    nodes = tuple(inputs.get(node.name, node) for node in graph.nodes)
    return with_shared_outputs(infer_shapes(replace(graph, nodes=nodes)), n)


def with_shared_outputs(graph: Graph, n: int) -> Graph:
    """constant output c => spread(c.one) of `n` images, named c; c.one is what c was."""
    shared = {name for name in graph.outputs if graph[name].type.shape[0] < n}
    if not shared:
        return graph
    one: dict[str, str] = {}
    for name in sorted(shared):
        one[name] = next(s for i in count() if (s := f"{name}.one{'_' * i}") not in graph.by_name)
    nodes: list[Node] = []
    for node in graph.nodes:
        wired = node.with_(inputs=tuple(one.get(i, i) for i in node.inputs))
        nodes.append(wired.with_(name=one[node.name]) if node.name in one else wired)
        if node.name in one:
            kind = replace(node.type, shape=(n, *node.type.shape[1:]))
            nodes.append(Node(node.name, "spread", (one[node.name],), kind, {"batch": n}, span=node.span))
    return replace(graph, nodes=tuple(nodes))
