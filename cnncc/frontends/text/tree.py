"""A graph as nested statements: chains of ops, merges with arms, and references where arms are not enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import networkx as nx

from cnncc.ir import Graph, Node
from cnncc.lang.forms import PRINTED
from cnncc.ops import traits
from cnncc.ops.traits import Kind

LONGEST = 8
"""Ops in one statement."""
DEEPEST = 8
"""Arms inside each other."""
SOURCE = "\0source"
SINK = "\0sink"


@dataclass(frozen=True)
class Chain:
    """An op and those that follow it in the same statement."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Joined:
    """A merge with its arms, and ops that follow it."""

    arms: tuple[Sequence, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class From:
    """Makes a named value the current one."""

    name: str


@dataclass(frozen=True)
class Save:
    """Names the current value."""

    name: str


@dataclass(frozen=True)
class Output:
    """Gives back a named value, or, without one, the current one; `port` is what the output is called, if anything."""

    name: str
    port: str


Statement = Chain | Joined | From | Save | Output
Sequence = tuple[Statement, ...]


def emitted(sequence: Sequence) -> Iterator[str]:
    """The nodes of statements in the order in which the text makes them."""
    for statement in sequence:
        if isinstance(statement, Joined):
            for arm in statement.arms:
                yield from emitted(arm)
        if isinstance(statement, Chain | Joined):
            yield from statement.nodes


def tree(graph: Graph) -> Sequence:
    """The statements of a graph, without those for its inputs. Every node is in them once."""
    planner = Planner(graph)
    named = planner.entangled()
    while True:
        statements = planner.program(named)
        repeated = [name for name, count in Counter(emitted(statements)).items() if count > 1]
        more = {name for name in repeated if graph.index.out_degree(name) > 1} | planner.deep
        if more <= named:
            return statements
        named |= more


class Planner:
    """Knows which values dominate which."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.position = {n.name: i for i, n in enumerate(graph.nodes)}
        self.deep: set[str] = set()
        """Values that would be too deep in arms of arms: they get names."""
        self.fixed = fixed(graph)
        flow = nx.DiGraph()
        live = [n for n in graph.nodes if n.name not in self.fixed]
        flow.add_nodes_from([SOURCE, SINK])
        for node in live:
            sources = [i for i in node.inputs if i not in self.fixed]
            flow.add_edges_from((i, node.name) for i in sources or [SOURCE])
        flow.add_edges_from((name, SINK) for name in graph.outputs if name not in self.fixed)
        self.before = nx.immediate_dominators(flow, SOURCE)
        self.after = nx.immediate_dominators(flow.reverse(), SINK)

    def entangled(self) -> set[str]:
        """Values that arms of one merge cannot hold together: they need a name."""
        graph = self.graph
        found = set(graph.outputs) if len(graph.outputs) > 1 else set()
        for node in graph.nodes:
            if graph.index.out_degree(node.name) + (node.name in graph.outputs) < 2 or node.name in self.fixed:
                continue
            end = self.after.get(node.name, SINK)
            if end == SINK or self.before[end] != node.name:
                found.add(node.name)
        found |= {name for name in self.fixed if graph.index.out_degree(name) > 1}
        return {name for name in found if traits(graph[name]).kind is not Kind.INPUT}

    def program(self, named: set[str]) -> Sequence:
        """The top level: named values one after the other, then the last output."""
        graph = self.graph
        inputs = [n.name for n in graph.inputs]
        stops = named | set(inputs)
        parts = self.parts(named, stops)
        goals = sorted(parts, key=self.position.__getitem__)
        current = inputs[-1] if inputs else None
        outputs = Outputs(graph, current)
        result: list[Statement] = outputs.after(current)
        for goal in goals:
            part = parts[goal]
            if part and part[0] == From(current or ""):
                part = part[1:]
            result += part
            current = goal
            if goal in named:
                result.append(Save(goal))
            result += outputs.after(goal)
        return without_idle(result)

    def parts(self, named: set[str], stops: set[str]) -> dict[str, Sequence]:
        """For each named value and each output, the statements that lead to it; for those too deep as well."""
        found: dict[str, Sequence] = {}
        goals = ({*named, *self.graph.outputs} | self.deep) - {n.name for n in self.graph.inputs}
        while goals:
            found |= {goal: self.sequence(None, goal, stops) for goal in goals}
            goals = self.deep - found.keys()
        return found

    def sequence(self, start: str | None, end: str, stops: set[str], depth: int = 0) -> Sequence:
        """Statements that lead from the value `start`, or a stop, to `end`, which is `depth` arms deep."""
        if depth >= DEEPEST and end != start and end not in self.fixed:
            self.deep |= {end} - stops
            return (From(end),)
        backwards: list[Statement] = []
        chain: list[str] = []
        at = end
        while at != start:
            if at in stops and (at != end or depth):
                backwards.append(From(at))
                break
            node = self.graph[at]
            chain.append(at)
            if chains(node) and len(chain) < LONGEST and self.may_follow(node, start, stops):
                at = node.inputs[0]
                continue
            statement, at_next = self.statement(node, tuple(reversed(chain)), stops, depth)
            backwards.append(statement)
            chain = []
            if at_next is None:
                break
            at = at_next
        return tuple(reversed(backwards))

    def may_follow(self, node: Node, start: str | None, stops: set[str]) -> bool:
        """Whether a statement before this op is there for it to follow."""
        if not node.inputs:
            return False
        source = node.inputs[0]
        if source == start or source in stops:
            return False
        before, kinds = self.graph[source], PRINTED[node.op].after
        return PRINTED[before.op].leads if kinds is None else traits(before).kind in kinds

    def statement(
        self, node: Node, nodes: tuple[str, ...], stops: set[str], depth: int
    ) -> tuple[Statement, str | None]:
        """A statement, and the value it starts from, None if it starts from none."""
        if not PRINTED[node.op].arms:
            return Chain(nodes), node.inputs[0] if node.inputs else None
        live = [i for i in node.inputs if i not in self.fixed]
        start = self.before[node.name] if live else None
        if start == SOURCE:
            start = None
        arms = tuple(self.sequence(None if i in self.fixed else start, i, stops, depth + 1) for i in node.inputs)
        return Joined(arms, nodes), start


class Outputs:
    """The outputs of a graph, each marked as soon as it is there and all before it are."""

    def __init__(self, graph: Graph, current: str | None) -> None:
        self.graph = graph
        self.left = list(zip(graph.outputs, graph.ports, strict=True))
        self.made = {n.name for n in graph.inputs}

    def after(self, current: str | None) -> list[Statement]:
        """What can be marked once `current` is the current value."""
        self.made |= {current} if current else set()
        found: list[Statement] = []
        while self.left and self.left[0][0] in self.made:
            value, port = self.left.pop(0)
            found.append(Output("" if value == current else value, port))
        return found


def without_idle(statements: list[Statement]) -> Sequence:
    """The statements without names that nothing refers to, and without an `output` that goes without saying."""
    wanted = set(referred(statements))
    kept = [s for s in statements if not (isinstance(s, Save) and s.name not in wanted)]
    outputs = [s for s in kept if isinstance(s, Output)]
    if outputs == [Output("", "")] and kept[-1] == outputs[0]:
        kept.pop()
    return tuple(kept)


def referred(sequence: Iterable[Statement]) -> Iterator[str]:
    """The values that statements call by name."""
    for statement in sequence:
        if isinstance(statement, From | Output):
            yield statement.name
        elif isinstance(statement, Joined):
            for arm in statement.arms:
                yield from referred(arm)


def fixed(graph: Graph) -> set[str]:
    """Values that depend on no input."""
    found: set[str] = set()
    for node in graph.nodes:
        if traits(node).kind is not Kind.INPUT and found.issuperset(node.inputs):
            found.add(node.name)
    return found


def chains(node: Node) -> bool:
    """Whether an op may follow another in the same statement."""
    return PRINTED[node.op].chains
