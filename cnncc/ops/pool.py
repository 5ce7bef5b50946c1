"""Maximum and average pools, over sliding windows and over the whole image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cnncc.ops.domains import FLAG, DomainRule, Inputs, Tried, Values, window_domains, without
from cnncc.ops.forms import DILATION, KERNEL, ROUNDING, STRIDE_PAD, Always, Form, Word
from cnncc.ops.initial import SpreadRule, kept, largest_of_window
from cnncc.ops.onnx import Onnx
from cnncc.ops.shapes import image, whole_image
from cnncc.ops.table import (
    REQUIRED,
    Array,
    Arrays,
    Attrs,
    ExactRule,
    Op,
    Shape,
    Shapes,
    Types,
    Weights,
    no_macs,
    no_weights,
    one_position,
)
from cnncc.ops.traits import COMPUTED
from cnncc.ops.type_rules import TypeRule, float32_only, floats, floats_to_float32, same_numbers
from cnncc.ops.window import axes, counts, refuse_empty_windows, sliding, windows


def pool_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c, oh, ow), oh = (h - F + 2P)/S + 1 rounded."""
    result = counts(shapes[0], attrs)
    refuse_empty_windows(shapes[0], attrs, result)
    return (*shapes[0][:2], *result)


def maxpool_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Largest value of each window; padding never wins."""
    return largest(windows(xs[0], attrs, fill=-np.inf))


def maxpool_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Array:
    """The same of integers, whose padding is the least number of their type."""
    return largest(windows(xs[0], attrs, fill=types[0].element.least if types[0].element.whole else -np.inf))


def largest(view: Array) -> Array:
    """Of all windows (kh, kw, n, c, oh, ow)."""
    result = view[0, 0].copy()
    for tap in np.ndindex(view.shape[:2]):
        np.maximum(result, view[tap], out=result)
    return result


def argmaxpool_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Where the largest value of each window is, row * width + column of the input; of equal ones the first."""
    x = xs[0]
    values = windows(x, attrs, fill=-np.inf)
    rows = np.arange(math.prod(x.shape[2:]), dtype=x.dtype).reshape(1, 1, *x.shape[2:])
    places = windows(np.broadcast_to(rows, x.shape), attrs, fill=-1)
    best, place = values[0, 0].copy(), places[0, 0].copy()
    for tap in np.ndindex(values.shape[:2]):
        better = (places[tap] >= 0) & ((values[tap] > best) | (place < 0))
        best, place = np.where(better, values[tap], best), np.where(better, places[tap], place)
    return place


def divisors(shape: Shape, attrs: Attrs) -> Array:
    """How many positions each window averages, (oh, ow). Padding counts with `count_include_pad`; what a partial
    window of `ceil` sees beyond the padding never does."""
    per_axis = []
    for axis, count in zip(axes(shape, attrs), counts(shape, attrs), strict=True):
        low, high = (0, axis.padded) if attrs["count_include_pad"] else (axis.before, axis.before + axis.size)
        starts = np.arange(count) * axis.stride
        per_axis.append(np.minimum(starts + axis.kernel, high) - np.maximum(starts, low))
    return np.outer(*per_axis)


def avgpool_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Sum of each window over the number of positions it counts."""
    view = windows(xs[0], attrs, fill=0)
    total = np.zeros(view.shape[2:], view.dtype)
    for tap in np.ndindex(view.shape[:2]):
        total += view[tap]
    return total / divisors(xs[0].shape, attrs).astype(total.dtype)


def global_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, c, 1, 1)."""
    n, c, _, _ = image(shapes[0])
    return n, c, 1, 1


def gap_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Mean over height and width."""
    return xs[0].mean(axis=(2, 3), keepdims=True)


def gsum_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Sum over height and width; exact where all partial sums are whole numbers below 2^24."""
    return xs[0].sum(axis=(2, 3), keepdims=True)


def gmp_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Maximum over height and width."""
    return xs[0].max(axis=(2, 3), keepdims=True)


def channel_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) -> (n, 1, h, w)."""
    n, _, h, w = image(shapes[0])
    return n, 1, h, w


def channel_mean_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Mean over the channels of each pixel."""
    return xs[0].mean(axis=1, keepdims=True)


def channel_sum_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Sum over the channels of each pixel."""
    return xs[0].sum(axis=1, keepdims=True)


def channel_max_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Maximum over the channels of each pixel."""
    return xs[0].max(axis=1, keepdims=True)


WINDOW: Attrs = {"kernel": REQUIRED, "stride": (1, 1), "pad": (0, 0, 0, 0)}
DILATED: Attrs = {**WINDOW, "dilation": (1, 1), "rounding": "floor"}
DILATED_WORDS = {**STRIDE_PAD, **DILATION, **ROUNDING}
AVERAGE_WORDS: Mapping[str, Word] = {
    **STRIDE_PAD,
    **ROUNDING,
    "countpad": ("count_include_pad", Always(True)),
}
Reference = Callable[[Arrays, Weights, Attrs], Array]


@dataclass(frozen=True)
class Pool:
    """A pool over sliding windows."""

    name: str
    attributes: Attrs
    words: Mapping[str, Word]
    reference: Reference
    tried: Tried
    synonyms: tuple[str, ...] = ()
    tolerance: float = 0.0
    spread: SpreadRule = kept
    types: TypeRule = float32_only
    exact: ExactRule | None = None

    def op(self) -> Op:
        """The entry of the op table."""
        return Op(
            name=self.name,
            arity=(1, 1),
            attributes=self.attributes,
            weights=no_weights,
            shape=pool_shape,
            macs=no_macs,
            window=sliding,
            reference=self.reference,
            tolerance=self.tolerance,
            traits=COMPUTED,
            forms=(Form(self.name, f"{self.name} 2x2 /2", (KERNEL,), words=self.words, synonyms=self.synonyms),),
            tried=self.tried,
            spread=self.spread,
            types=self.types,
            exact=self.exact,
        )


def global_pool(name: str, reference: Reference, tolerance: float, *synonyms: str, onnx: Onnx | None) -> Op:
    """A pool over the whole image."""
    return Op(
        name=name,
        arity=(1, 1),
        attributes={},
        weights=no_weights,
        shape=global_shape,
        macs=no_macs,
        window=whole_image,
        reference=reference,
        tolerance=tolerance,
        traits=COMPUTED,
        forms=(Form(name, name, synonyms=synonyms),),
        tried=Tried(Inputs.IMAGE, {}),
        onnx=onnx,
        types=floats_to_float32,
    )


def channel_pool(name: str, reference: Reference, tolerance: float) -> Op:
    """A pool over the channels of each pixel (CBAM: Woo et al. 2018, section 3, has two)."""
    whole = global_pool(name, reference, tolerance, onnx=None)
    return replace(whole, shape=channel_shape, window=one_position, types=float32_only)


WINDOWS = window_domains(pooling=True)
AVERAGED: Mapping[str, DomainRule] = {**without(WINDOWS, "dilation"), "count_include_pad": FLAG}
POOLS = (
    Pool(
        "maxpool",
        DILATED,
        DILATED_WORDS,
        maxpool_reference,
        Tried(Inputs.IMAGE, WINDOWS),
        ("maxpooling", "pool", "pooling"),
        spread=largest_of_window,
        types=same_numbers,
        exact=maxpool_exact,
    ),
    Pool("argmaxpool", DILATED, DILATED_WORDS, argmaxpool_reference, Tried(Inputs.IMAGE, WINDOWS, Values.EXACT)),
    Pool(
        "avgpool",
        {**WINDOW, "rounding": "floor", "count_include_pad": False},
        AVERAGE_WORDS,
        avgpool_reference,
        Tried(Inputs.IMAGE, AVERAGED),
        ("averagepool", "averagepooling", "avgpooling"),
        tolerance=2e-6,
        types=floats,
    ),
)
OPS = (
    *(pool.op() for pool in POOLS),
    global_pool(
        "gap",
        gap_reference,
        2e-6,
        *("globalavgpool", "globalaveragepool", "globalaveragepooling", "adaptiveavgpool", "globalpool"),
        onnx=Onnx("GlobalAveragePool"),
    ),
    global_pool(
        "gmp", gmp_reference, 0.0, *("globalmaxpool", "globalmaxpooling", "adaptivemaxpool"), onnx=Onnx("GlobalMaxPool")
    ),
    global_pool("gsum", gsum_reference, 2e-6, "reducesum", "globalsumpool", onnx=None),
    channel_pool("channel_mean", channel_mean_reference, 2e-6),
    channel_pool("channel_sum", channel_sum_reference, 2e-6),
    channel_pool("channel_max", channel_max_reference, 0.0),
)
