"""Graphs that tests build op by op, and the check that a text is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncc import lang
from cnncc.frontends.text import write
from cnncc.frontends.text.blocks import BlockSearch
from cnncc.frontends.text.statements import Statement
from cnncc.frontends.text.write import Written
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ops import TABLE, complete, infer, verify


class Growing:
    """A graph under construction; weights are drawn from the names."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = {}

    def add(self, op: str, *inputs: str, name: str = "", **given: Any) -> str:
        attrs = complete(op, given)
        shapes = tuple(self.nodes[i].type.shape for i in inputs)
        name = name or f"/n{len(self.nodes)}/{op}_output_0"
        weights = {slot: f"{name}.{slot}" for slot in TABLE[op].weights(shapes, attrs)}
        for slot, shape in TABLE[op].weights(shapes, attrs).items():
            value = np.random.default_rng(len(self.constants)).standard_normal(shape, np.float32)
            self.constants[weights[slot]] = Constant(shape, lambda value=value: value)
        self.nodes[name] = Node(name, op, inputs, TensorType(infer(op, shapes, attrs)), attrs, weights)
        return name

    def graph(self, outputs: Sequence[str], ports: Sequence[str]) -> Graph:
        every = Graph("random", tuple(self.nodes.values()), tuple(outputs), self.constants, tuple(ports))
        graph = every.rebuild(every.nodes)
        verify(graph)
        return graph


def as_written(graph: Graph, way: Sequence[Statement]) -> Written | None:
    """The text of the graph, put into statements that way; None if the text is not read as the graph."""
    return write.checked(graph, write.draft(graph, tuple(way), {}, [], BlockSearch()))


def holds(graph: Graph, written: Written) -> None:
    """The text is in the one form, and its graph the one it was made of: nodes, ports and weights. An output without
    a name has one in a text that says which value it is."""
    assert lang.format_text(written.text) == written.text
    again = lang.parse(written.text)
    assert [n.name for n in again.inputs] == [n.name for n in graph.inputs]
    assert again.ports == tuple(port or found for port, found in zip(graph.ports, again.ports, strict=True))
    assert again.outputs == tuple(written.renamed[o] for o in graph.outputs)
    assert len(again.nodes) == len(graph.nodes)
    for old in graph.nodes:
        new, bound = again[written.renamed[old.name]], written.graph[written.renamed[old.name]]
        assert (old.op, old.type) == (new.op, new.type)
        assert tuple(written.renamed[i] for i in old.inputs) == new.inputs
        assert repr(dict(sorted(old.attrs.items()))) == repr(dict(sorted(new.attrs.items())))
        for slot, name in old.weights.items():
            value = written.graph.constants[bound.weights[slot]].value
            np.testing.assert_array_equal(value, graph.constants[name].value)
