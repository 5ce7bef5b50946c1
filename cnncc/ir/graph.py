"""The graph: values, not objects that change. A pass returns a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from cnncc.base.errors import Span
from cnncc.ir.types import Constant, TensorType

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Node:
    """One operation with one result. The name identifies the *value*: a pass that fuses or rewrites keeps the name
    of the value it still computes, so results can be compared by name before and after any pass.

    `inputs` are node names in argument order.
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

    @property
    def is_input(self) -> bool:
        """Whether the caller gives the value."""
        return self.op == "input"

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
        """NetworkX view, for whoever wants its algorithms: one edge per use, `key` is the argument position (a DiGraph
        would merge x + x). It is imported when asked for: that takes a tenth of a warm compile."""
        import networkx as nx

        g = nx.MultiDiGraph(name=self.name)
        g.add_nodes_from(n.name for n in self.nodes)
        g.add_edges_from((src, n.name, i) for n in self.nodes for i, src in enumerate(n.inputs))
        return g

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(n for n in self.nodes if n.is_input)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each output of a source graph is called: by the name it was given, else by that of its value."""
        return tuple(port or value for port, value in zip(self.ports, self.outputs, strict=True))

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    @cached_property
    def _users(self) -> Mapping[str, tuple[Node, ...]]:
        users: dict[str, list[Node]] = {n.name: [] for n in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users[name].append(node)
        return {name: tuple(found) for name, found in users.items()}

    def users(self, name: str) -> tuple[Node, ...]:
        """Distinct nodes that read `name`, in topological order (being a graph output is not counted)."""
        return self._users[name]

    @cached_property
    def _outputs(self) -> frozenset[str]:
        return frozenset(self.outputs)

    @cached_property
    def _uses(self) -> Mapping[str, int]:
        return Counter(name for n in self.nodes for name in n.inputs)

    def uses(self, name: str) -> int:
        """How many arguments of nodes a value is (being a graph output is not counted)."""
        return self._uses[name]

    def ancestors(self, name: str) -> set[str]:
        """The values that a value is computed from, itself not among them."""
        return _ancestors(self.by_name, self[name].inputs)

    def is_output(self, name: str) -> bool:
        """Whether the value is an output of the graph."""
        return name in self._outputs

    def is_private(self, name: str) -> bool:
        """Whether exactly one node reads the value, once, and it is not a graph output: then it may be fused away."""
        return self._uses[name] == 1 and not self.is_output(name)

    @cached_property
    def shared(self) -> frozenset[str]:
        """Values that depend on no input: all images of a batch have them in common."""
        found: set[str] = set()
        for node in self.nodes:
            if not node.is_input and found.issuperset(node.inputs):
                found.add(node.name)
        return frozenset(found)

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
        outs = tuple(self.outputs if outputs is None else outputs)
        needed = _ancestors({n.name: n for n in listed}, outs)
        kept = tuple(n for n in _sorted(listed) if n.name in needed or n.is_input)
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


def _ancestors(by_name: Mapping[str, Node], outputs: Iterable[str]) -> set[str]:
    """The outputs and all that they are computed from."""
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += by_name[name].inputs
    return found


def _sorted(nodes: Sequence[Node]) -> Iterator[Node]:
    """Topologically; of those that could come next, the first of the given order."""
    position = {n.name: i for i, n in enumerate(nodes)}
    missing = [len(set(n.inputs)) for n in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        for name in set(node.inputs):
            readers[position[name]].append(i)
    ready = [i for i, count in enumerate(missing) if not count]
    while ready:
        i = heappop(ready)
        yield nodes[i]
        for reader in readers[i]:
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, reader)
    assert not any(missing), "a node reads what is computed from it"
