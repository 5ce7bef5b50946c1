"""Kernels that slide a window over each channel by itself: depthwise convolution, max and average pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.modes import WINDOW_POOLS, WindowMode
from cnncc.kernels.shared.spec import Call, Epilogue, Kernel, Selection, blocks
from cnncc.machines.targets import Target

UNROLLED_TAPS = 9
"""Taps of the largest window that is unrolled."""


@dataclass(frozen=True)
class WindowConfig:
    """One channel block at a time, a few rows of it per unit. `mode` is `depthwise`, `max` or `avg`."""

    mode: WindowMode
    channel_blocks: int
    block: int
    lanes: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]
    count_include_pad: bool
    bias: bool
    epilogue: Epilogue
    columns: int
    """Output pixels kept in registers."""
    rows: int
    rows_outermost: bool
    """Whether a thread's units are some rows of all channels, or all rows of some."""
    element: str = "float32"

    @property
    def window(self) -> tuple[int, int]:
        """Input rows and columns one unit reads."""
        rows = (self.rows - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1
        columns = (self.out_size[1] - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] + 1
        return rows, columns

    def reaches_out(self, axis: int) -> bool:
        """Whether some tap falls outside the image along an axis."""
        last = (self.out_size[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis]
        return self.pad[axis] > 0 or last - self.pad[axis] >= self.in_size[axis]

    @property
    def unrolled(self) -> bool:
        """Whether each tap has code of its own, which can leave out what is outside the image."""
        return self.kernel[0] * self.kernel[1] <= UNROLLED_TAPS

    @property
    def gathers(self) -> bool:
        """Whether rows are copied to scratch, with what changes no result where there is no image."""
        return not self.unrolled and (self.reaches_out(0) or self.reaches_out(1))

    @property
    def row_units(self) -> int:
        return -(-self.out_size[0] // self.rows)

    @property
    def scratch_numbers(self) -> int:
        return self.window[0] * self.window[1] * self.block if self.gathers else 0


def configure(site: CpuSite, mode: WindowMode, epilogue: Epilogue = (), bias: bool = False) -> WindowConfig:
    """Cuts a node with a window into units."""
    node, source, target = site.node, site.type(), site.target
    height, width = node.type.shape[2:]
    attrs = node.attrs
    config = WindowConfig(
        mode=mode,
        channel_blocks=blocks(source.shape[1], target.block),
        block=target.block,
        lanes=target.lanes,
        in_size=source.chw[1:],
        out_size=(height, width),
        kernel=attrs["kernel"],
        stride=attrs["stride"],
        dilation=attrs.get("dilation", (1, 1)),
        pad=attrs["pad"],
        count_include_pad=attrs.get("count_include_pad", False),
        bias=bias,
        epilogue=epilogue,
        columns=min(width, _columns(target)),
        rows=height,
        # As 1x1 convolutions around are cut, so that what one thread wrote is in its cache when it reads it: by rows
        # where their images are larger than their weights.
        rows_outermost=height * width > source.shape[1],
        element=site.element.name,
    )
    # Halve the rows until what a unit reads fits a quarter of L2 and there are enough units to share out.
    while config.rows > 1 and (
        8 * config.window[0] * config.window[1] * config.block > target.l2_bytes // 4
        or config.row_units * config.channel_blocks < 12
    ):
        config = replace(config, rows=-(-config.rows // 2))
    return config


def _columns(target: Target) -> int:
    """Pixels whose accumulators leave two registers for a weight and a value."""
    return max(1, min(8, (target.floats.registers - 2) // target.vectors - 1))


def window_kernel(config: WindowConfig, target: Target) -> Kernel:
    """The kernel of one configuration."""
    kind = {"depthwise": "depthwise", "max": "maxpool", "avg": "avgpool"}[config.mode]
    size, element = "x".join(map(str, config.kernel)), ELEMENTS[config.element]
    name = f"{kind}_{element.short}_nchw{config.block}c_{size}_{config.columns}px_{target.isa}"
    scratch = element.bytes(config.scratch_numbers)
    return Kernel("window", name, config, config.row_units * config.channel_blocks, scratch)


@dataclass(frozen=True)
class ArgmaxConfig:
    """Where the largest value of each window is; a row of one channel block per unit."""

    channel_blocks: int
    block: int
    lanes: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]


def select_argmaxpool(site: CpuSite) -> Selection:
    """argmaxpool with any window."""
    node, target, source = site.node, site.target, site.type()
    planes, out_size = blocks(source.shape[1], target.block), node.type.chw[1:]
    how = (node.attrs[name] for name in ("kernel", "stride", "dilation", "pad"))
    config = ArgmaxConfig(planes, target.block, target.lanes, source.chw[1:], out_size, *how)
    kernel = Kernel("argmaxpool", f"argmaxpool_f32_nchw{target.block}c_{target.isa}", config, planes * out_size[0], 0)
    call = Call(node.name, kernel, site.values(node.inputs), site.result)
    return Selection((call,), (), "each lane is a channel")


def select_pool(site: CpuSite) -> Selection:
    """Max and average pooling with any window."""
    config = configure(site, WINDOW_POOLS[site.node.op])
    call = Call(site.node.name, window_kernel(config, site.target), site.values(site.node.inputs), site.result)
    return Selection((call,), (), "each lane is a channel, bound by loads")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    **dict.fromkeys(WINDOW_POOLS, (select_pool,)),
    "argmaxpool": (select_argmaxpool,),
}
"""Op -> its selectors."""
TAKES = {"maxpool": MOVED}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
