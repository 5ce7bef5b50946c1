"""A graph as nested statements: chains of ops, merges with arms, and references where arms are not enough."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from cnncc.frontends.text.dominators import immediate_dominators, turned
from cnncc.frontends.text.flow import SINK, SOURCE, fixed, flow_of
from cnncc.frontends.text.layout import Placing, without_idle
from cnncc.frontends.text.statements import (
    DEEPEST,
    Chain,
    From,
    Joined,
    Output,
    Save,
    Sequence,
    Statement,
    emitted,
    merges,
)
from cnncc.ir import Graph, Node
from cnncc.lang.forms import form_of
from cnncc.ops import traits
from cnncc.ops.traits import Kind

LONGEST = 8
"""Ops in one statement."""


def tree(graph: Graph, deepest: int, apart: bool = False) -> Sequence:
    """The statements of a graph, without those for its inputs. Every node is in them once.

    A value that arms cannot hold together has a name. It is made where it is needed first, or in a line of its own if
    that is more than `deepest` arms deep. With `apart` a merge of values with names has a name and a line as well,
    where it would be in an arm of another."""
    planner = Planner(graph)
    named = planner.entangled()
    lines: set[str] = set()
    while apart and (more := planner.gathered(named) - named):
        named |= more
        lines |= more
    while True:
        statements, deep = planner.program(named, lines, deepest)
        repeated = [name for name, count in Counter(emitted(statements)).items() if count > 1]
        more = {name for name in repeated if graph.uses(name) > 1} | planner.deep
        if more <= named and deep <= lines:
            return statements
        named |= more
        lines |= deep


class Planner:
    """Knows which values dominate which."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.position = {n.name: i for i, n in enumerate(graph.nodes)}
        self.deep: set[str] = set()
        """Values that would be too deep in arms of arms: they get names."""
        self.fixed = fixed(graph)
        flow = flow_of(graph)
        self.before = immediate_dominators(flow)
        self.after = immediate_dominators(turned(flow))

    def entangled(self) -> set[str]:
        """Values that arms of one merge cannot hold together: they need a name."""
        graph = self.graph
        found = set(graph.outputs) if len(graph.outputs) > 1 else set()
        for node in graph.nodes:
            if graph.uses(node.name) + (node.name in graph.outputs) < 2 or node.name in self.fixed:
                continue
            end = self.after.get(node.name, SINK)
            if end == SINK or self.before[end] != node.name:
                found.add(node.name)
        found |= {name for name in self.fixed if graph.uses(name) > 1}
        return {name for name in found if traits(graph[name]).kind is not Kind.INPUT}

    def gathered(self, named: set[str]) -> set[str]:
        """Merges in arms, with what follows them, all of whose own arms start from values with names."""
        parts = self.parts(named, named | {n.name for n in self.graph.inputs})
        inner = (arm for top in parts.values() for s in top if isinstance(s, Joined) for arm in s.arms)
        return {s.nodes[-1] for arm in inner for s in merges(arm) if all(starts_from_name(arm) for arm in s.arms)}

    def program(self, named: set[str], lines: set[str], deepest: int) -> tuple[Sequence, set[str]]:
        """The top level: values that have `lines` of their own one after the other, then the last output. And the
        values that should have one as well."""
        graph = self.graph
        inputs = [n.name for n in graph.inputs]
        parts = self.parts(named, named | set(inputs))
        layout = Placing(parts, inputs, deepest)
        current = inputs[-1] if inputs else None
        outputs = Outputs(graph, current)
        result: list[Statement] = outputs.after(current)
        for goal in sorted(parts.keys() & {*lines, *graph.outputs}, key=self.position.__getitem__):
            result += layout.placed(parts[goal], current)
            current = goal
            if goal in named:
                layout.made.add(goal)
                result.append(Save(goal))
            result += outputs.after(goal)
        return self.joined(without_idle(result)), layout.deep

    def joined(self, sequence: Sequence) -> tuple[Statement, ...]:
        """The sequence with ops in the statement before them, where they may follow; here and in arms."""
        found: list[Statement] = []
        for statement in sequence:
            if isinstance(statement, Joined):
                statement = replace(statement, arms=tuple(map(self.joined, statement.arms)))
            last = found[-1] if found else None
            if isinstance(last, Chain | Joined) and isinstance(statement, Chain) and self.fits(last, statement):
                found[-1] = replace(last, nodes=(*last.nodes, *statement.nodes))
            else:
                found.append(statement)
        return tuple(found)

    def fits(self, last: Chain | Joined, then: Chain) -> bool:
        """Whether all the ops of a chain may follow in the statement before it."""
        first = self.graph[then.nodes[0]]
        if not chains(first) or len(last.nodes) + len(then.nodes) > LONGEST:
            return False
        return first.inputs == last.nodes[-1:] and self.follows(first)

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
        return self.follows(node)

    def follows(self, node: Node) -> bool:
        """Whether an op may stand behind the one that makes its value."""
        before, kinds = self.graph[node.inputs[0]], form_of(node).after
        return form_of(before).leads if kinds is None else traits(before).kind in kinds

    def statement(
        self, node: Node, nodes: tuple[str, ...], stops: set[str], depth: int
    ) -> tuple[Statement, str | None]:
        """A statement, and the value it starts from, None if it starts from none."""
        if not form_of(node).arms:
            return Chain(nodes), node.inputs[0] if node.inputs else None
        live = [i for i in node.inputs if i not in self.fixed]
        start = self.before[node.name] if live else None
        if start == SOURCE:
            start = None
        arms = tuple(self.sequence(None if i in self.fixed else start, i, stops, depth + 1) for i in node.inputs)
        return Joined(arms, nodes), start


def starts_from_name(arm: Sequence) -> bool:
    return bool(arm) and isinstance(arm[0], From)


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


def chains(node: Node) -> bool:
    """Whether an op may follow another in the same statement."""
    return form_of(node).chains
