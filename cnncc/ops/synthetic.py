"""Inputs of a network for whoever has no data: to check it, to time it."""

from __future__ import annotations

import numpy as np

from cnncc.base.elements import drawn
from cnncc.ir import Graph, Node
from cnncc.ops.source import port_type


def random_inputs(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Seeded arrays for all inputs, by name, each of the type that the caller passes. Those of float32 are standard
    normal once the input's mean and std are applied."""
    rng = np.random.default_rng(seed)
    return {node.name: _random_input(node, rng) for node in graph.inputs}


def _random_input(node: Node, rng: np.random.Generator) -> np.ndarray:
    values = drawn(rng, node.type.shape, port_type(node).element)
    if not port_type(node).is_float:
        return values
    per_channel = (1, -1, 1, 1)[: values.ndim]
    mean = np.asarray(node.attrs["mean"] or (0.0,), dtype=np.float32).reshape(per_channel)
    std = np.asarray(node.attrs["std"] or (1.0,), dtype=np.float32).reshape(per_channel)
    return values * std + mean
