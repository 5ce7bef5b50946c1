"""Kernels that slide a window over each channel by itself: depthwise convolution, max and average pooling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from cnncc.base.dim import above, typical
from cnncc.base.elements import ELEMENTS, FLOAT32, Element
from cnncc.kernels.cpu.micro import LOADS, STEP, usable_registers
from cnncc.kernels.cpu.site import FLOATS, MOVED, CpuRule, CpuSite
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.cpu.weights import kinds_of
from cnncc.kernels.shared.modes import WINDOW_POOLS, WindowMode
from cnncc.kernels.shared.spec import Call, Epilogue, Kernel, Selection, blocks
from cnncc.machines.targets import Target
from cnncc.machines.units import VectorUnit

UNROLLED_TAPS = 9
"""Taps of the largest window that is unrolled."""

MOST_HELD = 8
"""Taps of a row whose code stands side by side, at most."""
TILE = 4.0
"""Cycles that a tile takes to begin and to end, and then one for each pixel."""


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
    """Output pixels whose sums are in registers, a vector at a time."""
    held: int
    """Taps of a row that are taken at a time: their weights are in registers, and what several pixels read is loaded
    once."""
    rows: int
    rows_outermost: bool
    """Whether a thread's units are some rows of all channels, or all rows of some."""
    unit: VectorUnit
    """Of float32, by which the tile is chosen."""
    element: str = "float32"
    weights: str = "float32"
    """What the weights are stored as."""
    rounds: str = ""
    """The instruction of a unit for bfloat16, which comes with one that rounds; empty for none."""

    @property
    def window(self) -> tuple[int, int]:
        """Input rows and columns one unit reads."""
        rows = (self.rows - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1
        columns = (self.out_size[1] - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] + 1
        return rows, columns

    def reaches_out(self, axis: int) -> bool:
        """Whether some tap falls outside the image along an axis."""
        last = (self.out_size[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis]
        return self.pad[axis] > 0 or above(last - self.pad[axis] + 1, self.in_size[axis])

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
        columns=1,
        held=1,
        rows=height,
        # As 1x1 convolutions around are cut, so that what one thread wrote is in its cache when it reads it: by rows
        # where their images are larger than their weights.
        rows_outermost=typical(height * width) > source.shape[1],
        unit=target.floats,
        element=site.element.name,
        rounds=site.rounds,
    )
    cut = _cut(typical(config), target)
    return replace(config, columns=cut.columns, held=cut.held, rows=cut.rows)


@cache
def _cut(whole: WindowConfig, target: Target) -> WindowConfig:
    """The best tile, and how many rows a unit has. Kept, since networks repeat their layers."""
    config = min(_tiles(whole, target), key=row_cycles)
    # Halve the rows until what a unit reads fits a quarter of L2 and there are enough units to share out.
    while config.rows > 1 and (
        8 * config.window[0] * config.window[1] * config.block > target.l2_bytes // 4
        or config.row_units * config.channel_blocks < 12
    ):
        config = replace(config, rows=-(-config.rows // 2))
    return config


def _tiles(config: WindowConfig, target: Target) -> Iterator[WindowConfig]:
    """Every tile that leaves a register for a value. All taps of a row at a time, if they are not too many: LLVM sees
    that the next ones read the same values, and would keep these, for which there is no room."""
    usable, width = usable_registers(target.floats), config.kernel[1]
    for held in range(1 if width > MOST_HELD else width, min(width, MOST_HELD) + 1):
        kept = held if config.mode == "depthwise" else 1
        for columns in range(1, min(config.out_size[1], usable - kept - 1) + 1):
            yield replace(config, columns=columns, held=held)


def row_cycles(config: WindowConfig) -> float:
    """Predicted cycles of one vector of one row of the result: instructions, loads or latency, whichever is most."""
    total = 0.0
    for _, columns, count in even_tiles(config.out_size[1], config.columns):
        taps = 0.0
        for first in range(0, config.kernel[1], config.held):
            taps += _taps_cycles(config, columns, min(config.held, config.kernel[1] - first))
        total += count * (config.kernel[0] * taps + TILE + columns)
    return total


def _taps_cycles(config: WindowConfig, columns: int, held: int) -> float:
    """Of so many taps of a row on a tile."""
    read = {p * config.stride[1] + j * config.dilation[1] for p in range(columns) for j in range(held)}
    weights = held if config.mode == "depthwise" else 0
    unit = config.unit
    return max(columns * held / unit.ports, (len(read) + weights) / LOADS, held * float(unit.latency)) + STEP


def summed(element: Element) -> Element:
    """What values of a type are while a window is computed: integers as they are, all others float32."""
    return element if element.whole else FLOAT32


def window_kernel(config: WindowConfig, target: Target) -> Kernel:
    """The kernel of one configuration."""
    kind = {"depthwise": "depthwise", "max": "maxpool", "avg": "avgpool"}[config.mode]
    size, element = "x".join(map(str, config.kernel)), ELEMENTS[config.element]
    kinds = kinds_of(config.element, config.weights) if config.mode == "depthwise" else element.short
    name = f"{kind}_{kinds}_nchw{config.block}c_{size}_{config.columns}px_{target.isa}"
    scratch = summed(element).bytes(config.scratch_numbers)
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
TAKES = {"maxpool": MOVED, "avgpool": FLOATS}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
