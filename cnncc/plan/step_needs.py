"""How many bytes each step adds to the arena, and which steps must be done before they are free. Neither depends on the
order of the steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

from cnncc.ir.graph import Graph, Node
from cnncc.ops import traits
from cnncc.ops.quantize import is_computed
from cnncc.ops.traits import Kind
from cnncc.plan.alias_values import Aliases, alias_values, elementwise_inputs, image_bytes
from cnncc.plan.homes import InArena
from cnncc.plan.parts import Parts

StepSet = int
"""A set of steps: bit i of the integer is the step at position i of the graph."""


class StepNeeds:
    """The memory that each step of a graph with layouts needs.

    An arm that is written inside its concat counts its own bytes, and the concat counts only the bytes that it copies.
    So the live bytes depend on the set of finished steps, and not on their order."""

    def __init__(self, g: Graph, align: int) -> None:
        self.g = g
        self.align = align
        self.step = {n.name: i for i, n in enumerate(g.nodes)}
        self.aliases: Aliases = alias_values(g)
        self.bytes = [self._own_bytes(n) for n in g.nodes]
        """Bytes of the arena that each step is the first to write."""
        self._whole = self._all_wholes()
        self._parts = Parts([self.step.get(self.aliases.placed.get(n.name, ""), -1) for n in g.nodes], self.bytes)
        self._replaceable = [self._replaced_by(n) for n in g.nodes]
        """For each step, the inputs that its result could overwrite. Each is given by the step that wrote the whole of
        it."""

    def least(self) -> int:
        """The most bytes that one step needs for its operands and its result: no order needs less."""
        return max((self._alone(i) for i in range(len(self.bytes))), default=0)

    def pairs(self) -> int:
        """How many pairs there are of a value and a step that must be done before the value's bytes are free."""
        return sum(holders.bit_count() for holders in self.holders)

    def freed(self, done: StepSet, step: int) -> int:
        """Bytes that become free when `step` is done after the steps of `done`."""
        after = done | 1 << step
        return sum(self.bytes[v] for v in self.frees[step] if not self.holders[v] & ~after)

    def added(self, done: StepSet, step: int) -> int:
        """Bytes that the step needs besides those that are alive: none if it may overwrite an input."""
        after = done | 1 << step
        if any(not self._holders_of_parts[v] & ~after for v in self._replaceable[step]):
            return 0
        return self.bytes[step]

    @cached_property
    def holders(self) -> list[StepSet]:
        """For each value, the steps that must be done before its bytes are free: those that read it, a view of it, or
        the concat that it is an arm of."""
        found = [0] * len(self.g.nodes)
        for step, node in reversed(list(enumerate(self.g.nodes))):
            for user in self.g.users(node.name):
                reader = self.step[user.name]
                view = user.name in self.aliases.views
                found[step] |= 0 if view else 1 << reader
                if view or self.aliases.placed.get(node.name) == user.name:
                    found[step] |= found[reader]
        return found

    @cached_property
    def frees(self) -> list[list[int]]:
        """For each step, the values whose bytes may become free when it is done; only values that have bytes."""
        found: list[list[int]] = [[] for _ in self.g.nodes]
        for value, holders in enumerate(self.holders):
            if self.bytes[value]:
                for step in bits(holders | 1 << value):
                    found[step].append(value)
        return found

    @cached_property
    def before(self) -> list[StepSet]:
        """For each step, the steps that must be done before it. Inputs keep their order, which is that of the caller's
        parameters."""
        before = [sum({1 << self.step[i] for i in n.inputs}) for n in self.g.nodes]
        inputs = [self.step[n.name] for n in self.g.inputs]
        for earlier, later in pairwise(inputs):
            before[later] |= 1 << earlier
        return before

    @cached_property
    def idle(self) -> list[bool]:
        """For each step, whether it takes neither memory nor time."""
        return [self._is_idle(n) for n in self.g.nodes]

    def _alone(self, step: int) -> int:
        """Bytes of the operands and the result of a step. A result that can overwrite an input adds none."""
        operands = {self._whole[name] for name in self.g.nodes[step].inputs}
        own = 0 if self._replaceable[step] else self.bytes[step]
        return own + self._parts.bytes_of(operands)

    def _all_wholes(self) -> dict[str, int]:
        """For each value, the step that wrote it. A view writes nothing, so it has the step of the value that it is a
        part of."""
        found: dict[str, int] = {}
        for step, node in enumerate(self.g.nodes):
            found[node.name] = found[node.inputs[0]] if node.name in self.aliases.views else step
        return found

    def _own_bytes(self, node: Node) -> int:
        aliases = self.aliases
        if node.name in aliases.views or not isinstance(aliases.storages[aliases.place[node.name][0]].home, InArena):
            return 0
        arms = {i for i in node.inputs if aliases.placed.get(i) == node.name}
        size = image_bytes(node.type) - sum(image_bytes(self.g[i].type) for i in arms)
        return -(-max(0, size) * node.type.shape[0] // self.align) * self.align

    def _is_idle(self, node: Node) -> bool:
        kind = traits(node).kind
        given = kind is Kind.CONSTANT or (kind is Kind.INPUT and not is_computed(self.g, node))
        whole = kind is Kind.CONCAT and node.name not in self.aliases.copies
        return given or whole or node.name in self.aliases.views

    def _replaced_by(self, node: Node) -> list[int]:
        if node.name in self.aliases.placed or self.g.is_output(node.name) or not self.bytes[self.step[node.name]]:
            return []
        fitting = (n for n in elementwise_inputs(node) if self.g[n].type == node.type and n not in self.aliases.placed)
        wholes = dict.fromkeys(self._whole[name] for name in fitting)
        return [step for step in wholes if self._parts.bytes_of([step])]

    @cached_property
    def _holders_of_parts(self) -> list[StepSet]:
        """For each value, the steps that must be done before its bytes and those of all its arms are free."""
        found = self.holders.copy()
        for step, node in enumerate(self.g.nodes):
            for arm in node.inputs:
                if self.aliases.placed.get(arm) == node.name:
                    found[step] |= found[self.step[arm]]
        return found


def bits(steps: StepSet) -> Iterator[int]:
    """The steps of a set, in order."""
    while steps:
        low = steps & -steps
        yield low.bit_length() - 1
        steps ^= low
