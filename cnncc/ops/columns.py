"""Weights of one number per channel, as NumPy references apply them."""

from __future__ import annotations

from cnncc.ops.table import Array, Weights


def column(weights: Weights, slot: str, x: Array) -> Array:
    """The weight of a slot, in the dtype of x (n, c, ...) and in a shape that multiplies it channel by channel."""
    return weights[slot].astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 2))


def scaled_and_shifted(y: Array, weights: Weights) -> Array:
    """y times `weight` plus `bias`, as far as there are such slots."""
    y = y * column(weights, "weight", y) if "weight" in weights else y
    return y + column(weights, "bias", y) if "bias" in weights else y
