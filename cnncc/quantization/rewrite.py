"""The graph on bytes of a float32 graph: its text, its weights, and the definition of its results."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnncc import ops, passes
from cnncc.base.elements import INT8, INT32, UINT8
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ir.rules import ShapeError
from cnncc.ir.types import Quantization
from cnncc.ops.byte_arithmetic import bias_steps, byte_bounds, least_weight_scales
from cnncc.ops.conv import outputs_first
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.quantized import ADDED, ON_BYTES
from cnncc.quantization.plan import ByteLayer, BytePlan, Mode, plan
from cnncc.quantization.scheme import Scheme

KEEP = "--keep leaves a layer in float32"
MOST_WEIGHT = 127
"""Weights are symmetric around 0."""
BEFORE = "fuse_epilogues"
"""The pass before which a graph is made one on bytes: its batch norms are folded, its activations stand alone."""


def prepared(graph: Graph, without: Container[str] = ()) -> Graph:
    """The graph of which a `BytePlan` is made: with batch norms folded, and every value that may be bytes by itself.
    Passes of these names are left out."""
    for name, rewrite in passes.PASSES:
        if name == BEFORE:
            break
        if name not in without:
            graph = rewrite(graph)
    return graph


OF_ONE_SIZE = frozenset(("drop_taps",))
"""Passes by which a network on small images gets other weights than on large ones."""


def quantized(graph: Graph, scheme: Scheme, of_a_range: bool = False) -> Graph:
    """The graph on bytes of a float32 graph, by the scales of a scheme. It is a source graph, which has a text. With
    `of_a_range` its weights are the same for images of all sizes.

    CnnccError if the scheme is that of another graph.
    """
    made = prepared(graph, OF_ONE_SIZE if of_a_range else ())
    return rewritten(plan(made, scheme.keep), scheme.values).graph


@dataclass(frozen=True)
class Rewritten:
    """A graph on bytes, and what the values of the graph that it was made of are called there as bytes."""

    graph: Graph
    names: Mapping[str, str]


def rewritten(made: BytePlan, scales: Mapping[str, Quantization]) -> Rewritten:
    """The graph that a plan and the scale of each of its values give. CnnccError for a scale that is missing."""
    missing = [name for name in made.scaled if name not in scales]
    if missing:
        what = f"there is no scale for {', '.join(missing[:3])}{'' if len(missing) <= 3 else ', ...'}"
        raise CnnccError(f"{what}: the scales are those of another network", hint="write them anew: cnncc quantize")
    rewriter = _Rewriter(made, scales)
    return Rewritten(rewriter.graph(), rewriter.bytes)


class _Rewriter:
    """The nodes made so far. A value may be there as bytes, as float32, or both."""

    def __init__(self, made: BytePlan, scales: Mapping[str, Quantization]) -> None:
        self.plan = made
        self.source = made.graph
        self.scales = scales
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = {}
        self.bytes: dict[str, str] = {}
        self.floats: dict[str, str] = {}
        self.taken = set(made.graph.by_name)

    def graph(self) -> Graph:
        for node in self.source.nodes:
            self.node(node)
        outputs = tuple(self.as_float(name) for name in self.source.outputs)
        assert outputs == self.source.outputs
        return replace(self.source, nodes=tuple(self.nodes.values()), constants=self.constants)

    def node(self, node: Node) -> None:
        layer = self.plan.layers.get(node.name)
        if layer is not None:
            if node.name == layer.name:
                self.layer(layer)
            return
        make = {
            Mode.SUM: self.sum,
            Mode.MEAN: self.mean,
            Mode.PRODUCT: self.product,
            Mode.FUNCTION: self.function,
            Mode.MOVE: self.move,
        }.get(self.plan.modes[node.name], self.unchanged)
        make(node)

    # ------------------------------------------------------------------------------------------------ values

    def add(self, node: Node, constants: Mapping[str, Constant] | None = None) -> str:
        """Adds a node with its type inferred, and the constants of its slots; its name."""
        types = tuple(self.nodes[name].type for name in node.inputs)
        attrs = ops.complete(node.op, node.attrs)
        names: dict[str, str] = {}
        for slot, constant in (constants or {}).items():
            names[slot] = self.fresh(f"{node.name}.{slot}", self.constants)
            self.constants[names[slot]] = constant
        try:
            kind = ops.infer_type(node.op, types, attrs)
        except ShapeError as error:
            raise CnnccError(f"{node.name}: {error.message}", node.span, node.stack, KEEP) from None
        made = node.with_(type=kind, attrs=attrs, weights=names or node.weights)
        self.nodes[node.name] = made
        return node.name

    def fresh(self, name: str, taken: Container[str]) -> str:
        """A name that is not taken."""
        while name in taken:
            name += "_"
        return name

    def other_name(self, name: str, suffix: str) -> str:
        """A name for the same value in another type."""
        found = self.fresh(f"{name}.{suffix}", self.taken)
        self.taken.add(found)
        return found

    def name_of_bytes(self, name: str) -> str:
        """The name under which a value is computed as bytes; an output keeps its name for float32."""
        return self.other_name(name, "bytes") if self.source.is_output(name) else name

    def as_bytes(self, name: str) -> str:
        """The value as bytes."""
        if name not in self.bytes:
            source = self.source[name]
            attrs = self.result(name)
            made = Node(self.other_name(name, "bytes"), "quantize", (self.floats[name],), source.type, attrs)
            self.bytes[name] = self.add(made.with_(span=source.span, stack=source.stack))
        return self.bytes[name]

    def as_float(self, name: str) -> str:
        """The value as float32."""
        if name not in self.floats:
            source = self.source[name]
            own = name if self.source.is_output(name) else self.other_name(name, "float")
            made = Node(own, "dequantize", (self.bytes[name],), source.type, {}, span=source.span, stack=source.stack)
            self.floats[name] = self.add(made)
        return self.floats[name]

    def result(self, name: str) -> dict[str, Any]:
        """Attributes of the type of a value as bytes."""
        known = self.scales[name]
        return {"element": UINT8.name, "scale": known.scale, "zero": known.zero}

    # ------------------------------------------------------------------------------------------------ nodes

    def unchanged(self, node: Node) -> None:
        """A node of float32."""
        inputs = tuple(self.as_float(name) for name in node.inputs)
        self.constants |= {name: self.source.constants[name] for name in node.weights.values()}
        self.nodes[node.name] = node.with_(inputs=inputs)
        self.floats[node.name] = node.name

    def made_bytes(self, node: Node, op: str, inputs: tuple[str, ...]) -> None:
        """A node of one of the ops on bytes that has no weights."""
        own = self.name_of_bytes(node.name)
        made = node.with_(name=own, op=op, inputs=inputs, attrs=self.result(node.name), weights={})
        self.bytes[node.name] = self.add(made)

    def sum(self, node: Node) -> None:
        self.made_bytes(node, ON_BYTES[node.op], tuple(map(self.as_bytes, node.inputs)))

    def mean(self, node: Node) -> None:
        inputs = (self.as_bytes(node.inputs[0]),)
        if self.plan.is_bytes(node.name):
            self.made_bytes(node, ON_BYTES[node.op], inputs)
            return
        self.floats[node.name] = self.add(node.with_(op=ON_BYTES[node.op], inputs=inputs, attrs={}))

    def product(self, node: Node) -> None:
        image, factor = node.inputs
        self.made_bytes(node, ON_BYTES[node.op], (self.as_bytes(image), self.as_float(factor)))

    def function(self, node: Node) -> None:
        """In float32 between bytes, which a pass makes a table."""
        source = self.as_float(node.inputs[0])
        if self.plan.is_inside(node):
            self.floats[node.name] = self.add(node.with_(inputs=(source,)))
            return
        inner = self.other_name(node.name, "float")
        self.add(node.with_(name=inner, inputs=(source,)))
        self.made_bytes(node, "quantize", (inner,))

    def move(self, node: Node) -> None:
        """The same op, of bytes."""
        own, inputs = self.name_of_bytes(node.name), tuple(map(self.as_bytes, node.inputs))
        self.constants |= {name: self.source.constants[name] for name in node.weights.values()}
        self.bytes[node.name] = self.add(node.with_(name=own, inputs=inputs))

    def layer(self, layer: ByteLayer) -> None:
        """A node with weights, and what it computes besides."""
        node, name = layer.node, layer.name
        inputs = (self.as_bytes(node.inputs[0]), *([self.as_bytes(layer.added)] if layer.added else []))
        attrs = {key: value for key, value in node.attrs.items() if key != "epilogue"}
        attrs |= {"epilogue": ADDED} if layer.added else {}
        made = node.with_(name=name, op=ON_BYTES[node.op], inputs=inputs, attrs=attrs, weights={})
        constants = self.weights(node)
        if not self.plan.is_bytes(name):
            self.floats[name] = self.add(made, constants)
            return
        own, attrs = self.name_of_bytes(name), attrs | self.result(name)
        bounds = layer.bounds
        if bounds is None or self.is_free(name, bounds):
            self.bytes[name] = self.add(made.with_(name=own, attrs=attrs), constants)
            return
        before = self.add(made.with_(name=layer.nodes[-2].name, attrs=attrs), constants)
        self.bytes[name] = self.add(bounds.with_(name=own, inputs=(before,)))

    def is_free(self, name: str, bounds: Node) -> bool:
        """Whether an activation bounds no result that bytes of the value can have."""
        kind = TensorType(bounds.type.shape, element=UINT8, quantization=self.scales[name])
        return byte_bounds(kind, *BOUNDED[bounds.op](bounds.attrs)) == byte_bounds(kind)

    def weight_by_output(self, node: Node) -> Constant:
        """The weight of a layer, outputs first."""
        weight = self.source.constants[node.weights["weight"]]
        return outputs_first(weight, node.attrs["groups"]) if ops.traits(node).weight_by_input else weight

    def weights(self, node: Node) -> dict[str, Constant]:
        """The constants of a layer on bytes, computed from those in float32 when they are asked for."""
        weight = self.weight_by_output(node)
        bias = self.source.constants[node.weights["bias"]] if "bias" in node.weights else None
        input_scale, out = self.scales[node.inputs[0]].scale, weight.shape[0]
        others = () if bias is None else (bias,)

        def scales(w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
            return weight_scales(w, b, input_scale)

        def steps(b: np.ndarray, w: np.ndarray) -> np.ndarray:
            return bias_steps(b, input_scale, scales(w, b)).astype(np.int32)

        return {
            "weight": weight.map(weight.shape, lambda w, *b: weight_bytes(w, scales(w, *b)), *others, element=INT8),
            **({} if bias is None else {"bias": bias.map((out,), steps, weight, element=INT32)}),
            "weight_scale": weight.map((out,), scales, *others),
        }


def weight_scales(weight: np.ndarray, bias: np.ndarray | None, input_scale: float) -> np.ndarray:
    """The scale of each output channel's weights, float32: its largest weight is 127, but the bias stays within what a
    sum may have. A channel without weights has the scale 1."""
    most = np.abs(weight.reshape(len(weight), -1).astype(np.float64)).max(axis=1, initial=0.0)
    found = (most / MOST_WEIGHT).astype(np.float32)
    if bias is not None:
        found = np.maximum(found, least_weight_scales(bias, input_scale))
    return np.where(found >= np.finfo(np.float32).tiny, found, np.float32(1.0)).astype(np.float32)


def weight_bytes(weight: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """rne(w / s), int8."""
    steps = weight.astype(np.float64) / scales.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    return np.clip(np.rint(steps), -MOST_WEIGHT, MOST_WEIGHT).astype(np.int8)
