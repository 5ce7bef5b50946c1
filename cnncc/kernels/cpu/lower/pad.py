"""An image copied between zeros, for a convolution whose taps reach over its border."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.conv_direct import PadConfig
from cnncc.kernels.cpu.lower.moves import Corner, ImageWindow, gather_rows
from cnncc.kernels.shared.builder import KernelBuilder


def lower(config: PadConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a channel block."""
    c, k = config, KernelBuilder()
    height, width = c.in_size
    image = k.operand("image", c.planes * c.block * height * width)
    result = k.operand("result", c.floats)
    plane = c.block * c.size[0] * c.size[1]
    with k.units() as unit:
        window = ImageWindow(1, c.block, c.in_size, c.size, c.origin[1], outside=0.0)
        gather_rows(k, image, result, window, Corner(unit, c.origin[0]), k.let(unit * plane))
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"pad": lower}
"""Family of a kernel -> its lowering."""
