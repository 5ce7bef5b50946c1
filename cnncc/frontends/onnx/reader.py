"""An ONNX model as a graph with weights. Every node it cannot say is told, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cnncc.base.input_shapes import FixedShapes
from cnncc.frontends.network import ModelPort
from cnncc.frontends.onnx.attributes import attributes_of, find
from cnncc.frontends.onnx.byte_layers import with_byte_layers
from cnncc.frontends.onnx.closed import closed
from cnncc.frontends.onnx.control import branch_of, needed
from cnncc.frontends.onnx.convert import RULES_OF, sequences
from cnncc.frontends.onnx.convert.detect import REFUSED, converted
from cnncc.frontends.onnx.convert.quantize import is_quantised
from cnncc.frontends.onnx.faults import Faults, NotImported
from cnncc.frontends.onnx.float_notes import float_notes
from cnncc.frontends.onnx.fold import Evaluator, shape_of
from cnncc.frontends.onnx.graph import inlined, label, opset_of, ordered
from cnncc.frontends.onnx.ports import Imported, computed_inputs, input_shapes
from cnncc.frontends.onnx.schema import DOMAINS, check_schema
from cnncc.frontends.onnx.site import OnnxSite, Tensor, Tensors
from cnncc.frontends.onnx.steps import traced
from cnncc.frontends.onnx.takes_bytes import takes_bytes
from cnncc.frontends.onnx.tensors import array_of, is_numeric, kind_of, shown
from cnncc.frontends.onnx.tidy import with_normalisation
from cnncc.frontends.onnx.types import Kind, kinds_of
from cnncc.frontends.onnx.values import Builder, Unsupported, Value, plain_value
from cnncc.ir import Graph
from cnncc.ir.rules import Shape

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

TO_CHANNELS_FIRST = (0, 3, 1, 2)
CHANNELS_LAST = (0, 2, 3, 1)
"""How the axes (n, h, w, c) lie in (n, c, h, w)."""
NORMALISATION = frozenset({"Cast", "Identity", "Sub", "Add", "Mul", "Div"})
NORMALISATION_STEPS = 4
"""What models do to pictures before they turn them, and how many of it at most."""
FLOATS = frozenset({"FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"})
INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
NUMERIC = FLOATS | INTEGERS | {"BOOL"}
"""Types of inputs that are computed with, all in float32: whole numbers are exact up to 2^24."""
Entry = Tensor | Tensors | None
"""What stands for the result of a node; None if it could not be converted."""


def from_onnx(
    model: ModelProto,
    shapes: FixedShapes | None = None,
    known: Mapping[str, np.ndarray] | None = None,
    keep_known: bool = False,
    strict: bool = False,
) -> Imported:
    """The graph of a model.

    `shapes` gives inputs other shapes than declared, by name; a first axis without a size is 1. `known` fixes inputs to
    values. Whole numbers and truth values are computed with in float32 too. With `keep_known` outputs that no
    graph can have, known and of another type or shape, are only in their ports. The batch of the inputs becomes the
    graph's, or, where the model mixes its images, one image of all. With `strict` an exception that is a mistake of
    ours passes; else it is told of the node where it happened.
    Raises CnnccError: for a model that breaks the rules of ONNX, for shapes that are missing or wrong, and with a line
    for each node that has no counterpart.
    """
    opset = opset_of(model)
    model = ordered(inlined(model))
    ports = input_shapes(model.graph, shapes or {}, known or {})
    batches = {shape[0] for shape in ports.values() if shape}
    together = batches.pop() if len(batches) == 1 and all(ports.values()) else 1
    with np.errstate(all="ignore"):  # weights may be infinite, or anything else
        try:
            return Reader(model.graph, opset, together, ports, known or {}, keep_known, Faults(strict)).imported()
        except NotImported:
            if together == 1:
                raise
        return Reader(model.graph, opset, 1, ports, known or {}, keep_known, Faults(strict)).imported()


@dataclass
class Reader:
    """Converts a model node by node."""

    model: GraphProto
    opset: int
    batch: int
    ports: dict[str, Shape]
    known: Mapping[str, np.ndarray]
    keep_known: bool
    faults: Faults
    values: dict[str, Entry] = field(default_factory=dict)
    """Tensors by name; None where a node before failed."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    """ONNX's types of computed tensors."""
    foldable: set[str] = field(default_factory=set)
    """Of those, what would be known if nothing had failed."""
    notes: list[str] = field(default_factory=list)

    b: Builder = field(init=False)
    known_ops: Evaluator = field(init=False)

    def imported(self) -> Imported:
        """Inputs, nodes, outputs."""
        self.used = frozenset(needed(self.model))
        for tensor in self.model.initializer:
            self.initializer(tensor)
        self.values.update(self.known)
        # Of tensors that were read: sizes may be claimed.
        own = sum(array.nbytes // 4 for array in self.values.values() if isinstance(array, np.ndarray))
        self.b, self.known_ops = Builder(self.batch, own), Evaluator(self.opset, own)
        inputs = [self.input(port) for port in computed_inputs(self.model, self.known)]
        for node in self.model.node:
            if self.used.intersection(node.output):
                self.convert(node)
        self.faults.refuse()
        outputs = [self.output(port) for port in self.model.output]
        self.faults.refuse()
        found = closed(self.b, self.model.name or "model", outputs, self.faults, self.on_bytes)
        return Imported(found.graph, tuple(inputs), found.outputs, (*self.notes, *self.b.notes), self.b.sources)

    def on_bytes(self, graph: Graph) -> Graph:
        """The graph of a quantised model with its layers on bytes; what stays float32 is noted. Others are as they
        were."""
        if not is_quantised(self.model.node):
            return graph
        made = with_normalisation(with_byte_layers(graph, self.b.steps))
        self.b.notes += float_notes(made, self.b.labels, self.b.reasons)
        return made

    def initializer(self, tensor: TensorProto) -> None:
        """A tensor of the model, if somebody needs it."""
        if tensor.name in self.used and tensor.name not in self.known:
            self.values[tensor.name] = None
            with self.faults.at(f"tensor {shown(tensor.name)}"):
                self.values[tensor.name] = array_of(tensor, "its data")

    def input(self, port: ValueInfoProto) -> ModelPort:
        """An input node. One that every reader turns to channels first is that from the start."""
        number = port.type.tensor_type.elem_type
        kind, dtype = kind_of(number), dtype_of(number)
        shape = self.ports[port.name]
        try:
            if kind not in NUMERIC:
                raise Unsupported(f"the input is of type {kind}", [port.name])
            value = plain_value("", shape)
            if self.is_channels_last(port.name, shape):
                value = Value("", shape, CHANNELS_LAST)
                self.notes.append(f"input {port.name} is channels first here, {list(value.stored)}")
            dims = self.b.dims(value.stored)
            pixels = kind == "UINT8" and len(dims) == 3 and dims[0] in (1, 3)
            # A std of 1 says that pictures are taken as they are, from 0 to 255.
            std = (1.0,) if pixels else ()
            node = self.b.add("input", [], port.name, dims=dims, batch=self.batch, std=std)
        except Unsupported as error:
            if port.name in self.used:
                self.faults.add(f"input {shown(port.name)}", error)
            else:
                self.notes.append(f"input {port.name} is left out, since no node reads it: {error.message}")
            self.values[port.name] = None
            return ModelPort(port.name, shape, tuple(range(len(shape))), "", dtype)
        if kind != "FLOAT":
            self.notes.append(f"input {port.name} is float32 here, {dtype} in the model")
        self.values[port.name] = Value(node, shape, value.axes)
        self.kinds[port.name] = dtype
        return ModelPort(port.name, shape, value.axes, node, dtype)

    def is_channels_last(self, name: str, shape: Shape) -> bool:
        """Whether an input (n, h, w, c) is only ever transposed to (n, c, h, w), after a cast or a normalisation. Not
        where the shape would not tell the two apart: callers may pass both."""
        orders = self.orders(name, NORMALISATION_STEPS)
        one = len(shape) == 4 and len(set(shape[1:])) > 1 and next(orders, ()) == TO_CHANNELS_FIRST
        return one and all(order == TO_CHANNELS_FIRST for order in orders)

    def orders(self, name: str, steps: int) -> Iterator[Shape]:
        """How a tensor is transposed by all that read it; () where something else is done to it."""
        for node in self.model.node:
            if name not in node.input:
                continue
            if node.op_type == "Transpose":
                given = find(node, "perm")
                yield tuple(given.ints) if given else ()
            elif node.op_type in NORMALISATION and steps and node.output:
                yield from self.orders(node.output[0], steps - 1)
            else:
                yield ()

    def convert(self, node: NodeProto) -> None:
        """The results of one node, known or computed."""
        inputs = [self.values.get(name) if name else None for name in node.input]
        if any(name and self.values.get(name) is None for name in node.input):
            self.skip(node)
            return
        results: Sequence[Entry] = [None] * len(node.output)
        self.b.label = label(node)
        with self.faults.at(f"node {label(node)}"):
            results = self.results(node, inputs)
        self.kinds.update(zip(node.output, kinds_of(node, self.kinds_at(node)), strict=False))
        self.values.update({name: r for name, r in zip(node.output, results, strict=False) if name})

    def kinds_at(self, node: NodeProto) -> list[Kind | None]:
        """The types of a node's inputs; None of what is left out."""
        values = [self.values.get(name) if name else None for name in node.input]
        return [
            value.dtype if isinstance(value, np.ndarray) else self.kinds.get(name)
            for name, value in zip(node.input, values, strict=True)
        ]

    def skip(self, node: NodeProto) -> None:
        """A node after one that failed. It is told of too if it has no counterpart whatever it is given; one of shapes
        and other numbers that would be known needs none."""
        names = [name for name in node.input if name]
        known = all(name in self.foldable or isinstance(self.values.get(name), np.ndarray) for name in names)
        if known or node.op_type in ("Shape", "Size"):
            self.foldable.update(node.output)
        elif (node.domain, node.op_type) not in CONVERTED:
            self.faults.add(f"node {label(node)}", refusal(node))
        self.values.update(dict.fromkeys(node.output))

    def results(self, node: NodeProto, given: list[Entry]) -> Sequence[Entry]:
        if node.domain not in RULES_OF:
            raise refusal(node)
        check_schema(node, self.opset)
        inputs = [i for i in given if not isinstance(i, Tensors)]
        if node.op_type in sequences.RULES or len(inputs) < len(given):
            return [sequences.converted(self.site(node, given))]
        if node.op_type == "If":
            return self.branch(branch_of(node, inputs[0]))
        if node.op_type in ("Shape", "Size") and isinstance(inputs[0], Value):
            if inputs[0].node in self.b.ragged:
                raise Unsupported("its result depends on the data")
            return shape_of(node, inputs[0])
        known = [i for i in inputs if not isinstance(i, Value)]
        rule = RULES_OF[node.domain].get(node.op_type)
        if len(known) == len(inputs):
            found = self.known_ops.evaluate(node, known, rule is not None)
            if found is not None:
                if (steps := traced(self.b.dequantised, node, known)) is not None:
                    self.b.dequantised[node.output[0]] = steps
                return found
        if rule is None:
            raise refusal(node)
        return converted(rule, self.site(node, given))

    def site(self, node: NodeProto, inputs: list[Entry]) -> OnnxSite:
        tensors = cast("list[Tensor | None]", inputs)
        named = node.op_type, list(node.input), list(node.output), attributes_of(node)
        site = OnnxSite(*named, tensors, self.opset, self.b, self.used, self.kinds_at(node))
        if takes_bytes(site):
            return site
        return replace(site, inputs=[site.whole_numbers(t) if isinstance(t, Value) else t for t in tensors])

    def branch(self, graph: GraphProto) -> Sequence[Entry]:
        """The results of a graph inside the model's. Names that it makes are its own."""
        outside, used = self.values, self.used
        self.values = {**outside, **{t.name: array_of(t, f"tensor {t.name}") for t in graph.initializer}}
        self.used = used | needed(graph)
        for node in graph.node:
            if self.used.intersection(node.output):
                self.convert(node)
        found = [self.values.get(port.name) for port in graph.output]
        self.values, self.used = outside, used
        return found

    def output(self, port: ValueInfoProto) -> ModelPort:
        """An output."""
        value, number = self.values.get(port.name), port.type.tensor_type.elem_type
        if value is None or isinstance(value, Tensors):
            what = "no node computes it" if value is None else "a sequence of tensors"
            self.faults.add(f"output {shown(port.name)}", Unsupported(what))
            return ModelPort(port.name, (), (), "", np.dtype(np.float32))
        known = value if isinstance(value, np.ndarray) else None
        try:
            if number and not is_numeric(number):
                raise Unsupported(f"the output is of type {kind_of(number)}")
            if isinstance(value, np.ndarray):
                value = self.b.constant(value, port.name)
            if value.axes == CHANNELS_LAST:
                self.notes.append(f"output {port.name} is channels first here, {list(value.stored)}")
            else:
                value = plain_value(self.b.plain(value, port.name), value.shape)
        except Unsupported as error:
            if not self.keep_known or known is None:
                self.faults.add(f"output {shown(port.name)}", error)
                return ModelPort(port.name, (), (), "", np.dtype(np.float32))
            return ModelPort(port.name, known.shape, tuple(range(known.ndim)), "", known.dtype, known)
        ragged = self.b.ragged.get(value.node)
        return ModelPort(port.name, value.shape, value.axes, value.node, dtype_of(number), known, ragged)


CONVERTED = frozenset((domain, op) for domain, rules in RULES_OF.items() for op in rules) | frozenset(
    product(DOMAINS, (*sequences.RULES, "If"))
)
"""Ops of which some use is converted, by domain and name."""


def refusal(node: NodeProto) -> Unsupported:
    """Why a node has no counterpart, whatever its inputs are."""
    if node.op_type in REFUSED:
        return Unsupported(REFUSED[node.op_type])
    if node.domain in DOMAINS:
        return Unsupported("this op is not supported")
    return Unsupported(f"{'this' if node.domain in RULES_OF else 'an'} op of the domain {node.domain}")


def dtype_of(number: int) -> np.dtype[Any]:
    """NumPy's type of an element type; float32 if none is given, or one of no numbers."""
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(number) if is_numeric(number) else np.dtype(np.float32)
