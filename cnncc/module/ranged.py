"""A network whose inputs have any size of a range: its shapes as expressions of the sizes, and a check of all rules.

The shape rules of ops know numbers only. A graph is therefore inferred at many sizes, and an expression is fitted to
each dimension; those sizes, and others, hold it to what the rules say. A rule that refuses one of them is the user's
error, with the size at which it happened.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

from cnncc.base.dim import Dim, Extent, Symbol, fitted, value_at
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node, TensorType
from cnncc.ir.ranged import Ranged, Steps, at_steps, said
from cnncc.ir.rules import ShapeError
from cnncc.ops import infer_type
from cnncc.passes.infer_shapes import infer_shapes

FIRST, SPREAD, LAST = 80, 24, 8
"""Sizes of a symbol at which shapes are inferred: the first ones, where windows reach over the whole image and every
remainder of the strides occurs, some between, and the last ones."""
CROSSED = 12
"""Sizes at which several symbols are tried together, besides the smallest and largest of each."""


def check(ranged: Ranged) -> Graph:
    """The network at its largest size. CnnccError unless it has the same ops at all sizes, and every rule holds."""
    largest = ranged.graph(ranged.most)
    for steps in (ranged.least, ranged.typical):
        _same_form(largest, ranged.graph(steps), ranged.most, steps)
    for steps in _tried(ranged):
        _inferred(largest, ranged, steps)
    return largest


def followed(graph: Graph, ranged: Ranged) -> Graph:
    """A graph of the network with expressions for dimensions that change. CnnccError where there is none."""
    found = {}
    for node, shapes in _by_node(graph, [(s, _inferred(graph, ranged, s)) for s in _tried(ranged)]):
        found[node.name] = tuple(_expression(ranged, axis, found.values()) for axis in _axes(shapes))
        if None in found[node.name]:
            hint = "compile the sizes that are needed, separated by commas"
            what = f"{node.op}: how its shape follows from the size is not understood"
            raise CnnccError(what, node.span, node.stack, hint)
    return replace(graph, nodes=tuple(n.with_(type=replace(n.type, shape=found[n.name])) for n in graph.nodes))


def at_size(graph: Graph, ranged: Ranged, steps: Steps) -> Graph:
    """A graph of the network, as passes made it for another size, at one size."""
    return _inferred(graph, ranged, steps)


_Axis = Sequence[tuple[Steps, int]]
"""A dimension at each size."""


def _by_node(graph: Graph, inferred: Sequence[tuple[Steps, Graph]]) -> Iterator[tuple[Node, list[tuple[Steps, Node]]]]:
    for i, node in enumerate(graph.nodes):
        yield node, [(steps, made.nodes[i]) for steps, made in inferred]


def _axes(shapes: Sequence[tuple[Steps, Node]]) -> Iterator[_Axis]:
    for axis in range(len(shapes[0][1].type.shape)):
        yield [(steps, node.type.shape[axis]) for steps, node in shapes]


def _expression(ranged: Ranged, axis: _Axis, known: Iterable[tuple[Extent, ...]]) -> Extent | None:
    """An expression that has these values."""
    if len({value for _, value in axis}) == 1:
        return axis[0][1]
    alone = {symbol: _alone(ranged, symbol, axis) for symbol in ranged.symbols}
    changing = [symbol for symbol, values in alone.items() if len(set(values.values())) > 1]
    if len(changing) == 1:
        made = fitted(changing[0], alone[changing[0]])
        return made if made is not None and _holds(made, axis) else None
    dims = {e for shape in known for e in shape if isinstance(e, Dim) and len(e.symbols) == 1}
    ordered = sorted(dims, key=str)
    for pair in product(*([e for e in ordered if e.symbols == (symbol,)] for symbol in changing)):
        whole: Extent = 1
        for factor in pair:
            whole = whole * factor
        times, rest = divmod(axis[0][1], value_at(whole, axis[0][0]))
        if not rest and times and _holds(whole * times, axis):
            return whole * times
    return None


def _alone(ranged: Ranged, symbol: Symbol, axis: _Axis) -> dict[int, int]:
    """The values where all other symbols are as typical, by the steps of this one."""
    others = {s: n for s, n in ranged.typical.items() if s != symbol}
    return {steps[symbol]: value for steps, value in axis if all(steps[s] == n for s, n in others.items())}


def _holds(extent: Extent, axis: _Axis) -> bool:
    return all(value_at(extent, steps) == value for steps, value in axis)


def _tried(ranged: Ranged) -> list[Steps]:
    """The sizes at which shapes are inferred."""
    found = [ranged.least, ranged.most, ranged.typical]
    for symbol in ranged.symbols:
        count = symbol.count
        between = range(0, count, max(1, count // SPREAD))
        for n in sorted({*range(min(FIRST, count)), *between, *range(max(0, count - LAST), count)}):
            found.append({**ranged.typical, symbol: n})
    if len(ranged.symbols) > 1:
        found += [
            dict(zip(ranged.symbols, corner, strict=True))
            for corner in product(*((0, s.count - 1) for s in ranged.symbols))
        ]
        drawn = random.Random(0)
        found += [{s: drawn.randrange(s.count) for s in ranged.symbols} for _ in range(CROSSED)]
    return found


def _inferred(graph: Graph, ranged: Ranged, steps: Steps) -> Graph:
    """A graph with the inputs of one size. CnnccError for a rule that refuses it."""
    sizes = ranged.sizes(steps)
    nodes = [
        n.with_(
            attrs={**n.attrs, "dims": sizes[n.name]},
            type=replace(n.type, shape=(n.type.shape[0], *sizes[n.name])),
        )
        if n.is_input and n.name in sizes
        else n
        for n in graph.nodes
    ]
    made = replace(graph, nodes=tuple(nodes))
    try:
        return infer_shapes(made)
    except ShapeError as error:
        node = _refused(made)
        told = CnnccError(f"{node.op}: {error.message}", node.span, node.stack, error.hint)
        raise at_steps(told, steps) from None


def _refused(graph: Graph) -> Node:
    """The first node whose rule refuses what it gets."""
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        try:
            types[node.name] = infer_type(node.op, tuple(types[name] for name in node.inputs), node.attrs)
        except ShapeError:
            return node
    raise AssertionError("all rules hold")


def _same_form(one: Graph, other: Graph, first: Steps, second: Steps) -> None:
    """CnnccError for a network that has other ops, or attributes, at another size."""
    if one.outputs == other.outputs and len(one.nodes) == len(other.nodes):
        different = ((a, b) for a, b in zip(one.nodes, other.nodes, strict=True) if _form(a) != _form(b))
        pair = next(different, None)
        if pair is None:
            return
        a, b = pair
        what = f"{a.op} at {said(first)} is not what it is at {said(second)}{_difference(a, b)}"
        raise CnnccError(what, a.span, a.stack, "one network serves a range if only shapes change with the size")
    what = f"{one.name}: its ops at {said(first)} are others than at {said(second)}"
    raise CnnccError(what, hint="one network serves a range if only shapes change with the size")


def _form(node: Node) -> tuple[object, ...]:
    attrs = {key: value for key, value in node.attrs.items() if not (node.is_input and key == "dims")}
    return node.name, node.op, node.inputs, attrs, dict(node.weights)


def _difference(a: Node, b: Node) -> str:
    for key in a.attrs:
        if a.op == b.op and a.attrs[key] != b.attrs.get(key):
            return f": {key} {a.attrs[key]} and {b.attrs.get(key)}"
    return ""
