"""The living definition: run a graph in NumPy, op by op, through the table. Slow but right, float64 by default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cnncc import ops
from cnncc.base.errors import CnnccError, nearest
from cnncc.ir import Graph, Node

Inputs = Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike]


def run(
    graph: Graph, inputs: Inputs, dtype: npt.DTypeLike = np.float64, keep_all: bool = False
) -> dict[str, np.ndarray]:
    """The values of the graph's outputs by name, as arrays (n, c, h, w) or (n, k); with `keep_all`, of every node.

    `inputs` are the arrays that a user of the network passes, before mean and std: in the order of the graph's input
    nodes, or a mapping by their names. `dtype` is that of the arithmetic, float64 by default. All constants need values
    (see `cnncc.weights.bind`).

    Raises CnnccError if the inputs do not match the graph.
    """
    fed = checked(graph, inputs, np.dtype(dtype))
    values: dict[str, np.ndarray] = {}
    readers = Counter(name for n in graph.nodes for name in n.inputs) + Counter(graph.outputs)
    for node in graph.nodes:
        args = (fed[node.name],) if node.op == "input" else tuple(values[name] for name in node.inputs)
        values[node.name] = evaluate(graph, node, args, np.dtype(dtype))
        readers.subtract(node.inputs)
        for name in () if keep_all else {*node.inputs, node.name}:
            if not readers[name]:
                del values[name]
    return values


def evaluate(graph: Graph, node: Node, args: tuple[np.ndarray, ...], dtype: np.dtype) -> np.ndarray:
    """The value of one node from those of its inputs; the raw array for an `input` node."""
    weights = {slot: graph.constants[name].value for slot, name in node.weights.items()}
    value = ops.TABLE[node.op].reference(args, weights, node.attrs).astype(dtype, copy=False)
    assert value.shape == node.type.shape, f"{node.name}: {value.shape}, the graph says {node.type}"
    return value


def through(x: np.ndarray, nodes: Sequence[Node]) -> np.ndarray:
    """What nodes of one input without weights, one after the other, make of an array: of numbers of places, where the
    values come from."""
    for node in nodes:
        x = ops.TABLE[node.op].reference((x,), {}, node.attrs)
    return x


def checked(graph: Graph, inputs: Inputs, dtype: np.dtype) -> dict[str, np.ndarray]:
    """The inputs by name, in the dtype asked for; CnnccError if names, number or shapes differ."""
    nodes = {n.name: n for n in graph.inputs}
    if not isinstance(inputs, Mapping):
        if len(inputs) != len(nodes):
            raise CnnccError(f"{graph.name} takes {len(nodes)} inputs ({', '.join(nodes)}), got {len(inputs)}")
        inputs = dict(zip(nodes, inputs, strict=True))
    for name in inputs:
        if name not in nodes:
            raise CnnccError(f"{graph.name} has no input {name!r}", hint=nearest(name, nodes))
    missing = [name for name in nodes if name not in inputs]
    if missing:
        raise CnnccError(f"{graph.name}: missing input {', '.join(missing)}")
    arrays = {name: np.asarray(array, dtype) for name, array in inputs.items()}
    for name, array in arrays.items():
        shape = nodes[name].type.shape
        if array.shape != shape:
            raise CnnccError(f"input {name!r} has shape {array.shape}, {graph.name} takes {shape}")
    return arrays
