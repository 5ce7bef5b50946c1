"""The weights of convolutions and fc as their kernels read them: packed filters, and biases in whole blocks."""

from __future__ import annotations

import numpy as np

from cnncc.base.elements import ELEMENTS, FLOAT32, encode
from cnncc.ir import Constant
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.operands import Operand
from cnncc.kernels.shared.spec import Packed
from cnncc.weights.half import check_range


def kinds_of(element: str, weights: str) -> str:
    """For names of kernels: the type of values, `f32`, or `f32xbf16` where weights are stored as something else."""
    short = ELEMENTS[element].short
    return short if weights == element else f"{short}x{ELEMENTS[weights].short}"


def stored(site: CpuSite, weight: Constant) -> Constant:
    """The weight of a node as the module stores it. CnnccError for one that does not fit, when it is
    computed."""
    element, name = ELEMENTS[site.weights_dtype], site.node.weights["weight"]

    def made(array: np.ndarray) -> np.ndarray:
        if element == FLOAT32:
            return array.astype(np.float32, copy=False)
        check_range(array, element, name)
        return encode(array, element)

    return weight.map(weight.shape, made, element=element)


def with_bias(site: CpuSite, weight: Constant, channels: int, suffix: str = "") -> list[Packed]:
    """The packed weights of a node, and its biases where it has them, with zeros up to so many channels."""
    packed = [Packed(weight_name(site, suffix), weight)]
    bias = site.constant("bias")
    if bias is not None:
        packed.append(Packed(f"{site.node.name}.bias", bias.map((channels,), lambda b: pad_channels(b, channels))))
    return packed


def weight_name(site: CpuSite, suffix: str = "") -> str:
    """What the packed weights of a node are called; `suffix` tells parts of them apart."""
    return f"{site.node.name}.weight{suffix}"


def after_image(site: CpuSite, packed: list[Packed]) -> tuple[Operand, ...]:
    """The operands of a kernel behind the image: weights, then what the epilogue adds."""
    return (*(p.operand for p in packed), *site.values(site.node.inputs[1:]))
