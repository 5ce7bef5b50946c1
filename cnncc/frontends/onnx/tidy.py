"""What exporters write in several ops, as the one op it is: the rules of the passes, and what is special to models."""

from __future__ import annotations

import math

import numpy as np

from cnncc.frontends.text.flow import starts
from cnncc.ir import Graph, Node
from cnncc.ir.draft import Draft
from cnncc.ir.rewrite import Change, rewrite, rule
from cnncc.ops import traits
from cnncc.ops.traits import Kind
from cnncc.passes import rules
from cnncc.passes.drop_identities import fc_of_reshape


@rule("affine")
def digits_of_float32(g: Draft, node: Node) -> Change | None:
    """a x + b => a x + b, by the fewest digits that are those numbers in float32

    Must not fire for numbers that have no more digits, or that float32 does not have.
    """
    with np.errstate(over="ignore"):
        singles = {key: float(str(np.float32(value))) for key, value in node.attrs.items()}
    near = all(math.isclose(a, node.attrs[key], rel_tol=1e-6) for key, a in singles.items())
    if singles == dict(node.attrs) or not near:
        return None
    return Change((node.with_(attrs=singles),))


RULES = (
    *(*rules.RULES["fold_scales"], *rules.RULES["join_norms"], *rules.RULES["join_activations"]),
    *(fc_of_reshape, *rules.RULES["join_moves"], *rules.RULES["join_permutes"], *rules.RULES["join_rows"]),
    digits_of_float32,
)
"""Together, so that one makes room for another. `cnncc compile` runs them again, as passes, for every network."""


CLOSE = 1e-5
"""How near a number of an ONNX model must be to that of a definition: some exporters write six digits."""


def tidy(graph: Graph) -> Graph:
    """The graph after all rules. Outputs may have other names after it: what a model calls them is in its ports."""
    return sums_of_several(without_copies(rewrite(with_normalisation(graph), RULES, CLOSE)))


def with_normalisation(graph: Graph) -> Graph:
    """The graph whose inputs have the mean and std that the model begins with."""
    for node in graph.inputs:
        graph = normalized(graph, node)
    return graph


def sums_of_several(graph: Graph) -> Graph:
    """(a + b) + c => a + b + c, if all of it starts from the same value. It comes after the rules that look for sums
    of two. Not for an inner sum that has other users or is an output, nor for values of several shapes.

    Sums are taken from left to right: an inner sum that does not come first may do so in a sum of two only."""
    start = starts(graph)
    arms: dict[str, tuple[str, ...]] = {}
    inside: set[str] = set()
    for node in (n for n in graph.nodes if n.op == "add" and n.name in start):
        arms[node.name] = node.inputs
        first, *rest = node.inputs
        for inner, others in ((first, rest), *([(rest[0], [first])] if len(rest) == 1 else [])):
            found = (*arms.get(inner, ()), *others)
            together = inner in arms and graph.is_private(inner) and start[inner] == start[node.name]
            if together and all(graph[i].type == node.type for i in found):
                arms[node.name] = found
                inside.add(inner)
                break
    wider = {name: graph[name].with_(inputs=found) for name, found in arms.items()}
    return graph.replaced({**wider, **dict.fromkeys(inside)}) if inside else graph


def normalized(graph: Graph, node: Node) -> Graph:
    """(input - mean) / std => input with mean and std, of numbers per channel or for all, unless one of them is zero,
    infinite or no number, or they are the steps of a quantisation. No pass: it changes what the network is given."""
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
    if traits(column).kind is not Kind.CONSTANT or column.type.shape != (1, kind[1], *(1,) * (len(kind) - 2)):
        return None
    given = graph.constants[column.weights["value"]].compute().astype(np.float64).reshape(-1)
    return (given, np.zeros(1)) if node.op == "mul" else (np.ones(1), given)


def numbers(column: np.ndarray) -> tuple[float, ...]:
    """As people write them: seven digits, one number if all are equal."""
    rounded = tuple(float(f"{v:.7g}") + 0.0 for v in column)
    return rounded[:1] if len(set(rounded)) == 1 else rounded


def without_copies(graph: Graph) -> Graph:
    """identity(x) => x, of outputs too: they have names of their own."""
    rename = {n.name: n.inputs[0] for n in graph.nodes if n.op == "identity"}
    return graph.replaced(dict.fromkeys(rename), rename) if rename else graph
