"""Quantised models in float32: known weights are dequantised, and of computed tensors only the saturation stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnncc.frontends.onnx_site import Site, Tensor
from cnncc.frontends.onnx_tensors import kind_of
from cnncc.frontends.onnx_values import Unsupported

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTISED = re.compile(r"(Dynamic)?(Quantize|Dequantize)Linear|QLinear\w+|\w+Integer(ToFloat)?|QGemm|QAttention")
"""The ops of quantised models, those of ONNX Runtime's domain too."""
FLOATS = frozenset({"FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"})


def told(model: ModelProto) -> str:
    """What to say of a model that has quantised ops; an empty text for others."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    found = sorted({node.op_type for node in nodes if QUANTISED.fullmatch(node.op_type)})
    if not found:
        return ""
    how = "weights are dequantised, and results of layers are not rounded to integers"
    return f"a quantised model ({', '.join(found)}) is computed in float32: {how}"


def quantize(site: Site) -> Tensor:
    """x, bounded by what the type can hold; rounding is left out."""
    zero = site.const(2, "the zero point") if site.has(2) else np.zeros((), np.uint8)
    if site.const(1, "the scale").size != 1 or zero.size != 1 or zero.dtype.kind not in "iu":
        raise Unsupported("quantisation of a computed tensor other than by one scale to an integer type")
    kind, step, origin = np.iinfo(zero.dtype), site.scalar(1, "the scale"), float(zero.reshape(()))
    return site.pointwise("clip", site.value(0), low=(kind.min - origin) * step, high=(kind.max - origin) * step)


def dequantize(site: Site) -> Tensor:
    """What `quantize` left is in float32 already."""
    return site.value(0)


def cast(site: Site) -> Tensor:
    """Between floating-point types: all arithmetic is float32."""
    name = kind_of(site.integer("to"))
    if name not in FLOATS:
        raise Unsupported(f"a computed tensor as {name}")
    return site.value(0)


RULES: Mapping[str, Callable[[Site], Tensor]] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "Cast": cast,
    "CastLike": lambda site: site.value(0),
}
"""Of one result each."""
