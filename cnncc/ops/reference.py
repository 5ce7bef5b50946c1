"""The living definition: run a graph in NumPy, op by op, through the table. Slow but right, float64 by default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cnncc import ops
from cnncc.base.elements import BFLOAT16, FLOAT32, HALVES, Element, decode, encode
from cnncc.base.errors import CnnccError, nearest
from cnncc.ir import Constant, Graph, Node
from cnncc.ops.source import port_type

Inputs = Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike]


def run(
    graph: Graph,
    inputs: Inputs,
    dtype: npt.DTypeLike = np.float64,
    keep_all: bool = False,
    follow: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """The values of the graph's outputs by name, as arrays (n, c, h, w) or (n, k); with `keep_all`, of every node.

    `inputs` are the arrays that a user of the network passes, before mean and std: in the order of the graph's input
    nodes, or a mapping by their names. `dtype` is that of the arithmetic, float64 by default; what the graph has as
    integers are integers of its types. All constants need values (see `cnncc.weights.bind`).

    `follow` are values of a compiled module: what reads or gives integers is computed from these where they are known.
    So a rounding error before them, which may move an integer by one, does not count as an error of what comes after.

    Raises CnnccError if the inputs do not match the graph.
    """
    fed = checked(graph, inputs, np.dtype(dtype))
    values: dict[str, np.ndarray] = {}
    readers = Counter(name for n in graph.nodes for name in n.inputs) + Counter(graph.outputs)
    followed = _Followed(graph, fed, dict(follow)) if follow is not None else None
    for node in graph.nodes:
        if node.op == "input":
            args: tuple[np.ndarray, ...] = (fed[node.name],)
        elif followed is not None and has_other_types(graph, node):
            args = tuple(map(followed.value, node.inputs))
        else:
            args = tuple(values[name] for name in node.inputs)
        values[node.name] = evaluate(graph, node, args, np.dtype(dtype))
        readers.subtract(node.inputs)
        for name in () if keep_all else {*node.inputs, node.name}:
            if not readers[name]:
                del values[name]
    return values


def has_other_types(graph: Graph, node: Node) -> bool:
    """Whether a node reads or gives anything but float32."""
    return not all(graph[name].type.is_float for name in (*node.inputs, node.name))


class _Followed:
    """Values of a module. One that it does not have is computed from those that it has."""

    def __init__(self, graph: Graph, fed: Mapping[str, np.ndarray], known: dict[str, np.ndarray]) -> None:
        self.graph = graph
        self.fed = fed
        self.known = known

    def value(self, name: str) -> np.ndarray:
        if name not in self.known:
            node = self.graph[name]
            args = (self.fed[name],) if node.op == "input" else tuple(map(self.value, node.inputs))
            self.known[name] = evaluate(self.graph, node, args, np.dtype(np.float64))
        return self.known[name]


def evaluate(graph: Graph, node: Node, args: tuple[np.ndarray, ...], dtype: np.dtype) -> np.ndarray:
    """The value of one node from those of its inputs; the raw array for an `input` node.

    Integers are arrays of their element's dtype. All other numbers are in `dtype`, halves too. A result of halves is
    rounded once, and so are the weights of a layer that reads halves. Numbers beyond float16 stay what they are: a
    module that gives infinity there has overflowed."""
    weights = {slot: _number(graph.constants[name]) for slot, name in node.weights.items()}
    read = graph[node.inputs[0]].type.element if node.inputs else FLOAT32
    if read in HALVES and ops.traits(node).half_weights:
        weights["weight"] = rounded(weights["weight"], read)
    op = ops.TABLE[node.op]
    if op.exact is None or not has_other_types(graph, node):
        value = op.reference(args, weights, node.attrs)
    else:
        value = op.exact(args, weights, node.attrs, (*(graph[i].type for i in node.inputs), node.type))
    if node.type.element in HALVES:
        near = rounded(value, node.type.element)
        value = np.where(np.isfinite(near), near, value)
    value = value.astype(node.type.element.dtype if node.type.element.whole else dtype, copy=False)
    assert value.shape == node.type.shape, f"{node.name}: {value.shape}, the graph says {node.type}"
    return value


def rounded(values: np.ndarray, element: Element) -> np.ndarray:
    """The nearest numbers of a floating-point type, as float32."""
    return decode(encode(values.astype(np.float32, copy=False), element), element)


def _number(constant: Constant) -> np.ndarray:
    """The value of a constant; halves as float32."""
    halves = not constant.element.whole and constant.element != FLOAT32
    return decode(constant.value, constant.element) if halves else constant.value


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
    arrays = {name: _given(nodes[name], array, dtype) for name, array in inputs.items()}
    for name, array in arrays.items():
        shape = nodes[name].type.shape
        if array.shape != shape:
            raise CnnccError(f"input {name!r} has shape {array.shape}, {graph.name} takes {shape}")
    return arrays


def _given(node: Node, array: npt.ArrayLike, dtype: np.dtype) -> np.ndarray:
    """An array as the input takes it: integers in its type, all other numbers in the dtype asked for. CnnccError for
    numbers that an integer type does not have."""
    element = port_type(node).element
    found = np.asarray(array)
    if element == BFLOAT16:
        return decode(found, element).astype(dtype) if found.dtype == element.dtype else found.astype(dtype)
    if not element.whole:
        return found.astype(dtype, copy=False)
    whole = found.astype(element.dtype)
    if not np.array_equal(whole, found):
        raise CnnccError(f"input {node.name!r} takes {element}, got numbers that this type does not have")
    return whole
