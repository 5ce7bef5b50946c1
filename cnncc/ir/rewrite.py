"""The one driver of all rewrites: a rule looks at a node and says what takes its place, until no rule says anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from heapq import heappop, heappush
from typing import Any

from cnncc.ir.draft import Draft
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import Constant
from cnncc.ir.verify import VerifyError

MOST_CHANGES = 50
"""Changes for each node of the graph: with more, two rules undo each other."""


@dataclass(frozen=True)
class Change:
    """What takes the place of what a rule has found. It takes effect at once: the next rule sees the new nodes."""

    nodes: tuple[Node, ...] = ()
    """Each replaces the node of its name. One of a new name is added; it comes before those that read it."""
    constants: Mapping[str, Constant] = field(default_factory=dict)
    """New constants, or new values for old names."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Who reads the first value reads the second instead. The first is no output of the graph; its node goes away."""


Act = Callable[[Draft, Node], Change | None]


@dataclass(frozen=True)
class Rule:
    """A named function `Draft, Node -> Change | None`. The first line of its docstring is the equation, the third says
    when it must not fire."""

    act: Act
    ops: frozenset[str]
    """The ops of nodes that it is asked about; empty for all."""

    @property
    def name(self) -> str:
        return self.act.__name__

    @property
    def doc(self) -> str:
        return self.act.__doc__ or ""

    def __call__(self, g: Draft, node: Node) -> Change | None:
        return self.act(g, node)


def rule(*ops: str) -> Callable[[Act], Rule]:
    """Makes a function a rule for nodes of these ops; of all ops if none is named."""
    return lambda act: Rule(act, frozenset(ops))


def rewrite(g: Graph, rules: Sequence[Rule], close: float = 0.0) -> Graph:
    """The graph after all rules, applied until none fires; `g` itself if none ever did. `close` is `Draft.close`.

    Nodes are visited in topological order, and the first rule that fires at a node wins. After a change its nodes and
    their readers are visited again; when no visit is left and something has changed, all nodes are. The time is that
    of a few visits of each node. What no output needs any more goes away; names of values, spans and constants stay.
    Raises VerifyError if the rules never come to an end.
    """
    draft = Draft(g, close)
    left = MOST_CHANGES * (len(g.nodes) + 1)
    of = _by_op(rules)
    total = 0
    while changes := _sweep(draft, of, left - total):
        total += changes
    return draft.graph() if total else g


def _by_op(rules: Sequence[Rule]) -> Callable[[str], tuple[Rule, ...]]:
    return cache(lambda op: tuple(r for r in rules if not r.ops or op in r.ops))


def _sweep(draft: Draft, rules: Callable[[str], tuple[Rule, ...]], most: int) -> int:
    """One visit of each node in order, and more of those that changes concern; how many changes there were."""
    waiting = [draft.position(name) for name in draft]  # in order, so a heap
    queued, changes = set(waiting), 0
    while waiting:
        position = heappop(waiting)
        queued.discard(position)
        node = draft.at(position)
        change = _first(rules(node.op), draft, node) if node else None
        if change is None or node is None:
            continue
        changes += 1
        if changes > most:
            raise VerifyError(f"node {node.name!r} ({node.op})", "rewrite", "its rules never come to an end", node)
        for again in {*map(draft.position, _applied(draft, change))} - queued:
            queued.add(again)
            heappush(waiting, again)
    return changes


def _first(rules: Iterable[Rule], draft: Draft, node: Node) -> Change | None:
    return next((change for r in rules if (change := r(draft, node)) is not None), None)


def _applied(draft: Draft, change: Change) -> set[str]:
    """Makes the change in the draft; names of the nodes that should be visited again."""
    draft.constants.update(change.constants)
    concerned: set[str] = set()
    for node in change.nodes:
        concerned |= draft.put(node)
    for old, new in change.instead.items():
        concerned |= draft.redirect(old, new)
    return concerned


def remade(node: Node, source: Node, **changes: Any) -> Node:
    """`source` computing the value of `node`: under its name, with its type."""
    return source.with_(name=node.name, type=node.type, **changes)


def arms(node: Node | None) -> tuple[tuple[str, str], ...]:
    """The two inputs of a merge in both orders; none if there are not two, or an epilogue follows."""
    if node is None or len(node.inputs) != 2 or node.attrs.get("epilogue"):
        return ()
    first, second = node.inputs
    return (first, second), (second, first)
