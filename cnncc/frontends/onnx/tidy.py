"""What exporters write in several ops, as the one op it is: each rule is an equation, tried until none applies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx.tidy_change import Change, private, remade
from cnncc.frontends.onnx.tidy_slices import focus, strided_twice
from cnncc.frontends.onnx.values import bound
from cnncc.ir import Graph, Node

CLOSE = 1e-5
"""Relative difference up to which a number is the one of a definition."""
INPUTS = frozenset({"input", "const"})
DEEPEST = 5
"""Ops that a rule may look back."""


Rule = Callable[[Graph, Node], Change | None]


def tidy(graph: Graph) -> Graph:
    """The graph after all rules, in sweeps until nothing changes."""
    for node in graph.inputs:
        graph = normalized(graph, node)
    changes = sweep(graph)
    while changes:
        nodes = [changes[n.name].node if n.name in changes else n for n in graph.nodes]
        constants = {name: c for change in changes.values() for name, c in change.constants.items()}
        graph = graph.rebuild(nodes, constants=constants)
        changes = sweep(graph)
    return without_copies(graph)


def normalized(graph: Graph, node: Node) -> Graph:
    """(input - mean) / std => input with mean and std, of numbers per channel or for all, unless one of them is zero,
    infinite or no number, or they are the steps of a quantisation."""
    scale, shift, at = np.ones(1), np.zeros(1), node.name
    chain: list[str] = []
    with np.errstate(all="ignore"):
        while graph.is_private(at) and (step := linear(graph, graph.users(at)[0], at)) is not None:
            scale, shift = scale * step[0], shift * step[0] + step[1]
            at = graph.users(at)[0].name
            chain.append(at)
        mean, std = numbers(-shift / scale), numbers(1 / scale)
    quantised = any(n.op == "round" for n in graph.users(at))
    if not chain or quantised or at in graph.outputs or not all(map(math.isfinite, (*mean, *std))) or 0 in std:
        return graph
    attrs = {**node.attrs, "mean": () if mean == (0.0,) else mean, "std": () if std == (1.0,) else std}
    return graph.replaced({**dict.fromkeys(chain), node.name: node.with_(attrs=attrs)}, dict.fromkeys(chain, node.name))


def linear(graph: Graph, node: Node, x: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and summand if the node only scales and shifts the value x, per channel."""
    if node.op == "affine":
        return np.array([node.attrs["scale"]]), np.array([node.attrs["shift"]])
    others = [i for i in node.inputs if i != x]
    if node.op not in ("add", "mul") or len(node.inputs) != 2 or len(others) != 1:
        return None
    column, kind = graph[others[0]], graph[x].type.shape
    if column.op != "const" or column.type.shape != (1, kind[1], *(1,) * (len(kind) - 2)):
        return None
    given = value(graph, column, "value").reshape(-1)
    return (given, np.zeros(1)) if node.op == "mul" else (np.ones(1), given)


def numbers(column: np.ndarray) -> tuple[float, ...]:
    """As people write them: seven digits, one number if all are equal."""
    rounded = tuple(float(f"{v:.7g}") + 0.0 for v in column)
    return rounded[:1] if len(set(rounded)) == 1 else rounded


def sweep(graph: Graph) -> dict[str, Change]:
    """Changes by name that do not touch each other: none within what another one has looked at."""
    changes: dict[str, Change] = {}
    for node in graph.nodes:
        if changes.keys() & seen_by_rules(graph, node):
            continue
        found = (change for rule in RULES if (change := rule(graph, node)))
        if change := next(found, None):
            changes[node.name] = change
    return changes


def seen_by_rules(graph: Graph, node: Node) -> set[str]:
    """The names of what is at most `DEEPEST` ops before a node."""
    seen: set[str] = set()
    layer = {node.name}
    for _ in range(DEEPEST):
        layer = {i for name in layer for i in graph[name].inputs}
        seen |= layer
    return seen


def without_copies(graph: Graph) -> Graph:
    """identity(x) => x, of outputs too: they have names of their own."""
    rename = {n.name: n.inputs[0] for n in graph.nodes if n.op == "identity"}
    return graph.replaced(dict.fromkeys(rename), rename) if rename else graph


def near(a: float, b: float) -> bool:
    return abs(a - b) <= CLOSE * abs(b)


def value(graph: Graph, node: Node, slot: str) -> np.ndarray:
    return graph.constants[node.weights[slot]].compute().astype(np.float64)


def with_weights(node: Node, arrays: Mapping[str, np.ndarray]) -> Change:
    """A node with constants of its own name."""
    names = {slot: f"{node.name}.{slot}" for slot in arrays}
    constants = {names[slot]: bound(array) for slot, array in arrays.items()}
    return Change(node.with_(weights=names), constants)


# Numbers per channel


def channel_arm(graph: Graph, node: Node) -> tuple[Node, np.ndarray] | None:
    """The computed arm of a merge with a learned number per channel, and those numbers."""
    if len(node.inputs) != 2:
        return None
    for name, other in (node.inputs, node.inputs[::-1]):
        column = graph[other]
        channels = graph[name].type.shape[1]
        if column.op == "const" and graph[name].op not in INPUTS and graph.is_private(name):
            if column.type.shape in ((1, channels), (1, channels, 1, 1)) and node.type == graph[name].type:
                return graph[name], value(graph, column, "value").reshape(-1)
    return None


def scale_after_norm(graph: Graph, node: Node) -> Change | None:
    """bn(x; w, b) * c => bn(x; w c, b c), bn(x; w, b) + c => bn(x; w, b + c)"""
    found = channel_arm(graph, node) if node.op in ("add", "mul") else None
    if not found or found[0].op not in ("bn", "group_norm") or "weight" not in found[0].weights:
        return None
    norm, column = found
    arrays = {slot: value(graph, norm, slot) for slot in norm.weights}
    for slot in ("weight", "bias") if node.op == "mul" else ("bias",):
        arrays[slot] = arrays[slot] * column if node.op == "mul" else arrays[slot] + column
    return with_weights(remade(node, norm), arrays)


def bias_after_conv(graph: Graph, node: Node) -> Change | None:
    """conv(x; w) + c => conv(x; w, c), of conv, conv_transpose and fc"""
    found = channel_arm(graph, node) if node.op == "add" else None
    if not found or found[0].op not in ("conv", "conv_transpose", "fc") or found[0].attrs["bias"]:
        return None
    conv, column = found
    name = f"{node.name}.bias"
    made = remade(node, conv, attrs={**conv.attrs, "bias": True}, weights={**conv.weights, "bias": name})
    return Change(made, {name: bound(column)})


# Activations in parts


def gates(graph: Graph, node: Node) -> Change | None:
    """x * sigmoid(x) => silu(x), x * hard_sigmoid(x) => hard_swish(x)"""
    if node.op != "mul" or len(node.inputs) != 2:
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        found = private(graph, gate, ("sigmoid", "hard_sigmoid"))
        if found and found.inputs == (x,):
            if found.op == "sigmoid":
                return Change(remade(node, found, op="silu", attrs={}))
            if near(found.attrs["alpha"], 1 / 6) and near(found.attrs["beta"], 0.5):
                return Change(remade(node, found, op="hard_swish", attrs={}))
    return None


def mish(graph: Graph, node: Node) -> Change | None:
    """x * tanh(softplus(x)) => mish(x)"""
    if node.op != "mul" or len(node.inputs) != 2:
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        outer = private(graph, gate, "tanh")
        inner = outer and private(graph, outer.inputs[0], "softplus")
        if inner and inner.inputs == (x,):
            return Change(remade(node, inner, op="mish", attrs={}))
    return None


def sixths(graph: Graph, node: Node) -> Change | None:
    """relu6(x + 3) / 6 => hard_sigmoid(x)"""
    if node.op != "affine" or node.attrs["shift"] or not near(node.attrs["scale"], 1 / 6):
        return None
    bounded = private(graph, node.inputs[0], "relu6")
    moved = bounded and private(graph, bounded.inputs[0], "affine")
    if not moved or moved.attrs["scale"] != 1 or moved.attrs["shift"] != 3:
        return None
    return Change(remade(node, moved, op="hard_sigmoid", attrs={"alpha": 1 / 6, "beta": 0.5}))


def late_sixth(graph: Graph, node: Node) -> Change | None:
    """(x * relu6(x + 3)) / 6 => hard_swish(x)"""
    if node.op != "affine" or node.attrs["shift"] or not near(node.attrs["scale"], 1 / 6):
        return None
    product = private(graph, node.inputs[0], "mul")
    for x, gate in (product.inputs, product.inputs[::-1]) if product and len(product.inputs) == 2 else ():
        bounded = private(graph, gate, "relu6")
        moved = bounded and private(graph, bounded.inputs[0], "affine")
        if moved and moved.inputs == (x,) and moved.attrs["scale"] == 1 and moved.attrs["shift"] == 3:
            return Change(remade(node, moved, op="hard_swish", attrs={}))
    return None


def gelu(graph: Graph, node: Node) -> Change | None:
    """x * (1 + erf(x / sqrt(2))) / 2 => gelu(x), wherever the half stands"""
    half, product = None, node
    if node.op == "affine" and not node.attrs["shift"] and node.attrs["scale"] == 0.5:
        half, product = node, graph[node.inputs[0]]
        if not graph.is_private(product.name):
            return None
    if product.op != "mul" or len(product.inputs) != 2:
        return None
    for x, gate in (product.inputs, product.inputs[::-1]):
        source = x
        if half is None:
            halved = private(graph, x, "affine")
            if not halved or halved.attrs["scale"] != 0.5 or halved.attrs["shift"]:
                continue
            source = halved.inputs[0]
        if erf_of(graph, gate, source):
            return Change(node.with_(op="gelu", inputs=(source,), attrs={}))
    return None


def erf_of(graph: Graph, gate: str, x: str) -> bool:
    """Whether a value is 1 + erf(x / sqrt(2))."""
    moved = private(graph, gate, "affine")
    outer = moved and private(graph, moved.inputs[0], "erf")
    inner = outer and private(graph, outer.inputs[0], "affine")
    if not moved or not inner:
        return False
    plain = moved.attrs == {"scale": 1.0, "shift": 1.0} and inner.attrs["shift"] == 0
    return plain and near(inner.attrs["scale"], 0.5**0.5) and inner.inputs == (x,)


def affine_twice(graph: Graph, node: Node) -> Change | None:
    """a (b x + c) + d => a b x + (a c + d); a x + 0 with a of 1 => x"""
    if node.op != "affine":
        return None
    if node.attrs == {"scale": 1.0, "shift": 0.0}:
        return Change(node.with_(op="identity", attrs={}))
    inner = private(graph, node.inputs[0], "affine")
    if not inner:
        return None
    a, d = node.attrs["scale"], node.attrs["shift"]
    return Change(remade(node, inner, attrs={"scale": a * inner.attrs["scale"], "shift": a * inner.attrs["shift"] + d}))


# Shapes


def pad_before(graph: Graph, node: Node) -> Change | None:
    """conv(pad(x)) => conv(x) with more padding, of zeros; of average pools too, where all padding counts"""
    pad = private(graph, node.inputs[0], "pad") if node.op in ("conv", "avgpool") else None
    if not pad or pad.attrs["mode"] != "constant" or pad.attrs["value"] != 0:
        return None
    attrs = dict(node.attrs)
    if node.op == "avgpool":
        if any(attrs["pad"]) and not attrs["count_include_pad"]:
            return None
        attrs["count_include_pad"] = True
        if any(p >= attrs["kernel"][i % 2] for i, p in enumerate(added(attrs["pad"], pad.attrs["pad"]))):
            return None
    attrs["pad"] = added(attrs["pad"], pad.attrs["pad"])
    return Change(node.with_(inputs=pad.inputs, attrs=attrs))


def added(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def reshape_twice(graph: Graph, node: Node) -> Change | None:
    """reshape(reshape(x)) => reshape(x), reshape(permute(x)) => permute(x), fc(reshape(x)) => fc(x); to the same: x"""
    if node.op == "fc" and graph[node.inputs[0]].op == "reshape":
        return Change(node.with_(inputs=graph[node.inputs[0]].inputs))
    if node.op != "reshape":
        return None
    source = graph[node.inputs[0]]
    if source.type == node.type:
        return Change(node.with_(op="identity", attrs={}))
    if source.op == "reshape":
        return Change(node.with_(inputs=source.inputs))
    if private(graph, source.name, "permute"):
        return Change(remade(node, source, attrs={**source.attrs, "dims": node.attrs["dims"]}))
    if len(node.type.shape) == 2:
        return Change(node.with_(op="flatten", attrs={}))
    return None


def crop_twice(graph: Graph, node: Node) -> Change | None:
    """crop(crop(x)) => crop(x)"""
    inner = private(graph, node.inputs[0], "crop") if node.op == "crop" else None
    if not inner:
        return None
    moved = {key: node.attrs[key] + inner.attrs[key] for key in ("top", "left")}
    return Change(node.with_(inputs=inner.inputs, attrs={**node.attrs, **moved}))


def growing_concat(graph: Graph, node: Node) -> Change | None:
    """concat(a, b, c) => concat(concat(a, b), c), where the inner one is there anyway"""
    if node.op != "concat" or len(node.inputs) < 3:
        return None
    prefixes = {n.inputs: n.name for n in graph.nodes if n.op == "concat" and n.name != node.name and 1 < len(n.inputs)}
    for count in range(len(node.inputs) - 1, 1, -1):
        if node.inputs[:count] in prefixes:
            return Change(node.with_(inputs=(prefixes[node.inputs[:count]], *node.inputs[count:])))
    return None


RULES: tuple[Rule, ...] = (
    *(scale_after_norm, bias_after_conv, gates, mish, gelu, sixths, late_sixth, affine_twice),
    *(pad_before, reshape_twice, crop_twice, strided_twice, focus, growing_concat),
)
