"""The op table, and what can be asked of it."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from types import ModuleType
from typing import Any

from cnncc.base.errors import nearest
from cnncc.ir import Graph, Node, TensorType
from cnncc.ir import verify as ir_verify
from cnncc.ir.rules import check_arity
from cnncc.ir.verify import VerifyError
from cnncc.ops import measure
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.shapes import refuse_huge
from cnncc.ops.table import NOT_TRAINED, REQUIRED, Attrs, Op, Shape, ShapeError, Shapes
from cnncc.ops.traits import Kind, Traits
from cnncc.ops.type_rules import Types

__all__ = [
    "ACTIVATIONS",
    "DEFAULTS",
    "LINEAR",
    "NOT_TRAINED",
    "REQUIRED",
    "TABLE",
    "Op",
    "ShapeError",
    "VerifyError",
    "add",
    "complete",
    "infer",
    "infer_type",
    "macs",
    "of_trait",
    "params",
    "receptive_field",
    "refuse_huge",
    "total_params",
    "traits",
    "verify",
    "weight_shapes",
]


def families() -> Iterator[ModuleType]:
    """The modules of this package that hold ops: those with a tuple OPS."""
    for module in pkgutil.iter_modules(__path__):
        found = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(found, "OPS"):
            yield found


_table: dict[str, Op] = {op.name: op for family in families() for op in family.OPS}
TABLE: Mapping[str, Op] = _table
"""Every op by name."""
ACTIVATIONS: Set[str] = RECORDS.keys()
"""Ops of one tensor, pointwise, that an epilogue may hold."""
_defaults: dict[str, Attrs] = {name: op.attributes for name, op in TABLE.items()}
DEFAULTS: Mapping[str, Attrs] = _defaults
"""Attributes of every op with their defaults, e.g. for `print_graph(graph, DEFAULTS)`."""
_READERS = ("cnncc.lang", "cnncc.kernels", "cnncc.frontends", "cnncc.passes")
"""Parts of the compiler that read the table while they are imported."""


ADDED: set[str] = set()
"""Ops that `add` put into the table."""


def add(*added: Op) -> None:
    """Puts ops into the table, to try one out in a script. It has to come before the parts of the compiler that read
    the table while they are imported. RuntimeError where it comes after them, or for a name that is taken."""
    late = [part for part in _READERS if part in sys.modules]
    if late:
        raise RuntimeError(f"ops are added before {', '.join(late)} are imported")
    for op in added:
        if op.name in TABLE:
            raise RuntimeError(f"there is an op {op.name!r} already")
        _table[op.name], _defaults[op.name] = op, op.attributes
        ADDED.add(op.name)


def lookup(name: str) -> Op:
    """The op of that name; ShapeError with the nearest name if there is none."""
    if name not in TABLE:
        raise ShapeError(f"unknown op {name!r}", nearest(name, TABLE))
    return TABLE[name]


def of_trait(holds: Callable[[Traits], bool]) -> tuple[str, ...]:
    """The names of the ops whose traits are such, for rules that ask about nothing else."""
    return tuple(name for name, op in TABLE.items() if holds(op.traits))


LINEAR = of_trait(lambda t: t.kind is Kind.LINEAR)
"""Ops that add up products with weights (see `traits.Kind`)."""


def traits(node: Node) -> Traits:
    """The traits of a node's op."""
    return TABLE[node.op].traits


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


def infer_type(name: str, types: Types, attrs: Attrs) -> TensorType:
    """Type of the result, in plain layout, of an op on inputs of the given types; the rest as in `infer`."""
    full = complete(name, attrs)
    check_arity(TABLE[name].arity, len(types), full)
    found = TABLE[name].type(tuple(types), full)
    refuse_huge(found.shape, "the result would be")
    return found


def weight_shapes(name: str, shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """Slots of the op's constants and their shapes, once `infer` has accepted the same arguments."""
    return lookup(name).weights(tuple(shapes), complete(name, attrs))


def verify(graph: Graph) -> None:
    """VerifyError, naming node and rule, unless the graph is well formed. See `cnncc.ir.verify`."""
    ir_verify.verify(graph, TABLE)


def params(graph: Graph, node: Node) -> int:
    """Trained parameters of one node: biases and batch norm's scale and shift count, running statistics do not."""
    return measure.count(measure.trained(graph, [node]))


def total_params(graph: Graph) -> int:
    """Trained parameters of the graph; a shared constant counts once."""
    return measure.count(measure.trained(graph, graph.nodes))


def macs(graph: Graph, node: Node) -> int:
    """Multiply-adds of one node for the whole batch (one multiply-add is two FLOPs)."""
    return measure.node_macs(TABLE, graph, node)


def receptive_field(graph: Graph) -> dict[str, tuple[int, int]]:
    """Receptive field (height, width) of every value, in positions of the graph's inputs."""
    return measure.receptive_fields(TABLE, graph)
