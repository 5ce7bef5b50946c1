"""How to make a random node of every op of the table, and graphs of any of them with random epilogues.

Attributes and inputs come from the op's own domains (`Op.tried`), so a new op needs nothing here. Only where inputs
have to be made of each other, it is a function in `SPECIAL`. A test fails where both are missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from graphs import (
    ANY,
    JUMPS,
    LATE_OPS,
    LAYERS_ON_BYTES,
    MERGES,
    POSITIVE,
    QUOTIENTS,
    STEPS,
    Builder,
    Draw,
    attributes,
    fits,
    integers,
    pictures,
)
from hypothesis import strategies as st

from cnncc.base.elements import ELEMENTS
from cnncc.ir import Graph, Node
from cnncc.ops import ACTIVATIONS, TABLE
from cnncc.ops.domains import Inputs

CHANNELS = (1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33)
"""Around the edges of blocks and register tiles."""
SIDES = (1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17)
ATTEMPTS = 30
"""To make a node that its shape rule accepts; the later half has an input of its own, of which little can be wrong."""
MOST_CHANNELS, MOST_VALUES = 80, 20_000
"""Of a value that further ops may read: graphs stay small."""
LATE = LATE_OPS
"""Ops that only a pass adds."""
WILD = frozenset({*POSITIVE, *STEPS})
"""Activations that need their values near, or jump: others may follow in any number and order."""


class Maker(Builder):
    """Adds nodes of a wanted op, each with inputs that suit it."""

    def pick(self, rank: int | None = None, fresh: bool = False) -> Node:
        """Some small value, or a new input."""
        fitting = [n for n in self.nodes if rank in (None, len(n.type.shape)) and small(n)]
        if fresh or not fitting:
            return self.image()
        return self.draw(st.sampled_from(fitting))

    def image(self) -> Node:
        """A new input of any size."""
        sides = self.draw(st.sampled_from(SIDES)), self.draw(st.sampled_from(SIDES))
        return self.input(self.draw(st.sampled_from(CHANNELS)), *sides)

    def input(self, *dims: int, **more: object) -> Node:
        """A new input of one size; its values are of either sign and around 1."""
        made = self.add("input", (), {"dims": dims, **more})
        assert made is not None, dims
        return made

    def of(self, op: str) -> Node:
        """A node of the op. AssertionError if the shape rule accepts nothing that the table here makes."""
        for attempt in range(ATTEMPTS):
            made = self.attempt(op, fresh=attempt >= ATTEMPTS // 2)
            if made is not None:
                return made
        raise AssertionError(f"{op}: its shape rule refuses all attributes that tests/graphs.py makes for it")

    def attempt(self, op: str, fresh: bool) -> Node | None:
        if op in SPECIAL:
            return SPECIAL[op](self, fresh)
        if op in (*POSITIVE, *QUOTIENTS):
            return positive(op, self, fresh)
        if op in (*STEPS, *JUMPS):
            return jump(op, self, fresh)
        if op in MERGES:
            return merge(op, self, fresh)
        source = self.pick(None if op in ANY else 4, fresh)
        if TABLE[op].tried.arms:
            return self.armed(op, source, lambda dims: self.input(*dims))
        return self.add(op, (source,), attributes(self.draw, op, source.type.shape))

    def epilogue(self, node: Node, most: int) -> Node:
        """Additions and activations after a node, which passes may make a part of it."""
        for _ in range(self.draw(integers(0, most))):
            step = self.draw(st.sampled_from(["add", *sorted(ACTIVATIONS - WILD)]))
            others = [n for n in self.nodes if n.type.shape == node.type.shape]
            inputs = (node, self.draw(st.sampled_from(others))) if step == "add" else (node,)
            attrs = attributes(self.draw, step, node.type.shape) if step != "add" else {}
            node = self.add(step, inputs, attrs) or node
        return node


How = Callable[[Maker, bool], Node | None]


def picture(make: Maker, fresh: bool) -> Node:
    """An input with mean, std and the words that say how pictures become it."""
    dims = (make.draw(st.sampled_from((1, 3, 8))), 6, 7)
    mean, std = tuple(i / 4 for i in range(dims[0])), tuple(i + 0.5 for i in range(dims[0]))
    return make.input(*dims, mean=mean, std=std, **pictures(make.draw, dims))


def positive(op: str, make: Maker, fresh: bool) -> Node | None:
    """On what a sigmoid gives: some of these have no value below 0, or one that grows without bounds."""
    source = make.pick(fresh=fresh)
    inner = make.add("sigmoid", (source,), {})
    return inner and make.of_positive(op, inner, source)


def jump(op: str, make: Maker, fresh: bool) -> Node | None:
    """Rounding, comparisons and the like, of any values. A comparison of a value with itself would be the same
    everywhere, of which a norm makes noise."""
    first = make.pick(4, fresh)
    return make.jump(op, first, [make.input(*first.type.shape[1:])] if op in JUMPS else [])


def merge(op: str, make: Maker, fresh: bool) -> Node | None:
    """Two or three values that fit each other."""
    first = make.pick(4, fresh)
    others = [n for n in make.nodes if fits(op, n.type.shape, first.type.shape) and small(n)]
    low, high = TABLE[op].arity
    rest = make.draw(st.lists(st.sampled_from(others), min_size=low - 1, max_size=2 if high is None else high - 1))
    return make.add(op, (first, *rest), {})


def unpool(make: Maker, fresh: bool) -> Node | None:
    """What a pool found, where it found it. Of windows that overlap, two may have found the same value."""
    source = make.pick(4, fresh)
    attrs = attributes(make.draw, "maxpool", source.type.shape)
    found, places = (make.add(op, (source,), attrs) for op in ("maxpool", "argmaxpool"))
    return found and places and make.add("unpool", (found, places), {"size": source.type.shape[2:]})


def nms(make: Maker, fresh: bool) -> Node | None:
    count, classes = make.draw(integers(1, 12)), make.draw(integers(1, 3))
    arms = (make.input(1, count, 4), make.input(1, classes, count))
    return make.add("nms", arms, {"most": make.draw(integers(1, 6)), "iou": make.draw(st.sampled_from([0.1, 0.5]))})


def numbers(make: Maker, fresh: bool) -> Node | None:
    """Quantised, moved and dequantised again: of what the caller passes, since a rounding error before would be a large
    one behind."""
    steps = make.stepped(make.image())
    op = make.draw(st.sampled_from(MOVES))
    moved = steps and make.add(op, (steps,), attributes(make.draw, op, steps.type.shape))
    return moved and make.add("dequantize", (moved,), {})


def cast(make: Maker, fresh: bool) -> Node | None:
    """To any type, moved if that can be, and back to float32."""
    there = make.add("cast", (make.image(),), {"to": make.draw(st.sampled_from(sorted(ELEMENTS)))})
    op = make.draw(st.sampled_from(MOVES))
    moved = there and make.add(op, (there,), attributes(make.draw, op, there.type.shape))
    return make.add("cast", (moved or there,), {"to": "float32"}) if there else None


def layer_on_bytes(op: str) -> How:
    """A layer on bytes of a new input, since a rounding error before them would be a large one behind; and an
    activation behind it, which may become a part of it."""

    def how(make: Maker, fresh: bool) -> Node | None:
        source = make.near(make.image())
        made = source and make.on_bytes(op, source)
        if made is None or made.type.is_float:
            return made
        bounded = make.add(make.draw(st.sampled_from(("relu", "relu6"))), (made,), {}) if make.draw(FLAGS) else made
        return bounded and make.add("dequantize", (bounded,), {})

    return how


FLAGS = st.booleans()
MOVES = (
    "maxpool",
    "pad",
    "crop",
    "slice",
    "flatten",
    "reshape",
    "permute",
    "strided_slice",
    "take",
    "upsample",
    "resize",
)
"""Ops that take integers."""
SPECIAL: Mapping[str, How] = {
    "cast": cast,
    "quantize": numbers,
    "dequantize": numbers,
    "input": picture,
    "const": lambda make, fresh: make.const(),
    "unpool": unpool,
    "nms": nms,
    **{op: layer_on_bytes(op) for op in LAYERS_ON_BYTES},
}
MADE = frozenset({*(name for name, op in TABLE.items() if op.tried.inputs is not Inputs.NONE), *SPECIAL})
"""Ops that graphs here have; a test holds that with `LATE` they are those of the table."""


def small(node: Node) -> bool:
    """Whether a value is one for further ops to read."""
    return node.type.shape[1] <= MOST_CHANNELS and math.prod(node.type.shape[1:]) <= MOST_VALUES


def graph_of(draw: Draw, ops: Sequence[str], epilogue: int = 3) -> Graph:
    """A graph with a node of each of the ops, each with a chain of activations of random length behind it; outputs are
    the values that nothing reads, and some others."""
    make = Maker(draw)
    make.image()
    for op in ops:
        made = make.of(op)
        if op != "input":
            make.epilogue(made, epilogue if TABLE[op].attributes.get("epilogue") is not None else 1)
    read = {name for node in make.nodes for name in node.inputs}
    for node in [n for n in make.nodes if n.op in ("input", "const") and n.name not in read]:
        make.add("relu", (node,), {})
    read = {name for node in make.nodes for name in node.inputs}
    sinks = [n.name for n in make.nodes if n.name not in read]
    more = draw(st.lists(st.sampled_from([n.name for n in make.nodes if n.op != "input"]), max_size=2))
    return Graph("random", tuple(make.nodes), tuple(dict.fromkeys([*sinks, *more])), make.constants)


full_graphs = st.composite(graph_of)
