"""Convolution and its transpose, grouped and dilated. One path serves depthwise too: a batch of matrix products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from cnncc.base.divisors import divisors
from cnncc.ir import Constant
from cnncc.ops.columns import column
from cnncc.ops.domains import (
    FLAG,
    DomainRule,
    Each,
    Inputs,
    Tried,
    Whole,
    choice,
    divisors_of_channels,
    window_domains,
    without,
)
from cnncc.ops.epilogue import with_epilogue
from cnncc.ops.forms import BIAS, DILATION, KERNEL, ROUNDING, STRIDE_PAD, Form, Syntax, Word, same_pad
from cnncc.ops.initial import BIAS_VALUES, he_normal, he_scaled, products
from cnncc.ops.shapes import at_least, dims, image, refuse_huge
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, Window
from cnncc.ops.traits import COMPUTED, Kind, MemoryOrder, Order, PostOps
from cnncc.ops.type_rules import floats
from cnncc.ops.window import axes, counts, sliding, strided, windows

COLUMN_LIMIT = 1 << 23
"""Elements of the im2col buffer at a time: U-Net's would not fit in memory at once."""


def check_groups(channels: int, attrs: Attrs) -> None:
    """ShapeError unless the groups divide the channels on both sides."""
    at_least(1, attrs, "out", "groups")
    groups, out = attrs["groups"], attrs["out"]
    for count, what in ((channels, "input channels"), (out, "filters")):
        if count % groups:
            near = max(g for g in divisors(math.gcd(channels, out)) if g <= groups)
            raise ShapeError(f"{groups} groups do not divide {count} {what}", hint=f"e.g. groups {near}")


def with_bias(weight: Shape, attrs: Attrs) -> Mapping[str, Shape]:
    """Slots of a weight and, unless `bias` is off, one number per output channel."""
    return {"weight": weight, **({"bias": (attrs["out"],)} if attrs["bias"] else {})}


def add_bias(y: Array, weights: Weights) -> Array:
    """y + bias along the channels, in y's dtype."""
    if "bias" in weights:
        y += column(weights, "bias", y)
    return y


def conv_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, out, oh, ow), oh = (h - F + 2P)/S + 1."""
    n, c, _, _ = image(shapes[0])
    check_groups(c, attrs)
    return (n, attrs["out"], *counts(shapes[0], attrs))


def conv_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """weight (out, c / groups, kh, kw), bias (out,)."""
    return with_bias((attrs["out"], shapes[0][1] // attrs["groups"], *attrs["kernel"]), attrs)


def conv_macs(shapes: Shapes, result: Shape, attrs: Attrs) -> int:
    """Every result element takes (c / groups) * kh * kw multiply-adds."""
    return math.prod(result) * (shapes[0][1] // attrs["groups"]) * math.prod(attrs["kernel"])


def conv_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """im2col, a few rows of the result at a time, and one matrix product per image and group."""
    view = windows(xs[0], attrs, fill=0)
    kh, kw, n, c, oh, ow = view.shape
    groups = attrs["groups"]
    depth = kh * kw * c // groups
    w = weights["weight"].astype(view.dtype, copy=False).reshape(groups, -1, depth)
    y = np.empty((n, groups, w.shape[1], oh, ow), view.dtype)
    columns = view.reshape(kh, kw, n, groups, c // groups, oh, ow).transpose(2, 3, 4, 0, 1, 5, 6)
    rows = max(1, COLUMN_LIMIT // (n * groups * depth * ow))
    for top in range(0, oh, rows):
        part = columns[..., top : top + rows, :]
        product = w @ part.reshape(n, groups, depth, -1)
        y[..., top : top + rows, :] = product.reshape(n, groups, -1, part.shape[-2], ow)
    return add_bias(y.reshape(n, -1, oh, ow), weights)


def transpose_size(shape: Shape, attrs: Attrs) -> tuple[int, int]:
    """Result height and width, (h - 1) * S + span - pads + output_pad; ShapeError if nothing is left."""
    y, x = axes(shape, attrs)
    at_least(0, attrs, "output_pad")
    sizes = [
        (axis.size - 1) * axis.stride + axis.span - axis.before - axis.after + more
        for axis, more in zip((y, x), attrs["output_pad"], strict=True)
    ]
    ends = [(axis.size - 1) * axis.stride + axis.span for axis in (y, x)]
    refuse_huge((*shape[:2], *ends), "the result, before padding cuts it, would be")
    if min(sizes) < 1:
        raise ShapeError(f"the padding does not fit: nothing is left of {dims(shape)}", hint="pad less")
    return sizes[0], sizes[1]


def transpose_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, out, oh, ow), oh = (h - 1) * S - 2P + d * (F - 1) + 1 + output_pad."""
    n, c, _, _ = image(shapes[0])
    check_groups(c, attrs)
    return (n, attrs["out"], *transpose_size(shapes[0], attrs))


def transpose_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """weight (c, out / groups, kh, kw), bias (out,)."""
    return with_bias((shapes[0][1], attrs["out"] // attrs["groups"], *attrs["kernel"]), attrs)


def turned_weight(weight: Array, groups: int) -> Array:
    """The weight of a transposed convolution, (c, out / groups, kh, kw), as (out, c / groups, kh, kw), the order of a
    convolution's; and the other way round."""
    first, per_group, *kernel = weight.shape
    swapped = weight.reshape(groups, first // groups, per_group, *kernel).swapaxes(1, 2)
    return np.ascontiguousarray(swapped).reshape(groups * per_group, first // groups, *kernel)


def outputs_first(weight: Constant, groups: int) -> Constant:
    """The weight of a transposed convolution in the order of a convolution's, when it is asked for."""
    first, per_group, *kernel = weight.shape
    return weight.map((per_group * groups, first // groups, *kernel), lambda w: turned_weight(w, groups))


def transpose_macs(shapes: Shapes, result: Shape, attrs: Attrs) -> int:
    """Every input element is spread over (out / groups) * kh * kw results."""
    return math.prod(shapes[0]) * (attrs["out"] // attrs["groups"]) * math.prod(attrs["kernel"])


def transpose_window(shapes: Shapes, attrs: Attrs) -> Window:
    """A result sees ceil(span / stride) inputs, and the next result is 1 / stride of an input further."""
    y, x = axes(shapes[0], attrs)
    return (-(-y.span // y.stride), -(-x.span // x.stride)), (Fraction(1, y.stride), Fraction(1, x.stride))


def transpose_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The adjoint of a convolution: each tap adds its products to the windows of the result."""
    x = xs[0]
    n, c, h, w = x.shape
    groups, (top, left, _, _) = attrs["groups"], attrs["pad"]
    high, wide = transpose_size(x.shape, attrs)
    ends = [(a.size - 1) * a.stride + a.span for a in axes(x.shape, attrs)]
    full = np.zeros((n, attrs["out"], max(ends[0], top + high), max(ends[1], left + wide)), x.dtype)
    view = strided(full, attrs, (h, w), writeable=True)
    per_group = x.reshape(n, groups, c // groups, h * w)
    kernel = weights["weight"].astype(x.dtype, copy=False).reshape(groups, c // groups, -1, *attrs["kernel"])
    for i, j in np.ndindex(*attrs["kernel"]):
        view[i, j] += (kernel[..., i, j].swapaxes(1, 2) @ per_group).reshape(n, -1, h, w)
    return add_bias(full[:, :, top : top + high, left : left + wide].copy(), weights)


def transpose_products(shape: Shape, attrs: Attrs) -> float:
    """Products added up per value of the result: each pixel is reached by 1 / stride of the taps."""
    groups, (sh, sw) = attrs.get("groups", 1), attrs.get("stride", (1, 1))
    return max(1.0, float(shape[0] / groups * shape[2] * shape[3] / (sh * sw)))


def conv_reads(position: int, attrs: Attrs) -> Order:
    """A convolution in one group reads its image in any order; what an epilogue adds lies like the result."""
    return Order.ANY if position == 0 and attrs["groups"] == 1 else Order.BLOCKS


def depthwise(attrs: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """One group a channel; `mult` results each."""
    rest = {key: value for key, value in attrs.items() if key != "mult"}
    return same_pad({**rest, "out": shape[1] * attrs.get("mult", 1), "groups": shape[1]}, shape)


OUT = ("out", Syntax.CHANNELS)
GROUPS: Mapping[str, Word] = {"groups": ("groups", Syntax.COUNT)}
CONV_WORDS = {**STRIDE_PAD, **DILATION, **GROUPS, **BIAS, **ROUNDING}
DEPTHWISE_WORDS = {**STRIDE_PAD, **DILATION, "mult": ("mult", Syntax.COUNT), **BIAS, **ROUNDING}
UPCONV_WORDS = {**STRIDE_PAD, **DILATION, "outpad": ("output_pad", Syntax.PAIR_OR_ZERO), **GROUPS, **BIAS}
GROUPED: Mapping[str, DomainRule] = {
    "groups": divisors_of_channels,
    "out": lambda shape, attrs: choice(attrs["groups"] * n for n in (1, 2, 3)),
    "bias": FLAG,
    **window_domains(pooling=False),
}
"""Domains of the attributes of a convolution."""
TRANSPOSED: Mapping[str, DomainRule] = {
    **without(GROUPED, "rounding", "pad"),
    "pad": Each((Whole(0, 1),) * 4),
    "output_pad": lambda shape, attrs: Each(tuple(Whole(0, s - 1) for s in attrs["stride"])),
}
CONV = Op(
    name="conv",
    arity=(1, 1),
    attributes={
        "out": REQUIRED,
        "kernel": REQUIRED,
        "stride": (1, 1),
        "pad": (0, 0, 0, 0),
        "dilation": (1, 1),
        "groups": 1,
        "bias": True,
        "rounding": "floor",
    },
    weights=conv_weights,
    shape=conv_shape,
    macs=conv_macs,
    window=sliding,
    reference=conv_reference,
    tolerance=2e-5,
    types=floats,
    traits=replace(
        COMPUTED,
        kind=Kind.LINEAR,
        post_ops=PostOps.ACTIVATIONS_AND_ADDS,
        layout=MemoryOrder(conv_reads, Order.BLOCKS),
        half_weights=True,
    ),
    forms=(
        Form(
            "conv",
            "conv 3x3 64 /2",
            (KERNEL, OUT),
            words=CONV_WORDS,
            finish=same_pad,
            leads=True,
            synonyms=("convolution",),
        ),
        Form("proj", "proj 1x1 64", (KERNEL, OUT), words=CONV_WORDS, finish=same_pad),
        Form(
            "dwconv",
            "dwconv 3x3",
            (KERNEL,),
            words=DEPTHWISE_WORDS,
            finish=depthwise,
            synonyms=("depthwise", "depthwiseconv", "separableconv"),
        ),
    ),
    tried=Tried(Inputs.IMAGE, GROUPED),
    initial={"weight": he_normal(products), "bias": BIAS_VALUES},
    spread=he_scaled,
)
CONV_TRANSPOSE = Op(
    name="conv_transpose",
    arity=(1, 1),
    attributes={
        "out": REQUIRED,
        "kernel": REQUIRED,
        "stride": (1, 1),
        "pad": (0, 0, 0, 0),
        "output_pad": (0, 0),
        "dilation": (1, 1),
        "groups": 1,
        "bias": True,
    },
    weights=transpose_weights,
    shape=transpose_shape,
    macs=transpose_macs,
    window=transpose_window,
    reference=transpose_reference,
    tolerance=1e-5,
    types=floats,
    traits=replace(
        COMPUTED,
        kind=Kind.LINEAR,
        post_ops=PostOps.ACTIVATIONS_AND_ADDS,
        half_weights=True,
        weight_by_input=True,
    ),
    forms=(
        Form(
            "upconv",
            "upconv 2x2 64 /2",
            (KERNEL, OUT),
            words=UPCONV_WORDS,
            leads=True,
            synonyms=("convtranspose", "convtransposed", "transposedconv", "deconv", "deconvolution"),
        ),
    ),
    tried=Tried(Inputs.IMAGE, TRANSPOSED),
    initial={"weight": he_normal(transpose_products), "bias": BIAS_VALUES},
    spread=he_scaled,
)
OPS = (with_epilogue(CONV), with_epilogue(CONV_TRANSPOSE))
