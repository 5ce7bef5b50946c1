"""The op table, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnncc.base.errors import nearest
from cnncc.ir import Graph, Node
from cnncc.ir import verify as ir_verify
from cnncc.ir.rules import check_arity
from cnncc.ir.verify import VerifyError
from cnncc.ops import (
    activation,
    combine,
    compare,
    conv,
    dense,
    gather,
    group_norm,
    matmul,
    measure,
    nms,
    normalize,
    parts,
    permute,
    pool,
    rearrange,
    resample,
    resize,
    roi_align,
    sample,
    source,
)
from cnncc.ops.shapes import refuse_huge
from cnncc.ops.table import NOT_TRAINED, REQUIRED, Attrs, Op, Shape, ShapeError, Shapes

__all__ = [
    "ACTIVATIONS",
    "DEFAULTS",
    "ELEMENTWISE",
    "NOT_TRAINED",
    "REQUIRED",
    "TABLE",
    "UNBOUNDED",
    "VIEWS",
    "Op",
    "ShapeError",
    "VerifyError",
    "complete",
    "infer",
    "macs",
    "params",
    "receptive_field",
    "refuse_huge",
    "total_params",
    "verify",
    "weight_shapes",
]

FAMILIES = (
    *(source, conv, dense, pool, normalize, group_norm, activation, combine, compare, matmul),
    *(resample, resize, rearrange, permute, parts, sample, gather, roi_align, nms),
)
TABLE: Mapping[str, Op] = {op.name: op for family in FAMILIES for op in family.OPS}
"""Every op by name."""
ACTIVATIONS = frozenset(activation.FUNCTIONS)
"""Ops of one tensor, pointwise, that an epilogue may hold."""
ELEMENTWISE = frozenset(op.name for family in (combine, compare) for op in family.OPS if op.name != "concat")
"""Ops of several tensors that fit each other, element by element, with an epilogue."""
UNBOUNDED = activation.UNBOUNDED | combine.UNBOUNDED
"""Ops of both kinds that may give infinity or NaN of finite numbers."""
VIEWS = frozenset({"flatten", "reshape", "slice"})
"""Ops whose result may be a part of their input's memory: the planner lets them do no work."""
DEFAULTS: Mapping[str, Attrs] = {name: op.attributes for name, op in TABLE.items()}
"""Attributes of every op with their defaults, e.g. for `print_graph(graph, DEFAULTS)`."""


def lookup(name: str) -> Op:
    """The op of that name; ShapeError with the nearest name if there is none."""
    if name not in TABLE:
        raise ShapeError(f"unknown op {name!r}", nearest(name, TABLE))
    return TABLE[name]


def complete(name: str, given: Attrs) -> dict[str, Any]:
    """All attributes of an op in the table's order: the given ones and defaults. ShapeError if one is unknown or
    a required one is missing."""
    known = lookup(name).attributes
    for key in given:
        if key not in known:
            raise ShapeError(f"unknown attribute {key!r}", nearest(key, known) if known else f"{name} has none")
    attrs = {**known, **given}
    missing = [key for key, value in attrs.items() if value is REQUIRED]
    if missing:
        raise ShapeError(f"missing {', '.join(missing)}")
    return attrs


def infer(name: str, shapes: Shapes, attrs: Attrs) -> Shape:
    """Result shape (batch first) of an op on inputs of the given shapes; missing attributes take their defaults.
    ShapeError if the op, an attribute, the number of inputs or a shape is wrong; its text does not name the op."""
    full = complete(name, attrs)
    check_arity(TABLE[name].arity, len(shapes), full)
    shape = TABLE[name].shape(tuple(shapes), full)
    refuse_huge(shape, "the result would be")
    return shape


def weight_shapes(name: str, shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """Slots of the op's constants and their shapes, once `infer` has accepted the same arguments."""
    return lookup(name).weights(tuple(shapes), complete(name, attrs))


def verify(graph: Graph) -> None:
    """VerifyError, naming node and rule, unless the graph is well formed. See `cnncc.ir.verify`."""
    ir_verify.verify(graph, TABLE)


def params(graph: Graph, node: Node) -> int:
    """Trained parameters of one node: biases and batch norm's scale and shift count, running statistics do not."""
    return measure.trained(graph, [node])


def total_params(graph: Graph) -> int:
    """Trained parameters of the graph; a shared constant counts once."""
    return measure.trained(graph, graph.nodes)


def macs(graph: Graph, node: Node) -> int:
    """Multiply-adds of one node for the whole batch (one multiply-add is two FLOPs)."""
    return measure.node_macs(TABLE, graph, node)


def receptive_field(graph: Graph) -> dict[str, tuple[int, int]]:
    """Receptive field (height, width) of every value, in positions of the graph's inputs."""
    return measure.receptive_fields(TABLE, graph)
