"""Runs a plan with symbols instead of numbers: every word written has an identity, and every read must find it.

It knows nothing of how the planner thinks: only placements, copies, and what each op moves.
"""

from __future__ import annotations

import math

import numpy as np

from cnncc.ir import Graph, Node
from cnncc.ir.rules import extra_inputs
from cnncc.ops import ACTIVATIONS, TABLE
from cnncc.ops.quantize import is_computed
from cnncc.ops.traits import Kind
from cnncc.plan import ArenaPlan
from cnncc.plan.homes import Home, InArena, InConstant, InInput, InOutput

WORD = 1
"""Bytes that have one identity: as many as the smallest number."""

MERGES = {name for name, op in TABLE.items() if op.traits.kind is Kind.MERGE}


class Simulator:
    """Memory of one run. `values` are the words each value should have, as (image, word)."""

    def __init__(self, g: Graph, plan: ArenaPlan) -> None:
        self.g = g
        self.plan = plan
        self.values: dict[str, np.ndarray] = {}
        self.fresh = 1
        self.filled: set[str] = set()
        """Arms whose last block now has channels of the next arm."""
        self.arena = words(plan.bytes)
        self.buffers: dict[Home, np.ndarray] = {}
        for i, node in enumerate(g.inputs):
            self.buffers[InInput(i)] = words(node.type.nbytes)
        for i, name in enumerate(g.outputs):
            self.buffers[InOutput(i)] = words(g[name].type.nbytes)
        for node in g.nodes:
            if node.op == "const":
                self.buffers[InConstant(node.name)] = words(node.type.nbytes)

    def run(self) -> None:
        """All steps, then a look at the caller's output buffers."""
        for node in self.g.nodes:
            self.step(node)
        for i, name in enumerate(self.g.outputs):
            placement = self.plan.placements[name]
            assert (placement.home, placement.inner) == (InOutput(i), 0), name
            assert np.array_equal(self.buffers[InOutput(i)], self.values[name].ravel()), name

    def check_all(self) -> None:
        """Every value can still be read (plans without reuse)."""
        for name in self.values.keys() - self.filled:
            self.expect(name, "after the run")

    def step(self, node: Node) -> None:
        placement = self.plan.placements[node.name]
        if placement.view:
            self.values[node.name] = self.part(node)
            self.expect(node.name, "view")
        elif node.op == "concat" and self.whole(node):
            self.concat(node)
        elif node.op == "concat":
            self.ragged(node)
        else:
            self.compute(node)

    def part(self, node: Node) -> np.ndarray:
        source = self.values[node.inputs[0]]
        start = node.attrs["start"] * channel_words(node) if node.op == "slice" else 0
        return source[:, start : start + node.type.nbytes // node.type.shape[0] // WORD]

    def whole(self, concat: Node) -> bool:
        """Whether all arms but the last are whole blocks: the concat is then its arms, one after the other."""
        return all(self.g[i].type.shape[1] % concat.type.block == 0 for i in concat.inputs[:-1])

    def concat(self, node: Node) -> None:
        n = node.type.shape[0]
        arms = [np.broadcast_to(self.values[i], (n, self.values[i].shape[1])) for i in node.inputs]
        self.values[node.name] = np.concatenate(arms, axis=1)
        starts = np.cumsum([0, *(a.shape[1] for a in arms)])
        for position in self.plan.copies.get(node.name, ()):
            self.expect(node.inputs[position], f"copied by {node.name}")
            for image in range(n):
                place = self.window(node.name, image)
                place[starts[position] : starts[position + 1]] = arms[position][image]
        self.expect(node.name, "its arms")

    def ragged(self, node: Node) -> None:
        """A concat of arms some of which share a block: arms that lie in their places stay there but for what they
        have of a block that others are copied into."""
        n, channels, *_ = node.type.shape
        size, block, stop = node.type.nbytes // n // WORD, node.type.block, 0
        value = np.arange(self.fresh, self.fresh + n * size).reshape(n, -1)
        self.fresh += n * size
        for position, name in enumerate(node.inputs):
            self.expect(name, f"joined by {node.name}")
            start, stop = stop, stop + self.g[name].type.shape[1]
            if position not in self.plan.copies[node.name]:
                assert start % block == 0, f"{name} starts inside a block"
                whole = -(-stop // block) if stop == channels else stop // block
                words = (whole * block - start) * channel_words(node)
                first = start * channel_words(node)
                value[:, first : first + words] = self.values[name][:, :words]
                self.filled |= {name} if words < self.values[name].shape[1] else set()
        for image in range(n):
            self.write(node, image, value[image])
        self.values[node.name] = value

    def compute(self, node: Node) -> None:
        """Image by image: read all inputs, write the result, which may only overlap what it is computed in place of."""
        n, size = node.type.shape[0], node.type.nbytes // WORD
        value = np.arange(self.fresh, self.fresh + size).reshape(n, -1)
        self.fresh += size
        for image in range(n):
            for position, name in enumerate(node.inputs):
                self.expect_image(name, min(image, self.g[name].type.shape[0] - 1), f"read by {node.name}")
                self.check_overlap(node, position)
            self.write(node, image, value[image])
        self.values[node.name] = value

    def write(self, node: Node, image: int, value: np.ndarray) -> None:
        home = self.plan.placements[node.name].home
        scaled = is_computed(self.g, node)
        given = {"input": InInput, "const": InConstant}.get(node.op) if not scaled else None
        if node.name in self.g.outputs:
            assert isinstance(home, InOutput)
        else:
            assert isinstance(home, given or InArena | InOutput), node.name
        self.window(node.name, image)[:] = value

    def check_overlap(self, node: Node, position: int) -> None:
        source = node.inputs[position]
        if not np.shares_memory(self.window(source, 0), self.window(node.name, 0)):
            return
        placement = self.plan.placements[node.name]
        elementwise = node.op in MERGES | ACTIVATIONS | {"bn", "prelu", "scale"}
        assert placement.in_place, node.name
        assert elementwise or position >= len(node.inputs) - extra_inputs(node.attrs)
        assert self.g[source].type == node.type
        for field in ("offset", "inner", "image_stride"):
            assert getattr(self.plan.placements[source], field) == getattr(placement, field)

    def window(self, name: str, image: int) -> np.ndarray:
        """The words of one image of a value, in the buffer it lives in."""
        placement, type = self.plan.placements[name], self.g[name].type
        buffer = self.arena if isinstance(placement.home, InArena) else self.buffers[placement.home]
        start = placement.offset + placement.inner + image * placement.image_stride
        size = type.nbytes // type.shape[0]
        assert start % WORD == 0
        assert 0 <= start <= start + size <= buffer.size * WORD, f"{name} leaves its buffer"
        return buffer[start // WORD : (start + size) // WORD]

    def expect(self, name: str, why: str) -> None:
        for image in range(self.g[name].type.shape[0]):
            self.expect_image(name, image, why)

    def expect_image(self, name: str, image: int, why: str) -> None:
        found = self.window(name, image)
        assert np.array_equal(found, self.values[name][image]), f"{name}, {why}: overwritten"


def channel_words(node: Node) -> int:
    """Words of one channel of one image."""
    return node.type.element.bytes(math.prod(node.type.shape[2:])) // WORD


def words(nbytes: int) -> np.ndarray:
    """An identity for each word of a buffer."""
    return np.zeros(nbytes // WORD, dtype=np.int64)


def simulate(g: Graph, plan: ArenaPlan, keeps_all: bool = False) -> None:
    """Run the plan; with `keeps_all` every value must survive."""
    assert plan.bytes >= plan.bound
    assert plan.placements.keys() == g.by_name.keys()
    simulator = Simulator(g, plan)
    simulator.run()
    if keeps_all:
        simulator.check_all()
