"""Comparisons, truth values and choices. Here a truth value is 1 or 0."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.pointwise import combined, operands
from cnncc.frontends.onnx.site import OnnxRule, OnnxSite, Tensor
from cnncc.frontends.onnx.values import Value, broadcast
from cnncc.ops.activation import LARGEST


def comparison(op: str, swapped: bool = False) -> OnnxRule:
    """a > b, or b > a."""

    def rule(site: OnnxSite) -> Tensor:
        a, b = operands(site)
        return merged(site, op, *((b, a) if swapped else (a, b)))

    return rule


def opposite(site: OnnxSite, value: Value) -> Value:
    """1 - x"""
    return site.pointwise("affine", value, scale=-1.0, shift=1.0)


def both(op: str) -> OnnxRule:
    """A product is 1 where both are, the larger one where either is."""

    def rule(site: OnnxSite) -> Tensor:
        a, b = (t if isinstance(t, Value) else np.asarray(t, np.float32) for t in operands(site))
        return combined(site, op, a, b)

    return rule


def exclusive_or(site: OnnxSite) -> Tensor:
    return opposite(site, merged(site, "equal", *operands(site)))


def is_nan(site: OnnxSite) -> Tensor:
    """Only NaN differs from itself."""
    value = site.value(0)
    return opposite(site, Value(site.add("equal", value.node, value.node), value.shape, value.axes))


def is_infinite(site: OnnxSite) -> Tensor:
    """What is beyond the largest number, on the sides that count."""
    value = site.value(0)
    below, above = site.flag("detect_negative", True), site.flag("detect_positive", True)
    if not below and not above:
        return np.zeros(value.shape, bool)
    if not above:
        value = site.pointwise("affine", value, scale=-1.0)
    elif below:
        value = site.pointwise("abs", value)
    return merged(site, "greater", value, np.full((1,) * len(value.shape), LARGEST))


def where(site: OnnxSite) -> Tensor:
    """One of two tensors, by a mask that is computed or known; a known mask of one value chooses now."""
    mask, yes, no = map(site.tensor_at, range(3))
    if isinstance(mask, np.ndarray) and mask.size and (mask == mask.flat[0]).all():
        chosen = yes if mask.flat[0] else no
        shape = broadcast(*(t.shape for t in (mask, yes, no)))
        return site.b.expand(chosen, shape, site.hint) if isinstance(chosen, Value) else np.broadcast_to(chosen, shape)
    return merged(site, "where", mask, yes, no)


RULES: Mapping[str, OnnxRule] = {
    "Greater": comparison("greater"),
    "GreaterOrEqual": comparison("greater_equal"),
    "Less": comparison("greater", swapped=True),
    "LessOrEqual": comparison("greater_equal", swapped=True),
    "Equal": comparison("equal"),
    "Not": lambda site: opposite(site, site.value(0)),
    "And": both("mul"),
    "Or": both("max"),
    "Xor": exclusive_or,
    "IsNaN": is_nan,
    "IsInf": is_infinite,
    "Where": where,
}
"""Of one result each."""
