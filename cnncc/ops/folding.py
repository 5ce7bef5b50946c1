"""What takes a scale and shift per channel into the weights before them: w x + b, then (y - mean) * scale + shift."""

from __future__ import annotations

import numpy as np

from cnncc.ops.table import Array


def scaled(weight: Array, factor: Array, groups: int = 0) -> Array:
    """Weight times factor along its output channels, in float32: axis 0, or (conv_transpose: groups > 0) axis 1 of each
    group."""
    if not groups:
        # In float64 piece by piece, rounded once: a whole copy of the weight in float64 takes longer than the product.
        result = np.empty(weight.shape, np.float32)
        factors = factor.reshape(-1, *[1] * (weight.ndim - 1))
        return np.multiply(weight, factors, out=result, dtype=np.float64, casting="same_kind")
    inputs, outs, kh, kw = weight.shape
    grouped = weight.reshape(groups, inputs // groups, outs, kh, kw) * factor.reshape(groups, 1, outs, 1, 1)
    return grouped.reshape(weight.shape).astype(np.float32)


def shifted(bias: Array | float, mean: Array, scale: Array, shift: Array) -> Array:
    """The bias (0 if there is none) after the scale and shift, in float32."""
    return np.asarray(shift + (bias - mean) * scale).astype(np.float32)
