"""Whether an ONNX model is one: versions, names, and nodes in an order in which each comes after what it reads."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.control import graphs_of, made_in, read_by
from cnncc.frontends.onnx.schema import DOMAINS
from cnncc.frontends.onnx.tensors import one_line, shown

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

OLDEST = 7
"""The opset from which on models are read."""
MOST_NODES = 1 << 20
"""Nodes of a model once its functions stand where they are called."""
DEEPEST = 100
"""Functions that call one another."""
LONGEST_CYCLE = 6
"""Nodes of a cycle that are named."""


class Malformed(CnnccError):
    """A model that breaks the rules of ONNX itself."""


def opset_of(model: ModelProto) -> int:
    """The version of the standard's ops that a model is written in. CnnccError if it names none, two, or one that is
    too old or not known yet."""
    from onnx import IR_VERSION, defs

    newest = defs.onnx_opset_version()
    versions = sorted({entry.version for entry in model.opset_import if entry.domain in DOMAINS})
    update = "a newer package onnx may know it: pip install -U onnx"
    if model.ir_version > IR_VERSION:
        raise CnnccError(
            f"the model is of IR version {model.ir_version}, {IR_VERSION} is the newest known", hint=update
        )
    if not versions:
        raise Malformed("the model does not say which opset it is of")
    if len(versions) > 1:
        raise Malformed(f"the model says that it is of opsets {' and '.join(map(str, versions))}")
    (opset,) = versions
    if opset < OLDEST:
        raise CnnccError(f"the model is of opset {opset}; models are read from opset {OLDEST} on")
    if opset > newest:
        raise CnnccError(f"the model is of opset {opset}, {newest} is the newest known", hint=update)
    return opset


def inlined(model: ModelProto) -> ModelProto:
    """The model with its functions where they are called."""
    from onnx import checker, inliner

    if not model.functions:
        return model
    check_functions(model)
    try:
        return inliner.inline_local_functions(model)
    except (checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        raise Malformed(f"the functions of the model cannot be put in place: {one_line(error)}") from error


def check_functions(model: ModelProto) -> None:
    """Malformed for two functions of a name, for one that calls itself, and for too many nodes in all."""
    functions = {(f.domain, f.name): f for f in model.functions}
    if len(functions) < len(model.functions):
        raise Malformed("the model has two functions of one name")
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above or len(above) > DEEPEST:
            raise Malformed(f"function {shown(key[1])} calls itself" if key in above else "functions call too deep")
        if key not in sizes:
            sizes[key] = expanded(functions[key].node, (*above, key))
        return sizes[key]

    def expanded(nodes: Iterable[NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        every = chain.from_iterable(with_inner(node) for node in nodes)
        total = 0
        for node in every:
            key = (node.domain, node.op_type)
            total += size(key, above) if key in functions else 1
            if total > MOST_NODES:
                raise Malformed(f"the functions of the model stand for more than {MOST_NODES} nodes")
        return total

    expanded(model.graph.node, ())


def with_inner(node: NodeProto) -> Iterator[NodeProto]:
    """A node, and those of the graphs inside it."""
    yield node
    for graph in graphs_of(node):
        for inner in graph.node:
            yield from with_inner(inner)


def ordered(model: ModelProto) -> ModelProto:
    """The model with each node after those whose results it reads: itself, if that is so already. Malformed for names
    that are missing, not UTF-8 or given twice, for values that nothing computes, and for cycles."""
    if is_ordered(model.graph, frozenset()):
        return model
    copy = type(model)()
    copy.CopyFrom(model)
    sort_nodes(copy.graph)
    return copy


def is_ordered(graph: GraphProto, outside: frozenset[str]) -> bool:
    """Checks a graph and those inside it. Names from `outside` may be read."""
    check_names(graph)
    for tensor in graph.sparse_initializer:
        raise CnnccError(f"tensor {shown(tensor.values.name)} is sparse, which is not read")
    known = outside | made_in(graph)
    for node in graph.node:
        for name in sorted(read_by(node) - known):
            raise Malformed(f"node {label(node)} reads {shown(name)}, which nothing computes")
    places = sorted_places(graph)
    inner = [is_ordered(g, known) for node in graph.node for g in graphs_of(node)]
    return all(inner) and places == list(range(len(graph.node)))


def sort_nodes(graph: GraphProto) -> None:
    """Puts the nodes of a graph, and of those inside it, in their order."""
    nodes = [type(graph.node[0]).FromString(graph.node[i].SerializeToString()) for i in sorted_places(graph)]
    for node in nodes:
        for inner in graphs_of(node):
            sort_nodes(inner)
    del graph.node[:]
    graph.node.extend(nodes)


def sorted_places(graph: GraphProto) -> list[int]:
    """Places of nodes such that each comes after what it reads, the first that can come first. Malformed for cycles."""
    nodes = graph.node
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    after = [{makers[name] for name in read_by(node) & makers.keys()} for node in nodes]
    readers: dict[int, list[int]] = {}
    for i, sources in enumerate(after):
        for source in sources:
            readers.setdefault(source, []).append(i)
    waiting = [len(sources) for sources in after]
    ready = [i for i, count in enumerate(waiting) if not count]
    found: list[int] = []
    while ready:
        found.append(i := heapq.heappop(ready))
        for reader in readers.get(i, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(found) < len(nodes):
        names = [label(nodes[i]) for i in cycle({i: after[i] for i, count in enumerate(waiting) if count})]
        more = [] if len(names) <= LONGEST_CYCLE else [f"{len(names) - LONGEST_CYCLE} more"]
        raise Malformed(f"nodes read each other in a circle: {', '.join(names[:LONGEST_CYCLE] + more)}")
    return found


def cycle(after: Mapping[int, set[int]]) -> list[int]:
    """Some cycle of nodes that all wait for others among them."""
    path: dict[int, int] = {}
    at = min(after)
    while at not in path:
        path[at] = len(path)
        at = min(after[at] & after.keys())
    found = list(path)[path[at] :][::-1]
    first = found.index(min(found))
    return found[first:] + found[:first]


def check_names(graph: GraphProto) -> None:
    """Malformed unless every value has a name of its own."""
    groups = {
        "inputs": [port.name for port in graph.input],
        "tensors": [tensor.name for tensor in graph.initializer],
        "outputs": [port.name for port in graph.output],
        "results": [name for node in graph.node for name in node.output if name],
    }
    if not groups["outputs"]:
        raise Malformed("the model has no outputs")
    for kind, names in groups.items():
        if "" in names:
            raise Malformed(f"one of the model's {kind} has no name")
    check_text(chain([graph.name], *groups.values(), *map(words_of, graph.node)))
    for kind in ("inputs", "tensors"):
        refuse_repeats(groups[kind], f"{kind[:-1]} {{}} is there twice")
    given = [*groups["results"], *dict.fromkeys(groups["inputs"] + groups["tensors"])]
    refuse_repeats(given, "{} is the name of two values")


def check_text(names: Iterable[str | bytes]) -> None:
    """Malformed for a text that is not UTF-8: protobuf gives it as bytes."""
    for name in names:
        if isinstance(name, bytes):
            raise Malformed(f"a name is not UTF-8: {shown(name)}")


def words_of(node: NodeProto) -> Iterator[str | bytes]:
    """The texts of a node."""
    return chain((node.name, node.op_type, node.domain), node.input, (a.name for a in node.attribute))


def refuse_repeats(names: Sequence[str], message: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise Malformed(message.format(shown(name)))


def label(node: NodeProto) -> str:
    """What a node is called, and its op."""
    name = node.name or next((name for name in node.output if name), "without a name")
    return f"{shown(name)} ({shown(node.op_type)})"
