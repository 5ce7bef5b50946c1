"""Random initial weights from a seed: He-normal filters, and batch norm statistics that fit them.

Each tensor has its own generator, whose seed is (seed, SHA-256 of the constant's name). So an edit elsewhere in the
network does not change the tensor. Only `running_mean` and `running_var` depend on the layers before them as well: they
fit the values that the batch norm really gets. With other statistics, the values of a ResNet of a thousand
layers would overflow or become zero.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from cnncc.ir import Constant, Graph, Node
from cnncc.ops import ACTIVATIONS, ELEMENTWISE, TABLE

_SAMPLES = 1024
_CHUNK = 1 << 16
_Shape = tuple[int, ...]


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

    shapes = {name: constant.shape for name, constant in graph.constants.items()}
    return {
        name: Constant(shapes[name], _initial(node, slot, name, shapes[name], seed, moments))
        for node in reversed(graph.nodes)  # of several readers of one tensor the first decides
        for slot, name in node.weights.items()
    }


def _initial(
    node: Node, slot: str, name: str, shape: _Shape, seed: int, moments: Callable[[], Mapping[str, float]]
) -> Callable[[], np.ndarray]:
    rule = _BATCH_NORM.get(slot) if node.op == "bn" else _PARAMETER.get((node.op, slot), _PARAMETER.get(("", slot)))
    assert rule is not None, f"no initial value for {node.op}.{slot}"

    def compute() -> np.ndarray:
        # Only statistics need the moments of the values, so that other parameters do not wait for them.
        moment = moments()[node.inputs[0]] if slot.startswith("running_") else 1.0
        return rule(generator(name, seed), shape, node, moment)

    return compute


def _normal(rng: np.random.Generator, shape: _Shape, std: float) -> np.ndarray:
    values = np.empty(math.prod(shape), np.float32)
    for start in range(0, values.size, _CHUNK):  # filled and scaled while in the cache: twice as fast for VGG
        part = values[start : start + _CHUNK]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= np.float32(std)
    return values.reshape(shape)


def _uniform(rng: np.random.Generator, shape: _Shape, low: float, high: float) -> np.ndarray:
    return (low + (high - low) * rng.random(shape, dtype=np.float32)).astype(np.float32)


def fan_in(node: Node, shape: _Shape) -> float:
    """How many products are added up for an output value. In a transposed convolution, 1 / stride of the taps reach a
    pixel."""
    if node.op == "conv_transpose":
        groups, (sh, sw) = node.attrs.get("groups", 1), node.attrs.get("stride", (1, 1))
        return max(1.0, float(shape[0] / groups * shape[2] * shape[3] / (sh * sw)))
    return float(math.prod(shape[1:]))


_Rule = Callable[[np.random.Generator, _Shape, Node, float], np.ndarray]


def _he_normal(rng: np.random.Generator, shape: _Shape, node: Node, _: float) -> np.ndarray:
    """He et al. 2015, Delving Deep into Rectifiers: std sqrt(2 / fan_in)."""
    return _normal(rng, shape, math.sqrt(2 / fan_in(node, shape)))


_PARAMETER: Mapping[tuple[str, str], _Rule] = {
    ("conv", "weight"): _he_normal,
    ("conv_transpose", "weight"): _he_normal,
    ("fc", "weight"): _he_normal,
    ("", "bias"): lambda rng, shape, node, _: _normal(rng, shape, 0.03),
    ("prelu", "weight"): lambda rng, shape, node, _: _uniform(rng, shape, 0.1, 0.4),
    ("group_norm", "weight"): lambda rng, shape, node, _: _uniform(rng, shape, 0.5, 1.5),
    ("const", "value"): lambda rng, shape, node, _: _normal(rng, shape, 1.0),
}
_BATCH_NORM: Mapping[str, _Rule] = {
    "weight": lambda rng, shape, node, _: _uniform(rng, shape, 0.5, 1.5),
    "bias": lambda rng, shape, node, _: _normal(rng, shape, 0.05),
    "running_mean": lambda rng, shape, node, m: _normal(rng, shape, 0.1 * math.sqrt(m)),
    "running_var": lambda rng, shape, node, m: _uniform(rng, shape, 0.8 * m, 1.25 * m),
}


# The moments of values. _SAMPLES numbers stand for a value; each stands for a channel and pixel picked at random.
# Activations, sums and products are computed on these numbers, because closed forms are not exact: relu of the sum of a
# positive shortcut and a residual has more than half of the sum's moment, and an error in one block becomes its 600th
# power in 600 blocks.


def second_moments(graph: Graph, seed: int = 0) -> Mapping[str, float]:
    """E[x^2] of each value of the graph with its initial weights, if that of the input is 1."""
    samples: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        arity = TABLE[node.op].arity[1]
        own = len(node.inputs) if arity is None else arity
        args = [samples[i] for i in node.inputs]
        value = _spread(node, args[:own], generator(f"moments of {node.name}", seed), graph)
        samples[node.name] = _epilogue(value, node.attrs.get("epilogue", ()), args[own:])
    return {name: float(np.mean(x * x)) for name, x in samples.items()}


def _spread(node: Node, args: list[np.ndarray], rng: np.random.Generator, graph: Graph) -> np.ndarray:
    if node.op in ("input", "const"):
        return _gaussian(rng)
    if node.op in ("conv", "conv_transpose", "fc"):
        return math.sqrt(2 * np.mean(args[0] ** 2)) * _gaussian(rng)
    if node.op == "bn":
        scale = rng.uniform(0.5, 1.5, _SAMPLES)
        return args[0] / math.sqrt(np.mean(args[0] ** 2)) * scale + 0.05 * _gaussian(rng)
    if node.op in ELEMENTWISE:
        return np.asarray(TABLE[node.op].reference(tuple(args), {}, {**node.attrs, "epilogue": ()}))
    if node.op == "group_norm":
        return args[0] / math.sqrt(np.mean(args[0] ** 2)) * rng.uniform(0.5, 1.5, _SAMPLES)
    if node.op == "maxpool":
        pixels = math.prod(node.attrs["kernel"])
        return np.max([args[0], *(rng.permutation(args[0]) for _ in range(1, min(pixels, 16)))], axis=0)
    if node.op == "concat":
        return _mixture(args, [graph[i].type.shape[1] for i in node.inputs], rng)
    return _activate(args[0], node.op, node.attrs) if node.op in {*ACTIVATIONS, "lrn"} else args[0]


@cache
def _quantiles() -> np.ndarray:
    """Evenly spaced quantiles of the standard normal distribution, scaled to a second moment of exactly 1."""
    normal = NormalDist()
    values = np.array([normal.inv_cdf((i + 0.5) / _SAMPLES) for i in range(_SAMPLES)])
    return values / np.sqrt(np.mean(values**2))


def _gaussian(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(_quantiles())


def _mixture(args: list[np.ndarray], channels: list[int], rng: np.random.Generator) -> np.ndarray:
    """Samples of a concat: each is from one of the arms, picked with a probability in proportion to its channels."""
    shares = np.cumsum(channels) / sum(channels)
    arm = np.searchsorted(shares, rng.permutation(_SAMPLES) / _SAMPLES, side="right")
    return np.stack(args)[arm, np.arange(_SAMPLES)]


def _activate(x: np.ndarray, op: str, attrs: Mapping[str, Any]) -> np.ndarray:
    """An activation of samples. They are the channels of one pixel, so that normalisation across channels works,
    too."""
    full = {**TABLE[op].attributes, **attrs}
    return TABLE[op].reference((x.reshape(1, -1, 1, 1),), {}, full).reshape(-1)


def _epilogue(x: np.ndarray, steps: tuple[tuple[str, tuple[Any, ...]], ...], extra: list[np.ndarray]) -> np.ndarray:
    more = iter(extra)
    for op, params in steps:
        x = x + next(more) if op == "add" else _activate(x, op, dict(params))
    return x
