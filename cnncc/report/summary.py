"""Figures of a network, layer by layer: shapes, parameters, multiply-adds, activation memory, receptive fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from cnncc import ops
from cnncc.ir import Graph, Node
from cnncc.ops.measure import count, trained
from cnncc.ops.traits import Kind, Memory
from cnncc.passes.join_tables import join_tables

DEPTHWISE = "dwconv"
"""The word for a convolution with one group a channel."""


@dataclass(frozen=True)
class LayerSummary:
    """One node of the source graph.

    `op` is the word that the language has for it (`dwconv` for a convolution with one group a channel); `output` is
    channels, height, width (a vector of k is k x 1 x 1); `macs` counts convolutions, transposed convolutions and fc;
    `activation_bytes` is the memory the result needs for itself: 0 where it overwrites its input; `receptive_field` is
    the larger of `receptive_field_hw`, in input pixels, not cut off at the border.
    """

    name: str
    op: str
    output: tuple[int, int, int]
    params: int
    macs: int
    activation_bytes: int
    receptive_field: int
    receptive_field_hw: tuple[int, int]
    window: str
    """Kernel and stride as the language writes them (`3x3 /2`), empty for ops without."""


class ArenaSummary(Protocol):
    """Memory a compiled module asks of its caller, in bytes: `total_bytes` is activations (`bytes`, of which no plan
    needs less than `bound`) and what kernels and threads add to that. It counts what is stored, channels rounded up to
    whole blocks and parts to 64 bytes, so for a small network it can be more than the activations of its layers
    together."""

    @property
    def bytes(self) -> int: ...
    @property
    def bound(self) -> int: ...
    @property
    def added_bytes(self) -> int: ...
    @property
    def total_bytes(self) -> int: ...


@dataclass(frozen=True)
class Summary:
    """Figures of a whole network. `params` counts biases and batch norm's scale and shift, not its running
    statistics."""

    name: str
    layers: tuple[LayerSummary, ...]
    params: int
    param_bytes: int
    """Memory of the parameters, each in its own type."""
    param_types: tuple[str, ...]
    """Types of numbers that the parameters have."""
    arena: ArenaSummary

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and fully connected layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiply-add is two."""
        return 2 * self.macs

    @property
    def activation_bytes(self) -> int:
        """Memory of all results side by side without padding, the input included: what a planned arena saves on."""
        return sum(layer.activation_bytes for layer in self.layers)

    def to_json(self) -> Mapping[str, Any]:
        """Plain data for `cnncc summary --json`."""
        totals = {key: getattr(self, key) for key in ("params", "param_bytes", "macs", "flops", "activation_bytes")}
        arena = {
            "arena_bytes": self.arena.total_bytes,
            "arena_activation_bytes": self.arena.bytes,
            "arena_bound_bytes": self.arena.bound,
            "arena_added_bytes": self.arena.added_bytes,
        }
        return {"name": self.name, **totals, **arena, "layers": [asdict(layer) for layer in self.layers]}


def summarize(graph: Graph, arena: ArenaSummary) -> Summary:
    """Figures of a source graph: one with shapes, before any pass fused layers. Of a network on bytes a function
    between bytes is the table that it is computed by."""
    graph = join_tables(graph)
    fields = ops.receptive_field(graph)
    constants = trained(graph, graph.nodes)
    layers = tuple(_layer(graph, node, fields[node.name]) for node in graph.nodes)
    types = tuple(dict.fromkeys(constant.element.name for constant in constants))
    return Summary(graph.name, layers, count(constants), sum(c.nbytes for c in constants), types, arena)


def _layer(graph: Graph, node: Node, field: tuple[int, int]) -> LayerSummary:
    return LayerSummary(
        name=node.name,
        op=_word(graph, node),
        output=node.type.chw,
        params=ops.params(graph, node),
        macs=ops.macs(graph, node),
        activation_bytes=0 if _in_place(graph, node) else node.type.nbytes,
        receptive_field=max(field),
        receptive_field_hw=field,
        window=_window(graph, node),
    )


def _in_place(graph: Graph, node: Node) -> bool:
    memory = ops.traits(node).memory
    if memory is Memory.PART:
        return True
    folded = ops.traits(node).folds and ops.traits(graph[node.inputs[0]]).kind is Kind.LINEAR
    return (folded or memory is Memory.OVER) and graph.is_private(node.inputs[0])


def _word(graph: Graph, node: Node) -> str:
    if _is_depthwise(graph, node):
        return DEPTHWISE
    forms = ops.TABLE[node.op].forms
    return forms[0].word if forms else node.op


def _is_depthwise(graph: Graph, node: Node) -> bool:
    one_a_channel = any(form.word == DEPTHWISE for form in ops.TABLE[node.op].forms)
    return one_a_channel and 1 < node.attrs["groups"] == graph[node.inputs[0]].type.chw[0]


def _window(graph: Graph, node: Node) -> str:
    attrs = node.attrs
    words = ["x".join(map(str, attrs["kernel"]))] if "kernel" in attrs else []
    for key, prefix in (("stride", "/"), ("dilation", "dil ")):
        if attrs.get(key, (1, 1)) != (1, 1):
            h, w = attrs[key]
            words.append(f"{prefix}{h}" if h == w else f"{prefix}{h}x{w}")
    if _is_depthwise(graph, node):
        mult = attrs["out"] // attrs["groups"]
        words += [f"mult {mult}"] if mult > 1 else []
    elif attrs.get("groups", 1) != 1:
        words.append(f"groups {attrs['groups']}")
    return " ".join(words)
