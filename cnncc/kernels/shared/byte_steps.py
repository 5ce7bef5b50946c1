"""What kernels on bytes read besides values and weights, on every machine: biases, scales, zero points and bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnncc.base.elements import INT32
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.spec import Packed, Site
from cnncc.ops import byte_arithmetic
from cnncc.ops.byte_arithmetic import byte_bounds, known
from cnncc.ops.quantized import bounds_of, layer_factors, residual_of


@dataclass(frozen=True)
class Steps:
    """What a kernel has to know of the quantisation of its values besides the scales of channels. Bounds of a float32
    result are floats, those of bytes integers."""

    zero_in: int
    low: float
    high: float
    zero_out: int = 0
    zero_residual: int = 0
    scale_residual: float = 0.0


FILL, ZERO, LOW, HIGH, ZERO_RESIDUAL, SCALE_RESIDUAL, ZERO_IN = range(7)
"""Where a kernel finds it. FILL is what lies around an image, in all bytes of a word."""
STEPS = 8
"""Numbers of that operand."""
NOTHING = np.zeros(0, np.uint8)
"""Of a residual whose scale alone is asked for."""


def stored_steps(steps: Steps, fill: int, is_float: bool) -> np.ndarray:
    """The operand of a kernel, int32; the scale of the residual, and bounds that are floats, as their bits."""
    found = np.zeros(STEPS, np.int32)
    found[FILL] = fill
    found[ZERO], found[ZERO_RESIDUAL] = steps.zero_out, steps.zero_residual
    found[ZERO_IN] = steps.zero_in
    bounds = np.array([steps.low, steps.high], np.float32)
    found[LOW : HIGH + 1] = bounds.view(np.int32) if is_float else bounds.astype(np.int32)
    found[SCALE_RESIDUAL] = np.float32(steps.scale_residual).view(np.int32)
    return found


def folded_bias(weight: np.ndarray, bias: np.ndarray, zero: int) -> np.ndarray:
    """What the sums begin with, int32: the bias in steps, less what the zero point adds to every sum. `weight` is
    (o, ...), with the zeros that fill its groups up."""
    sums = weight.astype(np.int64).reshape(len(weight), -1).sum(1)
    return np.asarray((bias.astype(np.int64) - zero * sums).astype(np.int32))


def steps_of(site: Site[Any]) -> Steps:
    """Of a layer with weights."""
    source, result = known(site.type()), site.node.type
    low, high = bounds_of(site.node.attrs["epilogue"])
    if result.is_float:
        return Steps(source.zero, low, high)
    to = byte_bounds(result, low, high)
    byte = Steps(source.zero, to.low, to.high, to.zero)
    if len(site.node.inputs) == 1:
        return byte
    added = residual_of(NOTHING, site.type(1), result)
    return replace(byte, zero_residual=added.zero, scale_residual=float(added.scale))


def scales_of(site: Site[Any], weight_scales: np.ndarray) -> np.ndarray:
    """Steps of the result for a step of the sum, by channel."""
    return layer_factors(site.type(), site.node.type, weight_scales)


def refuse_overflow(site: Site[Any], weight: np.ndarray, bias: np.ndarray, weight_scales: np.ndarray) -> None:
    """CnnccError for a channel whose sums could leave int32, or whose results could not be rounded."""
    node, steps = site.node, steps_of(site)
    added = 255.0 * steps.scale_residual
    wrong = byte_arithmetic.overflowing(weight, bias)
    if not wrong.size and not node.type.is_float:
        wrong = byte_arithmetic.unroundable(weight, bias, scales_of(site, weight_scales), added)
    if wrong.size:
        what = f"{node.name}: sums of {len(wrong)} channels, the first of them {wrong[0]}, could leave int32"
        raise CnnccError(what, node.span, node.stack, "larger scales of the weights of these channels")


def packed_steps(
    site: Site[Any], weight: Constant, zero: int, padded: int, numbers: np.ndarray, suffix: str = ""
) -> list[Packed]:
    """Biases and scales of a layer's channels, of which there are `padded`, and `numbers`, its steps. `weight` has its
    groups merged; `zero` is what the kernel takes its values for less than they are; `suffix` tells the kernels of a
    node apart."""
    name = f"{site.node.name}{suffix}"
    bias, scales, out = site.constant("bias"), site.constant("weight_scale"), weight.shape[0]
    assert scales is not None
    whole = bias if bias is not None else Constant((out,), lambda: np.zeros(out, np.int32), INT32)

    def folded(b: np.ndarray, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        refuse_overflow(site, w, b, s)
        return pad_channels(folded_bias(w, b, zero), padded)

    return [
        Packed(f"{name}.bias", whole.map((padded,), folded, weight, scales, element=INT32)),
        Packed(f"{name}.scale", scales.map((padded,), lambda s: pad_channels(scales_of(site, s), padded))),
        Packed(f"{name}.steps", Constant(numbers.shape, lambda: numbers, INT32)),
    ]
