"""Small graphs with random weights, and the checks that the tests of all passes share."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from cnncc import ops
from cnncc.base.elements import FLOAT32, Element
from cnncc.ir import Constant, Graph, Node
from cnncc.ir.text import print_graph
from cnncc.machines import targets
from cnncc.module import phases
from cnncc.ops import reference

Pass = Callable[[Graph], Graph]


def passed(graph: Graph) -> Graph:
    """The graph after all passes that know no machine."""
    return phases.run(graph, targets.host(), stop_after=phases.LAST_PASS).graph


class Net:
    """A graph node by node: `net("c", "conv", "x", out=8, kernel=(1, 1))`; types and weights follow from the table."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = {}

    def __call__(self, name: str, op: str, *inputs: str, **attrs: Any) -> Net:
        shapes = tuple(self.nodes[i].type.shape for i in inputs)
        full = ops.complete(op, attrs)
        weights = {}
        for slot, shape in ops.weight_shapes(op, shapes, full).items():
            weights[slot] = f"{name}.{slot}"
            self.constants[weights[slot]] = random_constant(weights[slot], shape)
        kind = ops.infer_type(op, tuple(self.nodes[i].type for i in inputs), full)
        self.nodes[name] = Node(name, op, inputs, kind, full, weights)
        return self

    def conv(self, name: str, source: str, out: int, **attrs: Any) -> Net:
        """A 1x1 convolution unless told otherwise."""
        return self(name, "conv", source, **{"out": out, "kernel": (1, 1), **attrs})

    def graph(self, *outputs: str) -> Graph:
        """The verified graph."""
        g = Graph("t", tuple(self.nodes.values()), outputs, self.constants)
        ops.verify(g)
        return g


def image(c: int = 16, h: int = 4, w: int = 4) -> Net:
    """A net that begins with the input x."""
    return Net()("x", "input", dims=(c, h, w))


def vector(k: int = 16) -> Net:
    """A net that begins with the vector x."""
    return Net()("x", "input", dims=(k,))


def random_constant(name: str, shape: tuple[int, ...], element: Element = FLOAT32) -> Constant:
    """Values that depend on the name only; variances and scales are positive, integers those of layers on bytes."""

    def compute() -> np.ndarray:
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
        if element.whole:
            return np.clip(np.rint(values * 40), -127, 127).astype(element.dtype)
        if name.endswith("weight_scale"):
            return ((abs(values) + 0.5) * 2e-3).astype(np.float32)
        return (abs(values) + 0.5 if name.endswith("running_var") else values).astype(np.float32)

    return Constant(shape, compute, element)


def bound(g: Graph) -> Graph:
    """The graph with random weights."""
    constants = {name: random_constant(name, c.shape, c.element) for name, c in g.constants.items()}
    return Graph(g.name, g.nodes, g.outputs, constants)


def text(g: Graph) -> str:
    """The graph as golden tests have it: defaults left out, without the `graph` line."""
    return print_graph(g, ops.DEFAULTS).split("\n", 1)[1]


def golden(g: Graph, expected: str) -> None:
    """The graph is well formed and reads like `expected`."""
    ops.verify(g)
    assert text(g) == textwrap.dedent(expected).lstrip("\n")


def keeps_meaning(before: Graph, after: Graph) -> None:
    """Outputs agree in order, and every value that has the same name before and after.

    The error allowed is that of weights rounded to float32 anew.
    """
    rng = np.random.default_rng(1)
    inputs = {n.name: rng.standard_normal(n.type.shape) for n in before.inputs}
    old, new = (reference.run(g, inputs, keep_all=True) for g in (before, after))
    assert len(before.outputs) == len(after.outputs)
    pairs = [(name, name) for name in old.keys() & new.keys()]
    for a, b in [*zip(before.outputs, after.outputs, strict=True), *pairs]:
        np.testing.assert_allclose(new[b], old[a], rtol=0, atol=1e-5 * max(1.0, abs(old[a]).max()), err_msg=b)


def fires(rewrite: Pass, before: Graph, expected: str) -> None:
    """The pass gives the golden text, keeps the meaning, and does nothing the second time."""
    after = rewrite(before)
    golden(after, expected)
    keeps_meaning(before, after)
    assert rewrite(after) is after


def stays(rewrite: Pass, g: Graph) -> None:
    """The pass must not fire."""
    assert rewrite(g) is g
