"""Whether a node is what the standard says of its op: how many inputs and results, which attributes of which types.

A rule may then rely on it: inputs that have to be there are, and an attribute has its type.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx.attributes import type_of
from cnncc.frontends.onnx.tensors import check_tensor, shown
from cnncc.frontends.onnx.values import Unsupported

if TYPE_CHECKING:
    from onnx import NodeProto
    from onnx.defs import OpSchema

DOMAINS = ("", "ai.onnx")
"""Names of the domain of the standard's own ops."""


def check_schema(node: NodeProto, opset: int) -> None:
    """Unsupported if the node is no use of its op in that opset. Ops the standard does not have pass."""
    schema = schema_of(node.op_type, opset) if node.domain in DOMAINS else None
    if schema is None:
        return
    check_inputs(node, schema)
    count, low, high = len(node.output), schema.min_output, schema.max_output
    if not low <= count <= high:
        raise Unsupported(f"has {count} results, {node.op_type} has {spread(low, high)}")
    check_attributes(node, schema)


@lru_cache(1024)
def schema_of(op: str, opset: int) -> OpSchema | None:
    """The newest schema of an opset that is not a note of retirement; of an op that is newer than that, the first."""
    from onnx import defs

    for version in (*range(opset, 0, -1), *range(opset + 1, defs.onnx_opset_version() + 1)):
        if defs.has(op, version, ""):
            schema = defs.get_schema(op, version, "")
            if not schema.deprecated:
                return schema
    return None


def check_inputs(node: NodeProto, schema: OpSchema) -> None:
    """As many as the op takes; names that end the list and are empty stand for nothing."""
    from onnx.defs import OpSchema

    count = max((i for i, name in enumerate(node.input, start=1) if name), default=0)
    if not schema.min_input <= count <= schema.max_input:
        raise Unsupported(f"has {count} inputs, {node.op_type} takes {spread(schema.min_input, schema.max_input)}")
    for i, (name, formal) in enumerate(zip(node.input, schema.inputs, strict=False)):
        if not name and formal.option == OpSchema.FormalParameterOption.Single:
            raise Unsupported(f"input {i} ({formal.name}) is missing")


WHOLE = frozenset({"tensor(int32)", "tensor(int64)"})
"""Types of indices and sizes."""


def check_whole(node: NodeProto, inputs: Sequence[np.ndarray | None], opset: int) -> None:
    """Unsupported if a known input is no integer where the op takes indices or sizes: an index that is a fraction or
    NaN keeps the evaluator of the package onnx busy for ever."""
    schema = schema_of(node.op_type, opset) if node.domain in DOMAINS else None
    for i, (formal, array) in enumerate(zip(schema.inputs if schema else (), inputs, strict=False)):
        if array is not None and set(formal.types) <= WHOLE and array.dtype.kind not in "iu":
            raise Unsupported(f"input {i} ({formal.name}) must be of integers, got {array.dtype}")


def check_attributes(node: NodeProto, schema: OpSchema) -> None:
    """Each known, once, of its type; those that have to be there are."""
    seen: set[str] = set()
    for attribute in node.attribute:
        formal = schema.attributes.get(attribute.name)
        if formal is None:
            known = ", ".join(sorted(schema.attributes)) or "none"
            raise Unsupported(
                f"attribute {shown(attribute.name)}: {node.op_type} has none of that name; it has: {known}"
            )
        if attribute.name in seen:
            raise Unsupported(f"attribute {attribute.name}: given twice")
        wanted, got = str(formal.type).rpartition(".")[2], type_of(attribute)
        if got != wanted:
            raise Unsupported(f"attribute {attribute.name}: expected one of type {wanted}, got {got}")
        if wanted == "TENSOR":
            check_tensor(attribute.t, f"attribute {attribute.name}")
        seen.add(attribute.name)
    for name, formal in schema.attributes.items():
        if formal.required and name not in seen:
            raise Unsupported(f"attribute {name}: missing, {node.op_type} needs it")


def spread(low: int, high: int) -> str:
    """How many, in words."""
    if high >= 1 << 30:
        return f"at least {low}"
    return str(low) if low == high else f"{low} to {high}"
