"""Batch norms of a checkpoint that a network has inside the layers before them, as exporters to ONNX write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cnncc.ir import Graph, Node
from cnncc.ops import traits
from cnncc.ops.folding import scaled, shifted
from cnncc.ops.normalize import bn_folds
from cnncc.ops.traits import Kind

EPS = 1e-5
"""What PyTorch adds to the variance. Its checkpoints do not say it."""
STATISTICS = frozenset({"running_mean", "running_var"})
Arrays = Mapping[str, np.ndarray]
Slots = Mapping[str, str]
"""The names of a layer's tensors by slot."""
Layers = Sequence[tuple[str, Slots]]
"""Modules of a checkpoint, each with its tensors."""


@dataclass(frozen=True)
class NormPair:
    """A layer of the network that has a bias for the norm, and the two modules of the checkpoint that it stands for."""

    node: Node
    linear: Slots
    norm: Slots


def pairs_by_name(graph: Graph, theirs: Layers, tensors: Arrays) -> Iterator[NormPair]:
    """Modules in the order of a forward run: the norm after a layer of the network, if the network has no such norm."""
    ours = {node.weights["weight"].removesuffix(".weight"): node for node in graph.nodes if "weight" in node.weights}
    for (module, linear), (after, norm) in pairwise(theirs):
        if module in ours and after not in ours and _holds(graph, ours[module], linear, norm, tensors):
            yield NormPair(ours[module], linear, norm)


def pairs_by_place(graph: Graph, theirs: Layers, tensors: Arrays) -> Iterator[NormPair]:
    """Layers and modules in the same order. A module with a bias of its own is no pair with the norm after it if the
    network goes on with a norm too."""
    ours = [node for node in graph.nodes if node.weights]
    at = 0
    for node, following in zip(ours, [*ours[1:], None], strict=True):
        if at + 1 >= len(theirs):
            return
        linear, norm = theirs[at][1], theirs[at + 1][1]
        is_next = following is not None and STATISTICS <= following.weights.keys()
        if _holds(graph, node, linear, norm, tensors) and not ("bias" in linear and is_next):
            yield NormPair(node, linear, norm)
            at += 1
        at += 1


def _holds(graph: Graph, node: Node, linear: Slots, norm: Slots, tensors: Arrays) -> bool:
    """Whether a node can be both modules: it has a bias, no norm reads it, and the norm has its channels."""
    own = any(STATISTICS <= user.weights.keys() for user in graph.users(node.name))
    if traits(node).kind is not Kind.LINEAR or "bias" not in node.weights or own:
        return False
    kinds = "weight" in linear and linear.keys() <= {"weight", "bias"} and STATISTICS <= norm.keys()
    return (
        kinds
        and all(tensors[name].shape == (node.attrs["out"],) for name in norm.values())
        and _fits(node, linear, tensors)
    )


def _fits(node: Node, linear: Slots, tensors: Arrays) -> bool:
    """Whether the weight has the channels of the node. What does not is told as a wrong shape."""
    weight = tensors[linear["weight"]]
    if traits(node).weight_by_input:
        return (
            weight.ndim == 4
            and weight.shape[0] % node.attrs["groups"] == 0
            and (weight.shape[1] * node.attrs["groups"] == node.attrs["out"])
        )
    return weight.ndim > 1 and weight.shape[0] == node.attrs["out"]


def folded(tensors: Arrays, pairs: Sequence[NormPair], eps: float) -> dict[str, np.ndarray]:
    """The tensors, in their order, with the norms inside the layers: each has a weight and a bias."""
    made = {pair.linear["weight"]: _folded(tensors, pair, eps) for pair in pairs}
    gone = {name for pair in pairs for name in (*pair.norm.values(), pair.linear.get("bias"))}
    result: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        result |= made[name] if name in made else {} if name in gone else {name: array}
    return result


def _folded(tensors: Arrays, pair: NormPair, eps: float) -> dict[str, np.ndarray]:
    """Weight and bias, by name."""
    out = pair.node.attrs["out"]
    plain = {"weight": np.ones(out, np.float32), "bias": np.zeros(out, np.float32)}  # of a norm without its own
    mean, scale, shift = bn_folds({**plain, **{slot: tensors[n] for slot, n in pair.norm.items()}}, {"eps": eps})
    groups = pair.node.attrs["groups"] if traits(pair.node).weight_by_input else 0
    weight = pair.linear["weight"]
    bias = pair.linear.get("bias", f"{weight.removesuffix('weight')}bias")
    return {
        weight: scaled(tensors[weight], scale, groups),
        bias: shifted(tensors[bias] if "bias" in pair.linear else 0.0, mean, scale, shift),
    }
