"""The weights of convolutions and fc as their kernels read them: packed filters, and biases in whole blocks."""

from __future__ import annotations

from cnncc.ir import Constant
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.operands import Operand
from cnncc.kernels.shared.spec import Packed


def with_bias(site: CpuSite, weight: Constant, channels: int, suffix: str = "") -> list[Packed]:
    """The packed weights of a node, and its biases where it has them, with zeros up to so many channels."""
    packed = [Packed(f"{site.node.name}.weight{suffix}", weight)]
    bias = site.constant("bias")
    if bias is not None:
        packed.append(Packed(f"{site.node.name}.bias", bias.map((channels,), lambda b: pad_channels(b, channels))))
    return packed


def after_image(site: CpuSite, packed: list[Packed]) -> tuple[Operand, ...]:
    """The operands of a kernel behind the image: weights, then what the epilogue adds."""
    return (*(p.operand for p in packed), *site.values(site.node.inputs[1:]))
