"""What each step adds to the arena and until when, whatever the order in which the steps run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cnncc.ir.graph import Graph, Node
from cnncc.passes.alias_values import Aliases, alias_values, elementwise_inputs, image_bytes, is_normalized

StepSet = int
"""Steps as the bits of an integer, by position in the graph."""


class StepNeeds:
    """The memory of a graph with layouts, step by step. Arms of a concat count for themselves, and the concat for what
    it copies; so what is alive depends only on which steps are done, not on their order."""

    def __init__(self, g: Graph, align: int) -> None:
        self.g = g
        self.align = align
        self.step = {n.name: i for i, n in enumerate(g.nodes)}
        self.aliases: Aliases = alias_values(g)
        self.bytes = [self._own_bytes(n) for n in g.nodes]
        """Bytes of the arena that a step writes first."""
        self.holders = self._all_holders()
        """The steps that must be done before these bytes are free."""
        self.frees: list[list[int]] = [[] for _ in g.nodes]
        """The values whose bytes a step may free."""
        for value, holders in enumerate(self.holders):
            for step in bits(holders | 1 << value):
                self.frees[step].append(value)
        self.before = self._before()
        """The steps that must be done before a step."""
        self.idle = [self._is_idle(n) for n in g.nodes]
        """Whether a step takes neither memory nor time."""
        self._replaceable = [self._replaced_by(n) for n in g.nodes]

    def freed(self, done: StepSet, step: int) -> int:
        """Bytes that are free once `step` is done, too."""
        after = done | 1 << step
        return sum(self.bytes[v] for v in self.frees[step] if not self.holders[v] & ~after)

    def added(self, done: StepSet, step: int) -> int:
        """Bytes that the step needs besides what is alive: none where it may overwrite an input."""
        after = done | 1 << step
        if any(not holders & ~after for holders in self._replaceable[step]):
            return 0
        return self.bytes[step]

    def least(self) -> int:
        """What some step needs for its operands and its result alone, in any order."""
        return max((self._alone(i) for i in range(len(self.bytes))), default=0)

    def _alone(self, step: int) -> int:
        """A result in place of an input needs as much as the input: nothing is added for it."""
        operands = {v for name in self.g.nodes[step].inputs for v in self._memory_of(name)}
        own = 0 if self._replaceable[step] else self.bytes[step]
        return own + sum(self.bytes[v] for v in operands - {step})

    def _memory_of(self, name: str) -> Iterator[int]:
        """The steps that wrote what a value consists of."""
        node = self.g[name]
        parts = [i for i in node.inputs if self.aliases.placed.get(i) == name] if node.op == "concat" else []
        if name in self.aliases.views:
            parts = list(node.inputs[:1])
        yield self.step[name]
        for part in parts:
            yield from self._memory_of(part)

    def _own_bytes(self, node: Node) -> int:
        aliases = self.aliases
        if node.name in aliases.views or aliases.storages[aliases.place[node.name][0]].kind != "arena":
            return 0
        arms = {i for i in node.inputs if aliases.placed.get(i) == node.name}
        size = image_bytes(node.type) - sum(image_bytes(self.g[i].type) for i in arms)
        return -(-max(0, size) * node.type.shape[0] // self.align) * self.align

    def _all_holders(self) -> list[StepSet]:
        """Readers of each value, of views of it, and of the concat it is an arm of."""
        found = [0] * len(self.g.nodes)
        for step, node in reversed(list(enumerate(self.g.nodes))):
            for user in self.g.users(node.name):
                reader = self.step[user.name]
                view = user.name in self.aliases.views
                found[step] |= 0 if view else 1 << reader
                if view or self.aliases.placed.get(node.name) == user.name:
                    found[step] |= found[reader]
        return found

    def _before(self) -> list[StepSet]:
        """Inputs keep their order: it is that of the caller's parameters."""
        before = [sum({1 << self.step[i] for i in n.inputs}) for n in self.g.nodes]
        inputs = [self.step[n.name] for n in self.g.inputs]
        for earlier, later in pairwise(inputs):
            before[later] |= 1 << earlier
        return before

    def _is_idle(self, node: Node) -> bool:
        given = node.op == "const" or (node.op == "input" and not is_normalized(node))
        whole = node.op == "concat" and node.name not in self.aliases.copies
        return given or whole or node.name in self.aliases.views

    def _replaced_by(self, node: Node) -> list[StepSet]:
        """For each input that the step could overwrite: the steps that must be done then."""
        if node.name in self.aliases.placed or node.name in self.g.outputs or not self.bytes[self.step[node.name]]:
            return []
        found = []
        for name in elementwise_inputs(node):
            memory = list(self._memory_of(name))
            if self.g[name].type == node.type and name not in self.aliases.placed and self.bytes_of(memory):
                found.append(self._union(memory))
        return found

    def bytes_of(self, values: list[int]) -> int:
        """Bytes of the arena that the values take together."""
        return sum(self.bytes[v] for v in values)

    def _union(self, values: list[int]) -> StepSet:
        holders = 0
        for v in values:
            holders |= self.holders[v]
        return holders


def bits(steps: StepSet) -> Iterator[int]:
    """The steps of a set, in order."""
    while steps:
        low = steps & -steps
        yield low.bit_length() - 1
        steps ^= low
