"""A program of `torch.export` as a graph with weights. Every node it cannot say is told, all at once."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from cnncc.frontends.network import ModelPort
from cnncc.frontends.onnx.closed import closed
from cnncc.frontends.onnx.faults import Faults, NotImported
from cnncc.frontends.onnx.ports import Imported
from cnncc.frontends.onnx.types import FLOAT
from cnncc.frontends.onnx.values import Builder, Unsupported, Value, plain_value
from cnncc.frontends.torch.aten import RULES
from cnncc.frontends.torch.call import AtenCall
from cnncc.frontends.torch.program import (
    TorchPort,
    TorchProgram,
    arguments_of,
    array_of,
    is_several,
    kind_of,
    mapped,
    op_name,
    tensor_of,
)

HINT = "what can be compiled: docs/torch.md; torch.compile(module, backend='cnncc') leaves the rest to PyTorch"
FAILED: Any = object()
"""What stands for the result of a node that could not be converted."""


def from_program(program: TorchProgram, strict: bool = False) -> Imported:
    """The graph of a program. The batch of its inputs becomes the graph's, or, where the program mixes its images and
    its batch is fixed, one image of all. CnnccError with a line for each node that has no counterpart."""
    with np.errstate(all="ignore"):  # weights may be infinite, or anything else
        try:
            return TorchReader(program, program.batch, Faults(strict, HINT)).imported()
        except NotImported:
            if program.batch == 1 or program.free or program.strictly:
                raise
        return TorchReader(program, 1, Faults(strict, HINT)).imported()


@dataclass
class TorchReader:
    """Converts a program node by node."""

    program: TorchProgram
    batch: int
    faults: Faults
    values: dict[Node, Any] = field(default_factory=dict)
    """What nodes give: computed tensors as `Value`, known ones as PyTorch's, numbers, lists of these."""
    names: dict[Node, str] = field(default_factory=dict)
    """What known tensors are called: parameters by their names in the state dict, and what is made of one alone too."""

    b: Builder = field(init=False)

    def imported(self) -> Imported:
        """Inputs, nodes, outputs."""
        inputs = self.begin()
        for node in self.program.needed():
            self.convert(node)
        self.faults.refuse()
        outputs = [self.output(given) for given in self.program.outputs]
        self.faults.refuse()
        if not any(port.node for port in outputs):
            self.faults.add("the outputs", Unsupported("they depend on no input"))
            self.faults.refuse()
        found = closed(self.b, "model", outputs, self.faults)
        return Imported(found.graph, tuple(inputs), found.outputs, tuple(self.b.notes), self.b.sources)

    def begin(self) -> list[ModelPort]:
        """The inputs, and all that is known."""
        self.b = Builder(self.batch, self.program.elements)
        self.values.update(self.program.known)
        self.names.update(self.program.names)
        return [self.input(given) for given in self.program.inputs]

    def input(self, given: TorchPort) -> ModelPort:
        """An input node; whole numbers and truth values are float32, too. It has its axes as the example has them in
        memory."""
        shape = self.program.shape(given.node)
        value = Value("", shape, given.axes(shape))
        port = ModelPort(given.name, shape, value.axes, given.name, given.kind)
        self.values[given.node] = FAILED
        with self.faults.at(f"input {given.name}"):
            if given.kind.kind == "c":
                raise Unsupported("complex numbers")
            node = self.b.add("input", [], given.name, dims=self.b.dims(value.stored), batch=self.batch)
            self.values[given.node] = replace(value, node=node)
        if value.stored != shape:
            self.b.notes.append(f"input {given.name} is channels last here, {list(value.stored)}, as the example is")
        if given.kind != FLOAT:
            self.b.notes.append(f"input {given.name} is float32 here, {given.kind} in the program")
        return port

    def output(self, given: TorchPort) -> ModelPort:
        """An output: computed, or known."""
        value = self.values[given.node]
        if isinstance(value, Value):
            node = ""
            with self.faults.at(f"output {given.name}"):
                node = self.b.plain(value, f"{given.name}.t")
            return ModelPort(given.name, value.shape, tuple(range(len(value.shape))), node, given.kind)
        known = np.asarray(array_of(value))
        return ModelPort(given.name, known.shape, tuple(range(known.ndim)), "", known.dtype, known)

    def convert(self, node: Node) -> None:
        """The result of one node, known or computed; of one after a node that failed there is none."""
        read = [self.values.get(i) for i in node.all_input_nodes]
        self.values[node] = FAILED
        if any(value is FAILED for value in read):
            return
        self.b.label = self.program.label(node)
        with self.faults.at(f"node {self.b.label}"):
            self.values[node] = self.result(node, any(map(is_computed, read)))

    def result(self, node: Node, computed: bool) -> Any:
        if node.target is operator.getitem:
            return self.item(node)
        if not computed:
            self.inherit(node)
            return self.program.evaluated(node, self.values)
        rule = RULES.get(op_name(node))
        if rule is None:
            raise Unsupported("this op is not supported")
        found = rule(self.call(node))
        found = [tensor_of(f) for f in found] if isinstance(found, list) else tensor_of(found)
        return found[0] if isinstance(found, list) and not is_several(node) else found

    def item(self, node: Node) -> Any:
        """One of several results."""
        source, i = node.args
        found = self.values[source]
        if not isinstance(found, list | tuple) or i >= len(found):
            raise Unsupported(f"result {i} of this op has no counterpart")
        return found[i]

    def inherit(self, node: Node) -> None:
        """What is made of one known tensor is called as it is."""
        named = {self.names[i] for i in node.all_input_nodes if i in self.names}
        if len(named) == 1:
            self.names[node] = named.pop()

    def call(self, node: Node) -> AtenCall:
        """A node for its rule."""
        sources = arguments_of(node)
        given = {name: mapped(self.seen, value) for name, value in sources.items()}
        tensors = {name: value for name, value in sources.items() if isinstance(value, Node)}
        names = {name: self.names.get(value, value.name) for name, value in tensors.items()}
        kinds = {name: kind for name, value in tensors.items() if (kind := kind_of(value)) is not None}
        result = kind_of(node) or FLOAT
        read = frozenset(user.args[1] for user in node.users if user.target is operator.getitem)
        return AtenCall(str(node.target), self.program.hint(node), given, names, kinds, result, self.b, read)

    def seen(self, node: Node) -> Any:
        """What a node gives, as rules take it."""
        value = self.values[node]
        return value if isinstance(value, Value | list | tuple) else array_of(value)


def is_computed(value: Any) -> bool:
    """Whether a value, or one of several, depends on an input."""
    return any(map(is_computed, value)) if isinstance(value, list | tuple) else isinstance(value, Value)


def refused(program: TorchProgram) -> dict[Node, str]:
    """The nodes of a program that have no counterpart, and why. If it mixes its images, they are one image of all."""
    found = Probe(program, program.batch, Faults(False)).found()
    return found if not found or program.batch == 1 else Probe(program, 1, Faults(False)).found()


@dataclass
class Probe(TorchReader):
    """Tries each node of a program by itself: what cannot be converted is taken for an input of the rest."""

    refused: dict[Node, str] = field(default_factory=dict)

    def found(self) -> dict[Node, str]:
        """Those that cannot be converted, and why."""
        self.begin()
        with np.errstate(all="ignore"):
            for node in self.program.needed():
                self.convert(node)
        return self.refused

    def convert(self, node: Node) -> None:
        before = len(self.faults.reasons)
        super().convert(node)
        source = node.args[0] if node.target is operator.getitem else None
        if source in self.refused:
            self.refused[node] = self.refused[source]
        elif self.values[node] is FAILED:
            self.refused[node] = [*self.faults.reasons[before:], "it reads what is no tensor of real numbers"][0]
            self.values[node] = self.stand_in(node)

    def stand_in(self, node: Node) -> Any:
        """Inputs in place of what a node gives."""
        given = node.meta.get("val")
        found = [self.as_input(v, f"{node.name}_{i}") for i, v in enumerate(given if is_several(node) else [given])]
        return found if is_several(node) else found[0]

    def as_input(self, value: Any, name: str) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype.is_complex:
            return FAILED
        shape, found = tuple(map(int, value.shape)), FAILED
        with self.faults.at(name):
            found = plain_value(self.b.add("input", [], name, dims=self.b.dims(shape)), shape)
        return found
