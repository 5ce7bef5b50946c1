"""Pixels as the caller has them to what the network was trained on, and to bytes of that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.dim import Dim
from cnncc.base.elements import ELEMENTS, FLOAT32
from cnncc.ir import Constant, Node
from cnncc.kernels.cpu.convert import select_convert, steps
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.operands import Operand, RawInput
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection, blocks
from cnncc.ops.quantize import prepares_input
from cnncc.ops.source import port_type, scale_and_shift


@dataclass(frozen=True)
class NormalizeConfig:
    """So many channels of so many pixels, each a plane: NCHW."""

    channels: int
    pixels: int
    lanes: int
    parts: int
    """Units per channel, all of the same size: three channels cannot be shared out evenly. Where the number of pixels
    depends on the size of a call, the last ones have fewer."""
    element: str = "float32"
    """Of the pixels as the caller has them."""
    result: str = "float32"

    @property
    def size(self) -> int:
        """Pixels of a unit, at most."""
        if isinstance(self.pixels, Dim):
            return blocks(self.pixels, self.parts * self.lanes) * self.lanes
        return self.pixels // self.parts


MOST_PARTS = 16
"""Units per channel, at most."""


def select_normalize(site: CpuSite) -> Selection:
    """The mean and std of an input: (x - mean) / std as x scale + shift, on the way into the arena."""
    return _normalize(site, site.node, ())


def select_quantized_input(site: CpuSite) -> Selection | None:
    """The mean and std of an input that nobody else reads, and bytes of it."""
    if not prepares_input(site.graph, site.node):
        return None
    numbers = Packed(f"{site.node.name}.steps", steps(site.node.type))
    return _normalize(site, site.graph[site.node.inputs[0]], (numbers,))


def _normalize(site: CpuSite, node: Node, numbers: tuple[Packed, ...]) -> Selection:
    """What an input declares, and bytes if there are numbers of their steps."""
    channels, pixels = node.type.shape[1], math.prod(node.type.shape[2:])
    scale, shift = scale_and_shift(node.attrs, channels)
    packed = (
        Packed(f"{node.name}.scale", Constant((channels,), lambda: scale)),
        Packed(f"{node.name}.shift", Constant((channels,), lambda: shift)),
        *numbers,
    )
    evenly = (n for n in (MOST_PARTS, 8, 7, 6, 5, 4, 3, 2, 1) if pixels % (n * site.target.lanes) == 0 or n == 1)
    parts = MOST_PARTS if isinstance(pixels, Dim) else next(evenly)
    given, made = port_type(node).element, site.node.type.element
    config = NormalizeConfig(channels, pixels, site.target.lanes, parts, given.name, made.name)
    kinds = given.short if made == FLOAT32 else f"{given.short}_{made.short}"
    kernel = Kernel("normalize", f"normalize_{kinds}_nchw_{site.target.isa}", config, channels * parts, 0)
    why = "mean and std of the input" if node.attrs["mean"] or node.attrs["std"] else f"an input of {given}"
    operands: tuple[Operand, ...] = (RawInput(node.name), *(p.operand for p in packed))
    return Selection((Call(site.node.name, kernel, operands, site.result),), packed, why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "input": (select_normalize,),
    "quantize": (select_quantized_input, select_convert),
}
"""Op -> its selectors."""
TAKES = dict.fromkeys(RULES, frozenset(ELEMENTS.values()))
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
