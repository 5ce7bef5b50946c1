"""The graph: values, not objects that change. A pass returns a new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import networkx as nx

from cnncc.errors import Span
from cnncc.ir.types import Constant, TensorType


@dataclass(frozen=True)
class Node:
    """One operation with one result. The name identifies the *value*: a pass that fuses or rewrites keeps the name
    of the value it still computes, so results can be compared by name before and after any pass.

    `inputs` are node names in argument order (the truth; the NetworkX index is derived from it).
    `weights` maps a slot of the op (`weight`, `bias`, ...) to the name of a constant of the graph.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    type: TensorType
    attrs: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    span: Span | None = field(default=None, compare=False)
    stack: tuple[tuple[str, Span], ...] = field(default=(), compare=False)

    def with_(self, **changes: Any) -> Node:
        return replace(self, **changes)


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph of nodes in topological order. Graph inputs are nodes with op `input`."""

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    """The values that are given back; one may be there several times, and an input too."""
    constants: Mapping[str, Constant] = field(default_factory=dict, compare=False)
    ports: tuple[str, ...] = ()
    """The names that the network gives its outputs, "" for those it does not name. Passes keep them, whatever becomes
    of the values."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ports", self.ports or ("",) * len(self.outputs))

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {n.name: n for n in self.nodes}

    @cached_property
    def index(self) -> nx.MultiDiGraph:
        """NetworkX view: one edge per use, `key` is the argument position (a DiGraph would merge x + x)."""
        g = nx.MultiDiGraph(name=self.name)
        g.add_nodes_from(n.name for n in self.nodes)
        g.add_edges_from((src, n.name, i) for n in self.nodes for i, src in enumerate(n.inputs))
        return g

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(n for n in self.nodes if n.op == "input")

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each output of a source graph is called: by the name it was given, else by that of its value."""
        return tuple(port or value for port, value in zip(self.ports, self.outputs, strict=True))

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    @cached_property
    def _users(self) -> Mapping[str, tuple[Node, ...]]:
        order = {n.name: i for i, n in enumerate(self.nodes)}
        return {
            n.name: tuple(self.by_name[u] for u in sorted(set(self.index.successors(n.name)), key=order.__getitem__))
            for n in self.nodes
        }

    def users(self, name: str) -> tuple[Node, ...]:
        """Distinct nodes that read `name`, in topological order (being a graph output is not counted)."""
        return self._users[name]

    def is_private(self, name: str) -> bool:
        """Whether exactly one node reads the value, once, and it is not a graph output: then it may be fused away."""
        return self.index.out_degree(name) == 1 and name not in self.outputs

    def rebuild(
        self,
        nodes: Iterable[Node],
        outputs: Iterable[str] | None = None,
        constants: Mapping[str, Constant] | None = None,
    ) -> Graph:
        """A graph of the given nodes: sorted topologically (ties in the given order), what no output needs and
        constants nobody reads left out. Graph inputs always stay; outputs keep their names, if there are as many as
        before."""
        listed = list(nodes)
        position = {n.name: i for i, n in enumerate(listed)}
        by_name = {n.name: n for n in listed}
        outs = tuple(self.outputs if outputs is None else outputs)
        index = nx.DiGraph()
        index.add_nodes_from(by_name)
        index.add_edges_from((src, n.name) for n in listed for src in n.inputs)
        needed = set(outs).union(*(nx.ancestors(index, o) for o in outs))
        keep = [n for n in nx.lexicographical_topological_sort(index, key=position.__getitem__)
                if n in needed or by_name[n].op == "input"]  # fmt: skip
        kept = tuple(by_name[n] for n in keep)
        pool = {**self.constants, **(constants or {})}
        used = {c: pool[c] for n in kept for c in n.weights.values() if c in pool}
        return Graph(self.name, kept, outs, used, self.ports if len(outs) == len(self.ports) else ())

    def replaced(
        self,
        updates: Mapping[str, Node | None],
        rename: Mapping[str, str] | None = None,
        added: Iterable[Node] = (),
        constants: Mapping[str, Constant] | None = None,
    ) -> Graph:
        """The usual rewrite: `updates` gives a new node for a name, or None to drop it; `rename` redirects readers
        (and graph outputs) of a dropped value to another one; `added` are new nodes."""
        redirect = dict(rename or {})

        def final(name: str) -> str:
            while name in redirect:
                name = redirect[name]
            return name

        nodes = [updates.get(n.name, n) for n in self.nodes]
        alive = [n for n in (*nodes, *added) if n is not None]
        wired = [n.with_(inputs=tuple(map(final, n.inputs))) for n in alive]
        return self.rebuild(wired, map(final, self.outputs), constants)
