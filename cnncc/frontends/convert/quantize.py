"""Quantised models in float32: known weights are dequantised, and of computed tensors only the saturation stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx_site import Site, Tensor
from cnncc.frontends.onnx_tensors import kind_of
from cnncc.frontends.onnx_values import Unsupported

FLOATS = frozenset({"FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"})


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
