"""A graph while rules rewrite it: questions and changes take time for what they concern, not for the whole graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cnncc.ir.graph import Graph, Node


class Draft:
    """The nodes as they are now. It answers what `Graph` does; only the driver in `cnncc.ir.rewrite` changes it.

    A node stays at the place of the one it replaces; nodes of new names come last.
    """

    def __init__(self, g: Graph, close: float = 0.0) -> None:
        self._source = g
        self.close = close
        """Relative difference up to which a number may be taken for that of a definition, such as 1/6 in hard_swish.
        With 0 both must be one float32. Files of others have such numbers with few digits."""
        self.constants = dict(g.constants)
        """By name, those that no node reads any more too."""
        self._nodes: dict[str, Node] = {}
        self._names: list[str] = []
        """By position; a name that is gone keeps its position, so it is never given again."""
        self._positions: dict[str, int] = {}
        self._readers: dict[str, Counter[str]] = {}
        """Who reads a value, and how many times."""
        self._constant_uses: Counter[str] = Counter()
        self._instead: dict[str, str] = {}
        """Names that are gone, and what is read instead."""
        self._stale: set[str] = set()
        """Nodes that still have such a name among their inputs: they are rewired once, when somebody asks for them."""
        for node in g.nodes:
            self._insert(node)

    def __iter__(self) -> Iterator[str]:
        """Names of all nodes, by position."""
        return iter(self._nodes)

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> Node:
        if name in self._stale:
            self._stale.discard(name)
            node = self._nodes[name]
            self._nodes[name] = node.with_(inputs=tuple(map(self._final, node.inputs)))
        return self._nodes[name]

    def position(self, name: str) -> int:
        """The place of a node: topological in the graph at the beginning."""
        return self._positions[name]

    def at(self, position: int) -> Node | None:
        """The node there, unless it is gone."""
        name = self._names[position]
        return self[name] if name in self._nodes else None

    def users(self, name: str) -> tuple[Node, ...]:
        """Distinct nodes that read `name`, by position (being a graph output is not counted)."""
        return tuple(self[n] for n in sorted(self._readers[name], key=self.position))

    def is_output(self, name: str) -> bool:
        """Whether the value is an output of the graph."""
        return self._source.is_output(name)

    def is_private(self, name: str) -> bool:
        """Whether exactly one node reads the value, once, and it is not a graph output: then it may be fused away."""
        readers = self._readers[name]
        return len(readers) == 1 and readers.total() == 1 and not self.is_output(name)

    def is_shared(self, name: str) -> bool:
        """Whether the value depends on no input: all images of a batch have it in common."""
        if name in self._source.by_name:  # a rewrite changes no value
            return name in self._source.shared
        return all(map(self.is_shared, self[name].inputs))

    def constant_uses(self, name: str) -> int:
        """How many slots of nodes hold the constant."""
        return self._constant_uses[name]

    def made_by(self, name: str, *ops: str) -> Node | None:
        """The node of that name if it is of one of the ops and has no epilogue."""
        node = self[name]
        return node if node.op in ops and not node.attrs.get("epilogue") else None

    def private(self, name: str, *ops: str) -> Node | None:
        """The node of that name if it is of one of the ops, only one node reads it, and it has no epilogue."""
        return self.made_by(name, *ops) if self.is_private(name) else None

    def chain(self, name: str, *ops: str) -> tuple[Node, ...]:
        """The nodes of a value op1(op2(...)), the last op first, each private as above; () if it is not computed so."""
        found: list[Node] = []
        for op in ops:
            node = self.private(name, op)
            if node is None:
                return ()
            found.append(node)
            name = node.inputs[0] if node.inputs else name
        return tuple(found)

    def free_name(self, name: str) -> str:
        """The name, or the first with `_` behind it that no node and no constant has or had."""
        while name in self._positions or name in self.constants:
            name += "_"
        return name

    def graph(self) -> Graph:
        """The graph as it is now, sorted, without what no output needs."""
        return self._source.rebuild(map(self.__getitem__, self._nodes), constants=self.constants)

    def put(self, node: Node) -> set[str]:
        """Replaces the node of that name, or adds one; names of the nodes for which something changed: itself, its
        readers, and a reader that has become the only one of a value."""
        old = self[node.name] if node.name in self._nodes else None
        self._insert(node)
        return {node.name, *self._readers[node.name], *(self._release(old) if old else ())}

    def redirect(self, old: str, new: str) -> set[str]:
        """Lets the readers of a value, which is no output, read another one; its node goes away. Names as above."""
        assert not self.is_output(old), f"{old!r} is an output and keeps its name"
        readers, self._readers[old] = self._readers[old], Counter()
        self._readers[new].update(readers)
        self._instead[old] = new
        self._stale |= readers.keys()
        return {*readers, *(self._release(self._pop(old)) if old in self._nodes else ())}

    def _final(self, name: str) -> str:
        """What is read instead of a value by now."""
        while name in self._instead:
            name = self._instead[name]
        return name

    def _pop(self, name: str) -> Node:
        node = self[name]
        del self._nodes[name]
        return node

    def _insert(self, node: Node) -> None:
        """The node at its place, among the readers of its inputs and constants."""
        if node.name not in self._positions:
            self._positions[node.name] = len(self._names)
            self._names.append(node.name)
            self._readers[node.name] = Counter()
        else:
            assert node.name in self._nodes, f"{node.name!r} is gone, and another node has its name"
        self._nodes[node.name] = node
        for name in node.inputs:
            self._readers[name][node.name] += 1
        self._constant_uses.update(node.weights.values())

    def _release(self, node: Node) -> set[str]:
        """Takes a former node from the readers of its inputs; what nobody reads then goes away too. Names of nodes
        that are now the only reader of a value."""
        alone: set[str] = set()
        gone = [node]
        while gone:
            reader = gone.pop()
            self._constant_uses.subtract(reader.weights.values())
            for name in reader.inputs:
                left = self._readers[name]
                left[reader.name] -= 1
                if not left[reader.name]:
                    del left[reader.name]
                if len(left) == 1 and left.total() == 1:
                    alone |= left.keys()
                elif not left and name in self._nodes and not self._stays(name):
                    gone.append(self._pop(name))
        return {name for name in alone if name in self._nodes}

    def _stays(self, name: str) -> bool:
        return self.is_output(name) or self._nodes[name].is_input
