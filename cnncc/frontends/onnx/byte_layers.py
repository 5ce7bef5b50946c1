"""Layers of a quantised model on bytes: what it says as dequantize, float32 layer, quantize becomes the layer on bytes.

The integers and roundings are those of docs/int8.md, which are ONNX Runtime's for a convolution between two roundings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cnncc.base.elements import INT8, INT32
from cnncc.frontends.onnx.byte_moves import RULES as MOVES
from cnncc.frontends.onnx.byte_moves import bytes_behind
from cnncc.frontends.onnx.steps import Dequantised, byte_weights
from cnncc.frontends.onnx.values import bound
from cnncc.ir import Constant, Graph, Node
from cnncc.ir.draft import Draft
from cnncc.ir.rewrite import Change, Rule, arms, rewrite, rule
from cnncc.ops import complete, infer_type, traits
from cnncc.ops.byte_arithmetic import bias_steps, byte_bounds, known, least_weight_scales, overflowing, scales
from cnncc.ops.conv import turned_weight
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.pool import divisors
from cnncc.ops.quantized import ADDED, ON_BYTES, RESULT
from cnncc.passes.fold_scales import bias_after_conv

LAYERS = {name: ON_BYTES[name] for name in ("conv", "conv_transpose", "fc")}
SAME_STEPS = 1e-5
"""How near the scale of a bias must be to that of the sum for its integers to be taken as they are."""


def with_byte_layers(graph: Graph, steps: Mapping[str, Dequantised]) -> Graph:
    """The graph with what it computes between dequantize and quantize on bytes. `steps` are the constants that are
    integers times scales, by name."""
    rules = (layer_of_bytes(steps), mean_of_bytes, *MOVES, *ROUNDED)
    return rewrite(rewrite(graph, (bias_after_conv,)), rules)


def layer_of_bytes(steps: Mapping[str, Dequantised]) -> Rule:
    """The rule for layers whose weights are integers times scales."""

    @rule(*LAYERS)
    def layer(g: Draft, node: Node) -> Change | None:
        """conv(dequantize(x)) => qconv(x) in float32, of conv_transpose and fc too

        Must not fire for weights that are not int8 with one scale for each output.
        """
        x, name = bytes_behind(g, node.inputs[0]), node.weights["weight"]
        found = byte_weights(*by_output(node, g.constants[name].compute(), steps.get(name)))
        if x is None or found is None:
            return None
        weight, scale = found
        constants: dict[str, Constant] = {}
        if "bias" in node.weights:
            slot, step = node.weights["bias"], known(x.type).scale
            given = g.constants[slot].compute()
            bias = bias_of(given, steps.get(slot), step, scale)
            if overflowing(weight, bias).size:
                weight, scale = with_room(weight, scale, given, step)
                bias = bias_of(given, steps.get(slot), step, scale)
            constants[slot] = bound(np.clip(bias, INT32.least, INT32.most), INT32)
        slots = {**node.weights, "weight_scale": g.free_name(f"{node.name}.weight_scale")}
        constants |= {name: bound(weight, INT8), slots["weight_scale"]: bound(scale)}
        op = LAYERS[node.op]
        return Change((made(g, node.name, op, (x.name,), {**node.attrs, **RESULT}, slots),), constants)

    return layer


def by_output(node: Node, weight: np.ndarray, given: Dequantised | None) -> tuple[np.ndarray, Dequantised | None]:
    """The weight of a layer and its scales, outputs first."""
    if not traits(node).weight_by_input:
        return weight, given
    groups, each = node.attrs["groups"], weight.shape[1]
    if given is not None and given.scale.size == each:  # one for each output of a group
        given = Dequantised(np.tile(given.scale, groups), None)
    return turned_weight(weight, groups), given


def with_room(weight: np.ndarray, scale: np.ndarray, bias: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """The weights with scales that are not too small for the bias. A batch norm leaves channels with all but no
    weights: what is lost of these is less than a step of which the bias has 2^30."""
    least = least_weight_scales(bias, step)
    if not (scale < least).any():
        return weight, scale
    wide = np.maximum(scale, least)
    ratio = (scale.astype(np.float64) / wide).reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight * ratio).astype(np.int8), wide


def bias_of(bias: np.ndarray, given: Dequantised | None, step: float, scale: np.ndarray) -> np.ndarray:
    """A bias in steps of the sum: the model's integers, if it has them in those steps, else the nearest."""
    if given is None or given.integers is None or given.integers.size != len(bias):
        return bias_steps(bias, step, scale)
    integers = given.integers.reshape(-1)
    if np.allclose(given.scale, scales(step, scale), rtol=SAME_STEPS, atol=0):
        return integers
    return bias_steps(integers * given.scale.astype(np.float64), step, scale)


@rule("gap")
def mean_of_bytes(g: Draft, node: Node) -> Change | None:
    """gap(dequantize(x)) => qgap(x) in float32

    Must not fire for anything else.
    """
    x = bytes_behind(g, node.inputs[0])
    return Change((made(g, node.name, "qgap", (x.name,), RESULT),)) if x else None


@rule("quantize")
def rounded_layer(g: Draft, node: Node) -> Change | None:
    """quantize(act(qconv(x))) => act(qconv(x) to bytes), of qconv_transpose, qfc and qgap too

    Must not fire when a value before has other users or is a graph output, or for an act that is no bound.
    """
    chain, layer = bounded(g, node, *LAYERS.values(), "qgap")
    if layer is None or not layer.type.is_float:
        return None
    return with_bounds(g, node, chain, layer)


@rule("quantize")
def bounded_bytes(g: Draft, node: Node) -> Change | None:
    """quantize(act(dequantize(x))) => act(x)

    Must not fire for another scale than that of x; else as above.
    """
    chain, numbers = bounded(g, node, "dequantize")
    x = bytes_behind(g, numbers.name) if numbers is not None else None
    acts = [act for act in chain if not is_implied(act, node)]
    if x is None or x.type.numbers != node.type.numbers or not acts:
        return None
    return Change(on_bytes(acts, x.name, node))


@rule("quantize")
def rounded_sum(g: Draft, node: Node) -> Change | None:
    """quantize(act(dequantize(a) + dequantize(b))) => act(qadd(a, b))

    Must not fire for a sum that broadcasts or has more than two arms; else as above.
    """
    chain, total = bounded(g, node, "add")
    if total is None or len(total.inputs) != 2:
        return None
    a, b = (bytes_behind(g, name) for name in total.inputs)
    if a is None or b is None or a.type.shape != b.type.shape:
        return None
    return with_bounds(g, node, chain, total.with_(op="qadd", inputs=(a.name, b.name), attrs={}))


@rule("quantize")
def rounded_residual(g: Draft, node: Node) -> Change | None:
    """quantize(act(qconv(x) + dequantize(r))) => act(qconv(x) + r to bytes), rounded once

    Must not fire for a sum that broadcasts or has more than two arms; else as above.
    """
    chain, total = bounded(g, node, "add")
    for name, other in arms(total):
        layer, r = g.private(name, "qconv", "qconv_transpose"), bytes_behind(g, other)
        if layer is None or r is None or not layer.type.is_float or layer.type.shape != r.type.shape:
            continue
        made_of = layer.with_(inputs=(*layer.inputs, r.name), attrs={**layer.attrs, "epilogue": ADDED})
        return with_bounds(g, node, chain, made_of)
    return None


@rule("quantize")
def rounded_product(g: Draft, node: Node) -> Change | None:
    """quantize(act(dequantize(x) * f)) => act(qmul(x, f)) with a factor for each channel

    Must not fire for other factors; else as above.
    """
    chain, product = bounded(g, node, "mul")
    if product is None:
        return None
    for name, other in arms(product):
        x, factor = bytes_behind(g, name), g[other].type
        if x is None or len(x.type.shape) != 4 or factor.shape[1:] != (x.type.shape[1], 1, 1) or not factor.is_float:
            continue
        made_of = product.with_(op="qmul", inputs=(x.name, other), attrs={})
        return with_bounds(g, node, chain, made_of)
    return None


@rule("quantize")
def rounded_mean(g: Draft, node: Node) -> Change | None:
    """quantize(act(avgpool(dequantize(x)))) => act(qconv(x)) with ones

    Must not fire where windows average different counts of numbers; else as above.
    """
    chain, pool = bounded(g, node, "avgpool")
    x = bytes_behind(g, pool.inputs[0]) if pool is not None else None
    if pool is None or x is None:
        return None
    counts = np.unique(divisors(x.type.shape, pool.attrs))
    if len(counts) != 1:
        return None
    channels, kernel = x.type.shape[1], pool.attrs["kernel"]
    settings = {key: pool.attrs[key] for key in ("kernel", "stride", "pad", "rounding")}
    attrs = {**settings, "out": channels, "groups": channels, "bias": False}
    slots = {slot: g.free_name(f"{node.name}.{slot}") for slot in ("weight", "weight_scale")}
    constants = {
        slots["weight"]: bound(np.ones((channels, 1, *kernel), np.int8), INT8),
        slots["weight_scale"]: bound(np.full(channels, 1 / counts[0], np.float32)),
    }
    ones = pool.with_(op="qconv", inputs=(x.name,), attrs=attrs, weights=slots)
    return with_bounds(g, node, chain, ones, constants)


ROUNDED = (rounded_layer, bounded_bytes, rounded_sum, rounded_residual, rounded_product, rounded_mean)


def bounded(g: Draft, node: Node, *ops: str) -> tuple[list[Node], Node | None]:
    """The bounds of a value before it is quantised, the first one first, and what computes it, if that is one of the
    ops and nobody else reads it."""
    chain: list[Node] = []
    name = node.inputs[0]
    while g.is_private(name):
        at = g[name]
        if at.op not in BOUNDED:
            return chain, g.made_by(name, *ops)
        chain.insert(0, at)
        name = at.inputs[0]
    return chain, None


def with_bounds(
    g: Draft,
    node: Node,
    chain: Sequence[Node],
    layer: Node,
    constants: Mapping[str, Constant] | None = None,
) -> Change:
    """The layer with the type that `node` quantises to, and behind it those bounds that the type does not have by
    itself. The last one has the name of `node`."""
    acts = [act for act in chain if not is_implied(act, node)]
    attrs = {**layer.attrs, **{key: node.attrs[key] for key in RESULT}}
    first = made(g, layer.name if acts else node.name, layer.op, layer.inputs, attrs, layer.weights)
    return Change((first, *on_bytes(acts, first.name, node)), constants or {})


def on_bytes(acts: Sequence[Node], name: str, node: Node) -> tuple[Node, ...]:
    """Bounds of the bytes of a value; the last one has the name of `node`, which quantised them."""
    names = [name, *(act.name for act in acts[:-1]), node.name]
    return tuple(
        act.with_(name=own, inputs=(before,), type=node.type)
        for act, before, own in zip(acts, names, names[1:], strict=False)
    )


def is_implied(act: Node, node: Node) -> bool:
    """Whether bytes of the type that `node` gives are within the bounds anyway."""
    to, element = byte_bounds(node.type, *BOUNDED[act.op](act.attrs)), node.type.element
    return (to.low, to.high) == (element.least, element.most)


def made(
    g: Draft,
    name: str,
    op: str,
    inputs: tuple[str, ...],
    attrs: Mapping[str, object],
    weights: Mapping[str, str] | None = None,
) -> Node:
    """A node with its type."""
    full = complete(op, attrs)
    kind = infer_type(op, tuple(g[i].type for i in inputs), full)
    return Node(name, op, inputs, kind, full, weights or {})
