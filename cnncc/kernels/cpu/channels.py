"""Kernels that look across channels or over whole planes: LRN, softmax, global pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.site import FLOATS, CpuRule, CpuSite
from cnncc.kernels.shared.modes import GLOBAL_POOLS, PoolMode
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks


@dataclass(frozen=True)
class LrnConfig:
    """Local response normalisation across channels, a row of pixels per unit."""

    channels: int
    block: int
    lanes: int
    size: tuple[int, int]
    window: int
    alpha: float
    beta: float
    k: float

    @property
    def line(self) -> int:
        """Floats of one pixel's squares: all channels between zeros for the window's ends."""
        return blocks(self.channels, self.block) * self.block + 2 * self.block * blocks(self.window, self.block)


@dataclass(frozen=True)
class SoftmaxConfig:
    """Softmax over channels; a vector, or a row in logical order, is one pixel with `block` 1."""

    channels: int
    block: int
    lanes: int
    pixels: int
    per_unit: int

    @property
    def line(self) -> int:
        """Floats of one pixel's values, up to whole vectors."""
        return blocks(self.channels, max(self.block, self.lanes)) * max(self.block, self.lanes)


@dataclass(frozen=True)
class GlobalPoolConfig:
    """`mode` (`avg`, `max` or `sum`) of every channel over `pixels`, in float32; a block of channels per unit."""

    mode: PoolMode
    channel_blocks: int
    block: int
    lanes: int
    pixels: int
    element: str = "float32"
    """Of the image."""


def select_lrn(site: CpuSite) -> Selection:
    """LRN by a line of squares that is summed at shifted addresses."""
    node, target = site.node, site.target
    _, channels, height, width = node.type.shape
    a = node.attrs
    config = LrnConfig(
        channels=channels,
        block=target.block,
        lanes=target.lanes,
        size=(height, width),
        window=a["size"],
        alpha=float(a["alpha"]),
        beta=float(a["beta"]),
        k=float(a["k"]),
    )
    kernel = Kernel(
        "lrn", f"lrn_f32_nchw{target.block}c_{a['size']}_{target.isa}", config, height, FLOAT32.bytes(config.line)
    )
    call = Call(node.name, kernel, site.values(node.inputs), site.result)
    return Selection((call,), (), "squares of a pixel in one line, summed at shifted addresses")


def select_softmax(site: CpuSite) -> Selection:
    """Softmax of a vector, or of every pixel of an image."""
    node, target = site.node, site.target
    shape, block = node.type.shape, node.type.block
    pixels = math.prod(shape[2:])
    config = SoftmaxConfig(shape[1], block, target.lanes, pixels, max(1, -(-pixels // 64)))
    layout = f"nchw{block}c" if block > 1 else "nc"
    kernel = Kernel(
        "softmax",
        f"softmax_f32_{layout}_{target.isa}",
        config,
        -(-pixels // config.per_unit),
        FLOAT32.bytes(config.line),
    )
    call = Call(node.name, kernel, site.values(node.inputs), site.result)
    return Selection((call,), (), "one pixel's channels at a time")


def select_softmax_rows(site: CpuSite) -> Selection:
    """Softmax of every row of an image in logical order."""
    node, target = site.node, site.target
    *outer, columns = node.type.shape[1:]
    rows = math.prod(outer)
    config = SoftmaxConfig(columns, 1, target.lanes, rows, max(1, -(-rows // 64)))
    units = -(-rows // config.per_unit)
    kernel = Kernel("softmax", f"softmax_rows_f32_{target.isa}", config, units, FLOAT32.bytes(config.line))
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "one row at a time")


def select_global_pool(site: CpuSite) -> Selection:
    """gap, gmp and gsum."""
    node, target, source = site.node, site.target, site.type()
    planes = blocks(source.shape[1], target.block)
    mode, pixels, element = GLOBAL_POOLS[node.op], math.prod(source.shape[2:]), source.element
    config = GlobalPoolConfig(mode, planes, target.block, target.lanes, pixels, element.name)
    name = f"global_{mode}pool_{element.short}_nchw{target.block}c_{target.isa}"
    kernel = Kernel("global_pool", name, config, planes, 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "each lane is a channel")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "lrn": (select_lrn,),
    "softmax": (select_softmax,),
    "softmax_rows": (select_softmax_rows,),
    **dict.fromkeys(GLOBAL_POOLS, (select_global_pool,)),
}
"""Op -> its selectors."""
TAKES = dict.fromkeys(GLOBAL_POOLS, FLOATS)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
