"""A network whose inputs have any size of a range: its shapes as expressions of the sizes, and a check of all rules.

The shape rules of ops know numbers only. A graph is therefore inferred at many sizes, and an expression is fitted to
each dimension; those sizes, and others, hold it to what the rules say. A rule that refuses one of them is the user's
error, with the size at which it happened.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from cnncc.base.dim import MOST_PERIOD, Dim, Extent, Symbol, fitted, value_at
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node, TensorType
from cnncc.ir.ranged import Ranged, Steps, said, told_at
from cnncc.ir.rules import ShapeError
from cnncc.ops import infer_type
from cnncc.passes.infer_shapes import infer_shapes

FIRST, SPREAD, LAST = 4, 24, 8
"""Sizes of a symbol at which shapes are inferred: the first ones, where windows reach over the whole image; as many
more as have every remainder of the strides twice; some between; and the last ones."""
FEWER = 4, 1
"""The same where each size takes a run of all passes."""
CROSSED = 12
"""Sizes at which several symbols are tried together, besides the smallest and largest of each."""


def check(ranged: Ranged) -> tuple[Graph, bool]:
    """The network at its largest size, and whether attributes of its ops change with the size, as where a crop begins.
    CnnccError unless it has the same ops at all sizes, and every rule holds."""
    _, largest = ranged.ends
    others = [(steps, ranged.graph(steps)) for steps in (*ranged.compared, ranged.typical)]
    for steps, other in others:
        _same_form(largest, other, ranged.most, steps)
    changing = any(_attrs(a) != _attrs(b) for _, g in others for a, b in zip(largest.nodes, g.nodes, strict=True))
    if not changing:
        for steps in _tried(ranged, SPREAD, LAST):
            _inferred(largest, ranged, steps)
    return largest, changing


def followed(graph: Graph, ranged: Ranged, remade: Callable[[Graph], Graph] | None = None) -> Graph:
    """A graph that passes made of the network at its largest size, with expressions for what changes with the size.

    `remade` does what the passes did with the network at another size; it is needed where attributes change. CnnccError
    where there is no expression, or passes make another graph of another size."""
    if remade is None:
        made = [(s, _inferred(graph, ranged, s).by_name) for s in _tried(ranged, SPREAD, LAST)]
    else:
        made = []
        for steps in _tried(ranged, *FEWER):
            other = remade(ranged.graph(steps))
            _same_form(graph, _in_order(graph, other, ranged, steps), ranged.most, steps)
            made.append((steps, other.by_name))
    found: dict[str, Node] = {}
    for node in graph.nodes:
        known = [n.type.shape for n in found.values()]
        own = [(steps, nodes[node.name]) for steps, nodes in made]
        shape = _varied(ranged, [(steps, n.type.shape) for steps, n in own], known)
        known.append(shape if shape is not None else ())
        attrs = {key: _varied(ranged, [(s, _attrs(n)[key]) for s, n in own], known) for key in _attrs(node)}
        if shape is None or any(attrs[key] is None is not value for key, value in _attrs(node).items()):
            hint = "compile the sizes that are needed: --shape 3x224x224,3x320x480"
            what = f"{node.op}: how it follows from the size is not understood"
            raise CnnccError(what, node.span, node.stack, hint)
        found[node.name] = node.with_(type=replace(node.type, shape=shape), attrs={**node.attrs, **attrs})
    return replace(graph, nodes=tuple(found.values()))


def usual(graph: Graph) -> Graph:
    """A graph with expressions as it is at the size in the middle of the range."""
    return of_size(graph, {})


def of_size(graph: Graph, steps: Steps) -> Graph:
    """A graph with expressions as it is at one size; symbols that are not told have the size in the middle."""

    def told(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(told, value))
        if isinstance(value, Dim):
            return value_at(value, {s: steps.get(s, s.middle) for s in value.symbols})
        return value

    nodes = (
        n.with_(type=replace(n.type, shape=told(n.type.shape)), attrs={k: told(v) for k, v in n.attrs.items()})
        for n in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def _in_order(graph: Graph, other: Graph, ranged: Ranged, steps: Steps) -> Graph:
    """A graph with its nodes in the order of another, if they are called the same."""
    if graph.by_name.keys() != other.by_name.keys():
        raise _other_form(graph, ranged.most, steps)
    return replace(other, nodes=tuple(other[node.name] for node in graph.nodes))


def _varied(ranged: Ranged, values: Sequence[tuple[Steps, Any]], known: Sequence[tuple[Extent, ...]]) -> Any:
    """A value, or a tuple of values, with expressions for the whole numbers that change; None if there are none."""
    first = values[0][1]
    if isinstance(first, tuple) and all(isinstance(v, tuple) and len(v) == len(first) for _, v in values):
        parts = [_varied(ranged, [(steps, v[i]) for steps, v in values], known) for i in range(len(first))]
        return None if any(p is None is not v for p, v in zip(parts, first, strict=True)) else tuple(parts)
    if all(value == first for _, value in values):
        return first
    return _expression(ranged, values, known) if all(type(v) is int for _, v in values) else None


_Axis = Sequence[tuple[Steps, int]]
"""A dimension at each size."""


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


def _tried(ranged: Ranged, spread: int, last: int) -> list[Steps]:
    """The first sizes of each symbol, so many between and the last ones, with the others as typical; and some of all
    together."""
    found = [ranged.least, ranged.most, ranged.typical]
    for symbol in ranged.symbols:
        count = symbol.count
        first = (2 if spread > FEWER[0] else 1) * period(ranged, symbol) + FIRST
        between = range(0, count, max(1, count // spread))
        for n in sorted({*range(min(first, count)), *between, *range(max(0, count - last), count)}):
            found.append({**ranged.typical, symbol: n})
    if len(ranged.symbols) > 1:
        found += [
            dict(zip(ranged.symbols, corner, strict=True))
            for corner in product(*((0, s.count - 1) for s in ranged.symbols))
        ]
        drawn = random.Random(0)
        found += [{s: drawn.randrange(s.count) for s in ranged.symbols} for _ in range(CROSSED)]
    return found


def period(ranged: Ranged, symbol: Symbol) -> int:
    """Steps after which every dimension that changes has grown as much as before: by how much the network makes images
    smaller, in steps of the size."""
    pairs = zip(*(graph.nodes for graph in ranged.ends), strict=False)
    dims = (dim for a, b in pairs for old, dim in zip(a.type.shape, b.type.shape, strict=False) if dim > old)
    times = max((-(-symbol.most // dim) for dim in dims), default=1)
    stride = 1 << (times - 1).bit_length()
    return min(stride // math.gcd(stride, symbol.step), MOST_PERIOD)


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
        raise told_at(told, steps) from None


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
    """CnnccError for a network that has other ops at another size, or the same with other words."""
    if one.outputs != other.outputs or len(one.nodes) != len(other.nodes):
        raise _other_form(one, first, second)
    for a, b in zip(one.nodes, other.nodes, strict=True):
        same = (a.name, a.op, a.inputs, dict(a.weights)) == (b.name, b.op, b.inputs, dict(b.weights))
        if not same or any(not _alike(v, _attrs(b).get(key)) for key, v in _attrs(a).items()):
            what = f"{a.op} at {said(first)} is not what it is at {said(second)}{_difference(a, b)}"
            raise CnnccError(what, a.span, a.stack, ONE_FORM)


ONE_FORM = "one network serves a range if only shapes change with the size"


def _other_form(graph: Graph, first: Steps, second: Steps) -> CnnccError:
    return CnnccError(f"{graph.name}: its ops at {said(first)} are others than at {said(second)}", hint=ONE_FORM)


def _attrs(node: Node) -> Mapping[str, Any]:
    """The attributes, of an input without its dims."""
    return {key: value for key, value in node.attrs.items() if not (node.is_input and key == "dims")}


def _alike(a: Any, b: Any) -> bool:
    """Whether two attributes differ in whole numbers only."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    return bool(a == b) or type(a) is type(b) is int


def _difference(a: Node, b: Node) -> str:
    for key, value in a.attrs.items():
        if a.op == b.op and not _alike(value, b.attrs.get(key)):
            return f": {key} {value} and {b.attrs.get(key)}"
    return ""
