"""Random initial weights from a seed: He-normal filters, and batch norm statistics that fit them.

Each tensor has its own generator, whose seed is (seed, SHA-256 of the constant's name). So an edit elsewhere in the
network does not change the tensor. Only `running_mean` and `running_var` depend on the layers before them as well: they
fit the values that the batch norm really gets. With other statistics, the values of a ResNet of a thousand
layers would overflow or become zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from cnncc.ir import Constant, Graph, Node
from cnncc.ir.rules import Shape
from cnncc.ops import TABLE
from cnncc.ops.epilogue import own_count
from cnncc.ops.initial import Spread
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.table import STATISTICS


def generator(name: str, seed: int) -> np.random.Generator:
    """The generator of one tensor. It depends on the tensor's name and the seed only."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.SFC64([seed, *words.tolist()]))


def seeded(graph: Graph, seed: int) -> dict[str, Constant]:
    """Initial constants for all slots of the graph. Each value is computed when it is first used. `seed` is at least
    0."""

    @cache
    def moments() -> Mapping[str, float]:
        return second_moments(graph, seed)

    known = graph.constants
    return {
        name: Constant(
            known[name].shape,
            _initial(node, slot, name, known[name].shape, seed, moments),
            known[name].element,
        )
        for node in reversed(graph.nodes)  # of several readers of one tensor the first decides
        for slot, name in node.weights.items()
    }


def _initial(
    node: Node, slot: str, name: str, shape: Shape, seed: int, moments: Callable[[], Mapping[str, float]]
) -> Callable[[], np.ndarray]:
    rule = TABLE[node.op].initial[slot]

    def compute() -> np.ndarray:
        # Only statistics need the moments of the values, so that other parameters do not wait for them.
        moment = moments()[node.inputs[0]] if slot in STATISTICS else 1.0
        return rule(generator(name, seed), shape, node.attrs, moment)

    return compute


# The moments of values. Some numbers stand for a value; each stands for a channel and pixel picked at random.
# Activations, sums and products are computed on these numbers, because closed forms are not exact: relu of the sum of a
# positive shortcut and a residual has more than half of the sum's moment, and an error in one block becomes its 600th
# power in 600 blocks.


def second_moments(graph: Graph, seed: int = 0) -> Mapping[str, float]:
    """E[x^2] of each value of the graph with its initial weights, if that of the input is 1."""
    samples: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        own = own_count(len(node.inputs), node.attrs)
        args = [samples[i] for i in node.inputs]
        value = _spread(node, args[:own], generator(f"moments of {node.name}", seed), graph)
        samples[node.name] = _epilogue(value, node.attrs.get("epilogue", ()), args[own:])
    return {name: float(np.mean(x * x)) for name, x in samples.items()}


def _spread(node: Node, args: list[np.ndarray], rng: np.random.Generator, graph: Graph) -> np.ndarray:
    op, shapes = TABLE[node.op], tuple(graph[i].type.shape for i in node.inputs)
    return op.spread(Spread(args, shapes, {**op.attributes, **node.attrs}, rng, op.reference))


def _epilogue(x: np.ndarray, post_ops: tuple[tuple[str, tuple[Any, ...]], ...], extra: list[np.ndarray]) -> np.ndarray:
    more = iter(extra)
    for op, params in post_ops:
        x = x + next(more) if op == "add" else RECORDS[op].evaluate(x.reshape(1, -1, 1, 1), dict(params)).reshape(-1)
    return x
