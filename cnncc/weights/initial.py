"""Seeded initial weights: He-normal filters and batch norm statistics that fit them.

Every tensor has its own generator, seeded by (seed, SHA-256 of the constant's name): an edit elsewhere in the network
does not change it. Only `running_mean` and `running_var` also depend on what lies before the batch norm: they are set
to what that batch norm would really see, otherwise a ResNet of a thousand layers overflows or dies out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from cnncc.ir import Constant, Graph, Node
from cnncc.ops import NOT_TRAINED, TABLE
from cnncc.ops.epilogue import own_count
from cnncc.ops.initial import Spread
from cnncc.ops.pointwise import RECORDS

Shape = tuple[int, ...]


def generator(name: str, seed: int) -> np.random.Generator:
    """The generator of one tensor: a function of its name and the seed alone."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.SFC64([seed, *words.tolist()]))


def seeded(graph: Graph, seed: int) -> dict[str, Constant]:
    """Initial constants of all slots of the graph, each computed when first asked for; `seed` is at least 0."""

    @cache
    def moments() -> Mapping[str, float]:
        return second_moments(graph, seed)

    shapes = {name: constant.shape for name, constant in graph.constants.items()}
    return {
        name: Constant(shapes[name], _initial(node, slot, name, shapes[name], seed, moments))
        for node in reversed(graph.nodes)  # of several readers of one tensor the first decides
        for slot, name in node.weights.items()
    }


def _initial(
    node: Node, slot: str, name: str, shape: Shape, seed: int, moments: Callable[[], Mapping[str, float]]
) -> Callable[[], np.ndarray]:
    rule = TABLE[node.op].initial[slot]

    def compute() -> np.ndarray:
        # Only the statistics look at the moments, so that parameters never wait for the walk through the graph.
        moment = moments()[node.inputs[0]] if slot in NOT_TRAINED else 1.0
        return rule(generator(name, seed), shape, node.attrs, moment)

    return compute


# The moments. A value is stood for by samples, sample i being "a channel and pixel picked at random". They
# go through activations, sums and products exactly, which closed forms do not: half a sum of a positive shortcut and
# a residual is not what relu leaves of it, and 600 blocks raise such an error to the 600th power.


def second_moments(graph: Graph, seed: int = 0) -> Mapping[str, float]:
    """E[x^2] of every value of the graph under its initial weights, for an input of second moment 1."""
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


def _epilogue(x: np.ndarray, steps: tuple[tuple[str, tuple[Any, ...]], ...], extra: list[np.ndarray]) -> np.ndarray:
    more = iter(extra)
    for op, params in steps:
        x = x + next(more) if op == "add" else RECORDS[op].evaluate(x.reshape(1, -1, 1, 1), dict(params)).reshape(-1)
    return x
