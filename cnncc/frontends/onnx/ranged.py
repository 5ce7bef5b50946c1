"""A model for a range of sizes: one network at all of them, or an error that says at which size it is another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnncc.base import size_ranges
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import FixedShapes, InputShapes
from cnncc.base.size_ranges import Sizes
from cnncc.frontends.network import ModelPort, Network, value_axes
from cnncc.frontends.onnx.ports import Imported
from cnncc.frontends.same_graph import GraphDifference, constants_by
from cnncc.ir import Constant, Graph, Node
from cnncc.ir.ranged import Ranged, Steps, said
from cnncc.lang import parse
from cnncc.ops.source import dims_of
from cnncc.passes.infer_shapes import infer_shapes

ONE_FORM = "a network for a range has the same ops, attributes and constants at all sizes; give one size, or several"


def with_ranges(imported: Imported, shapes: InputShapes) -> Graph:
    """The graph of a model at the size in the middle, whose inputs say the ranges of the model's shapes."""
    made = {}
    for port in imported.inputs:
        if port.node and size_ranges.ranged(shapes.get(port.name, ())):
            node = imported.graph[port.node]
            sizes = of_graph(port, shapes[port.name], node.type.shape[1:])
            made[port.node] = node.with_(attrs={**node.attrs, **dims_of(sizes)})
    return imported.graph.replaced(made)


def of_graph(port: ModelPort, sizes: Sizes, dims: Sequence[int]) -> Sizes:
    """The shape of one image in the graph, `dims` at the size in the middle, from that in the model. CnnccError for an
    axis with a range that is none of the graph's."""
    order = [port.axes.index(axis) for axis in range(len(port.axes))]
    ours = [sizes[axis] for axis in order]
    if len(ours) == len(dims) + 1 and size_ranges.usual(ours[1:]) == tuple(dims) and isinstance(ours[0], int):
        return ours[1:]
    written = size_ranges.written(sizes, ",")
    hint = "the first axis is the batch, and only height and width of images have ranges"
    raise CnnccError(f"input {port.name}: {written} is no shape of images", hint=hint)


def check_alike(network: Network, model: Ranged, steps: Steps) -> None:
    """CnnccError unless the text of the network is, at this size, the network of the model at this size."""
    inputs = {n.name: n.attrs["range"] for n in network.graph.inputs if n.attrs["range"]}
    chosen = {symbol.name: symbol.least + n * symbol.step for symbol, n in steps.items()}
    dims = {name: tuple(chosen[s.name] if isinstance(s, Symbol) else s for s in own) for name, own in inputs.items()}
    where = f"at {said(steps)}"
    try:
        text = parse(network.text, f"<text of {network.graph.name}>", dims)
    except CnnccError as error:
        hint = "; ".join(filter(None, (error.hint, ONE_FORM)))
        raise CnnccError(f"{where}: {error.message}", error.span, error.stack, hint) from None
    graph = model.graph(steps)
    found = constants_by(text, graph)
    if isinstance(found, GraphDifference):
        ours, theirs = found.told()
        raise CnnccError(f"{where}, the model is another network: {theirs} in place of {ours}", hint=ONE_FORM)
    for name, theirs in found.items():
        if not _same_values(network.graph.constants[name].value, graph.constants[theirs].value):
            raise CnnccError(f"{where}, the constant {name} has other values", hint=ONE_FORM)


@dataclass(frozen=True)
class ModelAtSizes:
    """A model for a range of sizes, read again for each: the graph under the names that its text has for the size in
    the middle."""

    read: Callable[[FixedShapes], Imported]
    shapes: InputShapes
    """Of the model, with ranges."""
    middle: Graph
    renamed: Mapping[str, str]
    """The names in the text by those that reading gives."""

    def __call__(self, dims: FixedShapes) -> Graph:
        """The graph for inputs of these shapes of one image, by their names in the text. CnnccError for one of other
        ops or other constants."""
        graph = self.read(self._of_model(dims)).graph
        nodes = {self.renamed[node.name]: node for node in graph.nodes if node.name in self.renamed}
        if nodes.keys() != self.middle.by_name.keys() or len(nodes) != len(graph.nodes):
            raise CnnccError("the model has other ops than at the size in the middle", hint=ONE_FORM)
        for known in self.middle.nodes:
            theirs = nodes[known.name].weights
            for slot, name in known.weights.items():
                if slot not in theirs or not _same(self.middle.constants[name], graph.constants[theirs[slot]]):
                    what = f"{known.op}: the constant {name} has other values"
                    raise CnnccError(what, known.span, known.stack, ONE_FORM)
        made = tuple(self._named(node, nodes[node.name]) for node in self.middle.nodes)
        return infer_shapes(replace(self.middle, nodes=made))

    def _of_model(self, dims: FixedShapes) -> FixedShapes:
        """The shapes as the model has them."""
        chosen = {
            symbol.name: size
            for node in self.middle.inputs
            for symbol, size in zip(node.attrs["range"], dims[node.name], strict=False)
            if isinstance(symbol, Symbol)
        }
        return {
            name: tuple(chosen[size.name] if isinstance(size, Symbol) else size for size in sizes)
            for name, sizes in self.shapes.items()
        }

    def _named(self, known: Node, node: Node) -> Node:
        """A node with the names of the middle one, and its place, of one image."""
        attrs = {**node.attrs, "batch": 1} if node.is_input else node.attrs
        return known.with_(
            op=node.op,
            inputs=tuple(self.renamed[name] for name in node.inputs),
            attrs=attrs,
            type=replace(node.type, shape=(1, *node.type.shape[1:])),
        )


def _same(one: Constant, other: Constant) -> bool:
    return (one.shape, one.element) == (other.shape, other.element) and _same_values(one.value, other.value)


def notes_of_outputs(network: Network) -> Iterator[str]:
    """Of outputs whose shape in the model is another than that of their value: for a range it is not known."""
    for port in network.outputs:
        shape = network.graph[port.node].type.shape if port.node else ()
        if shape and value_axes(port.shape, port.axes, shape) is None:
            given, own = (",".join(map(str, sizes)) for sizes in (port.shape, shape))
            yield f"output {port.name} has the shape of its value, {own} at the size in the middle, not {given}"


def _same_values(one: np.ndarray, other: np.ndarray) -> bool:
    return one is other or np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
