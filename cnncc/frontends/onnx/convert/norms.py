"""Norms of ONNX, and dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnncc.frontends.onnx.convert.arms import merged
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.convert.reduce import reduced, square, total
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axes_of, axis_of, plain_value

SMALLEST = 1.1754943508222875e-38
"""What is divided by in place of 0."""
IMAGES = range(2, 9)
"""Numbers of axes of a tensor that has channels: one more than ONNX Runtime takes, with room."""


def batch_norm(site: OnnxSite) -> Tensor:
    """With fixed statistics."""
    more = [i for i, name in enumerate(site.results) if i and name]
    # Before opset 14 only the further results say that it is training, whether anybody reads them or not.
    if site.flag("training_mode") or (more if site.opset < 14 else any(map(site.wants, more))):
        raise Unsupported("batch norm in training")
    value = site.value(0)
    names = ("the scale", "the shift", "the mean", "the variance")
    channels = value.shape[1] if len(value.shape) > 1 else 1
    weights = [site.vector(i, what, channels).astype(np.float32) for i, what in enumerate(names, start=1)]
    eps = site.number("epsilon", 1e-5, low=0)
    if len(value.shape) < 2:
        return plain_value(site.add("bn", site.b.split(value.node, 1), weights=weights, eps=eps), value.shape)
    arranged, node = site.b.front(value, 1, f"{site.hint}.t")
    return Value(site.add("bn", node, weights=weights, eps=eps), value.shape, arranged.axes)


def lrn(site: OnnxSite) -> Tensor:
    """Across the channels."""
    value = site.value(0, range(2, 9))
    numbers: dict[str, Any] = {"alpha": site.number("alpha", 1e-4), "beta": site.number("beta", 0.75)}
    arranged, node = site.b.front(value, 1, f"{site.hint}.t")
    if len(site.b.shape(node)) == 2:
        node = site.b.seen(node, (value.shape[1], 1, 1))
    made = site.add("lrn", node, size=site.integer("size", low=1), k=site.number("bias", 1.0), **numbers)
    return Value(made, value.shape, arranged.axes)


def grouped(site: OnnxSite, value: Value, groups: int, weights: list[np.ndarray], eps: float) -> Value:
    """group_norm of (n, c, ...); more images than the batch holds are groups of their own. What lies behind a reshape
    to (n, groups, rest) stays the image that it was: each group's numbers are those of all its channels."""
    channels = value.shape[0] // site.b.batch * value.shape[1]
    node = site.b.plain(value, f"{site.hint}.t")
    have = site.b.shape(node)[1]
    each = have // channels if have % channels == 0 else 1
    node = node if each > 1 else site.b.split(node, channels)
    repeated = [np.repeat(np.tile(w, channels // value.shape[1]), each) for w in weights]
    images = value.shape[0] // site.b.batch
    made = site.add("group_norm", node, weights=repeated, groups=images * groups, eps=eps)
    return plain_value(made, value.shape)


def instance_norm(site: OnnxSite) -> Tensor:
    """As many groups as channels."""
    value = site.value(0, IMAGES)
    channels = value.shape[1]
    weights = [site.vector(i, what, channels) for i, what in ((1, "the scale"), (2, "the shift"))]
    return grouped(site, value, channels, weights, site.number("epsilon", 1e-5, low=0))


def group_norm(site: OnnxSite) -> Tensor:
    """Scale and shift are per channel; in opset 18 per group."""
    value = site.value(0, IMAGES)
    channels = value.shape[1]
    groups = site.integer("num_groups", low=1, high=channels)
    if channels % groups:
        raise Unsupported(f"{channels} channels in {groups} groups")
    count = groups if site.const(1, "the scale").size == groups else channels
    weights = [site.vector(i, what, count) for i, what in ((1, "the scale"), (2, "the shift"))]
    return grouped(
        site, value, groups, [np.repeat(w, channels // count) for w in weights], site.number("epsilon", 1e-5, low=0)
    )


def mean_variance_norm(site: OnnxSite) -> Tensor:
    """(x - mean) / (deviation + 1e-9) along axes."""
    value = site.value(0)
    axes = tuple(axes_of(site.integers("axes", (0, 2, 3)), len(value.shape)))
    mean = reduced(site, "gap", value, axes)
    centred = combined(site, "add", value, site.pointwise("affine", mean, scale=-1.0))
    deviation = site.pointwise("sqrt", reduced(site, "gap", square(site, centred), axes))
    return merged(site, "div", centred, site.pointwise("affine", deviation, shift=1e-9))


def lp_norm(site: OnnxSite) -> Tensor:
    """x over the sum of its sizes, or the root of the sum of its squares, along an axis; zeros stay zeros."""
    value, p = site.value(0), site.integer("p", 2, 1, 2)
    axis = axis_of(site.integer("axis", -1), len(value.shape))
    size = total(site, site.pointwise("abs", value) if p == 1 else square(site, value), (axis,))
    length = size if p == 1 else site.pointwise("sqrt", size)
    return merged(site, "div", value, site.pointwise("clip", length, low=SMALLEST))


def dropout(site: OnnxSite) -> list[Tensor]:
    """Kept, so that the text reads like the network; it does nothing, and its mask is all ones."""
    value = site.value(0)
    training = site.has(2) and site.flag_at(2, "training_mode")
    share = site.scalar(1, "ratio") if site.has(1) else site.number("ratio", 0.5)
    if training and share:
        raise Unsupported("dropout in training")
    kept = site.pointwise("dropout", value, p=round(share, 6)) if 0 <= share < 1 and not training else value
    return [kept, np.ones(value.shape, bool)]


RULES: Mapping[str, Callable[[OnnxSite], Tensor | list[Tensor]]] = {
    "BatchNormalization": batch_norm,
    "LRN": lrn,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "MeanVarianceNormalization": mean_variance_norm,
    "LpNormalization": lp_norm,
    "Dropout": dropout,
}
"""Of one result, `dropout` of two."""
