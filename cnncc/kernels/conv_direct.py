"""Direct convolution on NCHWc, and 1x1 convolutions as matrix products: choice, weights, and what the kernel must know.

The sum runs over (channel block, kernel row, kernel column, channel in block); weights are packed in just that order
for each group of output blocks, so that a micro-kernel reads them as one stream. Padding is gathered into scratch, a
few rows at a time; without padding the image is read where it lies, a strided 1x1 simply steps over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from cnncc.ir import Constant
from cnncc.kernels.choices import DirectChoice
from cnncc.kernels.room import Option, choose
from cnncc.kernels.spec import Call, Epilogue, HasBlocks, Kernel, Operand, Packed, Place, Selection, Site, blocks
from cnncc.kernels.tiles import Problem, Tile, cache_bandwidth, even_tiles, ranked_tiles, total_cycles
from cnncc.targets import Target


@dataclass(frozen=True)
class ConvConfig:
    """One convolution of one image. Sizes are in pixels and blocks.

    `origin` is the input pixel under output (0, 0)'s first tap (minus the padding); the result is stored at every
    `out_step`-th pixel from `out_start` (a phase of a transposed one).
    """

    in_blocks: int
    in_block: int
    in_size: tuple[int, int]
    out_blocks: int
    block: int
    grid: tuple[int, int]
    out_size: tuple[int, int]
    out_step: tuple[int, int]
    out_start: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    origin: tuple[int, int]
    groups: int
    bias: bool
    epilogue: Epilogue
    tile: Tile
    rows: int
    """Output rows of one unit."""
    prefetch: bool
    """Whether each tile asks for a part of the next group's weights, which come from memory."""
    chunks: int
    """Pieces the output blocks of one convolution group are cut into; a unit computes one."""
    lanes: int

    @property
    def group_in_blocks(self) -> int:
        return self.in_blocks // self.groups

    @property
    def group_out_blocks(self) -> int:
        return self.out_blocks // self.groups

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def reduction(self) -> int:
        return self.group_in_blocks * self.in_block * self.taps

    @property
    def window(self) -> tuple[int, int]:
        """Input rows and columns that one unit reads."""
        rows = (self.rows - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1
        columns = (self.grid[1] - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] + 1
        return rows, columns

    @property
    def gathers(self) -> bool:
        """Whether some tap falls outside the image, so that rows are copied to scratch between zeros."""
        return self.taps > 0 and any(
            self.origin[a] < 0
            or self.origin[a] + (self.grid[a] - 1) * self.stride[a] + (self.kernel[a] - 1) * self.dilation[a]
            >= self.in_size[a]
            for a in (0, 1)
        )

    @property
    def scratch_floats(self) -> int:
        rows, columns = self.window
        return self.group_in_blocks * self.in_block * rows * columns if self.gathers else 0

    @property
    def row_units(self) -> int:
        return -(-self.grid[0] // self.rows)

    @property
    def chunk_runs(self) -> tuple[tuple[int, int, int], ...]:
        """Sizes of the groups of output blocks that share a micro-kernel, in one chunk."""
        return even_tiles(self.group_out_blocks // self.chunks, self.tile.groups)


def densify(weight: np.ndarray, groups: int, merge: int) -> np.ndarray:
    """Merges each `merge` neighbouring groups into one, with zeros between them: (o, i / groups, ...) to
    (o, merge * i / groups, ...). A few wasted products cost less than lanes that stay empty."""
    if merge == 1:
        return weight
    out, narrow = weight.shape[:2]
    wide = np.zeros((out, merge * narrow, *weight.shape[2:]), weight.dtype)
    per_group = out // groups
    for o in range(out):
        at = (o // per_group) % merge * narrow
        wide[o, at : at + narrow] = weight[o]
    return wide


def merged_groups(groups: int, in_channels: int, out_channels: int, block: int) -> int:
    """How many groups to merge so that each has whole blocks of channels; all of them if nothing less will do."""
    for merge in (m for m in range(1, groups + 1) if groups % m == 0):
        if merge * in_channels // groups % block == 0 and merge * out_channels // groups % block == 0:
            return merge
    return groups


def pack_conv(weight: np.ndarray, config: ConvConfig) -> np.ndarray:
    """(o, i / groups, kh, kw) to the stream order of the kernel, flat: for every run of output blocks
    [channel block][kh][kw][channel][run of blocks][lane], zeros where blocks are not full."""
    kh, kw = config.kernel
    block, in_block = config.block, config.in_block
    full = np.zeros((config.out_blocks * block, config.group_in_blocks * in_block, kh, kw), np.float32)
    full[: weight.shape[0], : weight.shape[1]] = weight
    split = full.reshape(config.out_blocks, block, config.group_in_blocks, in_block, kh, kw).transpose(0, 2, 4, 5, 3, 1)
    packed = []
    per_chunk = config.group_out_blocks // config.chunks
    for chunk in range(config.groups * config.chunks):
        for start, size, count in config.chunk_runs:
            first = chunk * per_chunk + start
            run = split[first : first + size * count].reshape(count, size, *split.shape[1:])
            packed.append(run.transpose(0, 2, 3, 4, 5, 1, 6).ravel())
    return np.concatenate(packed)


def pad_channels(values: np.ndarray, padded: int) -> np.ndarray:
    """A vector of channels with zeros up to whole blocks."""
    return np.pad(values, (0, padded - len(values)))


@dataclass(frozen=True)
class ConvGeometry:
    """The part of a configuration that the shape of the problem gives; tile and units follow from it and the target."""

    in_channels: int
    out_channels: int
    in_block: int
    in_size: tuple[int, int]
    grid: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    origin: tuple[int, int]
    groups: int
    bias: bool
    epilogue: Epilogue
    out_step: tuple[int, int] = (1, 1)
    out_start: tuple[int, int] = (0, 0)


def configure(
    geometry: ConvGeometry, target: Target, choice: DirectChoice | None = None, site: Site | None = None
) -> ConvConfig:
    """Chooses tile, rows and chunks for a convolution on a target, or takes those of a choice; with a site, such that
    scratch fits in its room if that costs little."""
    problem = _problem(geometry, target)
    if choice is not None:
        return replace(_whole(geometry, problem, choice.tile, target), rows=choice.rows, chunks=choice.chunks)
    whole = _whole(geometry, problem, ranked_tiles(problem, target)[0], target)
    costs = {config: _unit_cost(config, problem, target) for config in _partitions(whole)}
    best = min(costs, key=costs.__getitem__)
    if site is None:
        return best
    work = whole.reduction * whole.groups * total_cycles(whole.tile, problem, target)[0]
    options = [Option(work + cost[0], 0, config.scratch_floats, config) for config, cost in costs.items()]
    first = Option(work + costs[best][0], 0, best.scratch_floats, best)  # of equals, the one with the fewest units
    return choose(site, [first, *options])[0]


def direct_candidates(geometry: ConvGeometry, target: Target) -> list[tuple[float, DirectChoice]]:
    """Predicted cycles and choice of every partition with one of the better tiles, cheapest first."""
    problem = _problem(geometry, target)
    found = []
    for tile in ranked_tiles(problem, target)[:TILES_TRIED]:
        for config in _partitions(_whole(geometry, problem, tile, target)):
            cycles = config.reduction * config.groups * total_cycles(tile, problem, target)[0]
            weight_bytes = 4 * config.reduction * config.out_blocks * config.block
            cycles += _unit_cost(config, problem, target)[0]
            cycles = max(cycles, weight_bytes / target.memory_bytes_per_cycle)
            found.append((cycles, DirectChoice(tile, config.rows, config.chunks)))
    return sorted(found, key=lambda pair: pair[0])


TILES_TRIED = 12
"""Register tiles beyond which no partition is worth a trial."""


def _problem(g: ConvGeometry, target: Target) -> Problem:
    """Of one group."""
    taps = g.kernel[0] * g.kernel[1]
    reduction = blocks(g.in_channels, g.in_block) // g.groups * g.in_block * taps
    group_out = blocks(g.out_channels, target.block) // g.groups
    unrolled = (g.kernel[1], g.stride[1]) if g.in_block == 1 and 1 < g.kernel[1] <= UNROLLED_TAPS else None
    return Problem(g.grid[0], g.grid[1], group_out, max(1, reduction), max(1, taps), unrolled)


UNROLLED_TAPS = 4
"""Taps of a row of a plain image that are unrolled at most, by us or by LLVM."""


def _partitions(whole: ConvConfig) -> list[ConvConfig]:
    """Every sensible cut of the work into units."""
    return [
        replace(whole, rows=rows, chunks=chunks)
        for rows in _row_choices(whole.grid[0], whole.tile.rows)
        for chunks in _chunk_choices(whole.group_out_blocks, whole.tile.groups)
    ]


def _whole(g: ConvGeometry, problem: Problem, tile: Tile, target: Target) -> ConvConfig:
    """All of the work as one unit."""
    out_blocks = blocks(g.out_channels, target.block)
    in_blocks = blocks(g.in_channels, g.in_block)
    reduction = in_blocks // g.groups * g.in_block * g.kernel[0] * g.kernel[1]
    return ConvConfig(
        in_blocks=in_blocks,
        in_block=g.in_block,
        in_size=g.in_size,
        out_blocks=out_blocks,
        block=target.block,
        grid=g.grid,
        out_size=g.out_size,
        out_step=g.out_step,
        out_start=g.out_start,
        kernel=g.kernel,
        stride=g.stride,
        dilation=g.dilation,
        origin=g.origin,
        groups=g.groups,
        bias=g.bias,
        epilogue=g.epilogue,
        tile=tile,
        rows=g.grid[0],
        prefetch=4 * reduction * out_blocks * target.block > target.l2_bytes // 2,
        chunks=1,
        lanes=target.lanes,
    )


def _row_choices(height: int, step: int) -> list[int]:
    """Rows per unit worth trying: every even split into whole tiles."""
    splits = {-(-height // n) for n in range(1, height + 1)}
    return sorted({min(height, -(-r // step) * step) for r in splits})


def _chunk_choices(group_out: int, groups: int) -> list[int]:
    return [c for c in range(1, group_out + 1) if group_out % c == 0 and (c == 1 or group_out // c % groups == 0)]


UNIT_CYCLES = 300
"""What starting a unit costs: taking it from the counter, loop setup, cold branch predictors."""

EXPOSED = 0.1
"""Part of what units read again that multiplications do not hide: 1x1 layers at 7x7 and 14x14 took hardly longer in 4
pieces of the rows than in one, though each reads all weights."""

UNFETCHED = 0.5
"""Part of reading a unit's first weights that multiplications do not hide. No tile before asked for them: that was
another thread's."""


def _unit_cost(config: ConvConfig, problem: Problem, target: Target) -> tuple[float, int]:
    """Predicted cycles of a partition beyond those of its tiles: what units read, gather, and leave unbalanced."""
    c = config
    units = c.row_units * c.groups * c.chunks
    work = c.reduction * c.groups * total_cycles(c.tile, problem, target)[0]
    waiting = _waiting(c, work, target)
    if c.gathers:
        waiting += units * c.scratch_floats * 4 / 16
        waiting += work * max(0.0, 4 * c.scratch_floats / (target.l2_bytes / 2) - 1)
    # Sharing among threads ends, on average, half a unit early; the last row unit may be a short one.
    uneven = work / units / 2 + work * (c.row_units * c.rows - c.grid[0]) / (c.row_units * c.rows) / units
    return waiting + uneven + UNIT_CYCLES * units, units


def _waiting(c: ConvConfig, work: float, target: Target) -> float:
    """Cycles that `work` cycles of multiplying do not hide of reading: each unit reads the weights of its chunk and the
    rows of its piece; weights come from memory once."""
    weights = 4 * c.reduction * c.out_blocks * c.block
    image = 4 * c.in_blocks * c.in_block * c.in_size[0] * c.in_size[1]
    once = weights / target.memory_bytes_per_cycle
    again = (c.row_units - 1) * weights / cache_bandwidth(weights, target)
    again += (c.chunks - 1) * image / cache_bandwidth(image, target)
    waiting = EXPOSED * again + max(0.0, once + again - work)
    if c.prefetch:
        waiting += UNFETCHED * once / sum(count for *_, count in c.chunk_runs)
    return waiting


def name_of(config: ConvConfig, target: Target) -> str:
    """The kernel's name: algorithm, layout, pixels x output channels of the register tile, vector unit."""
    stem = "gemm" if config.kernel == (1, 1) else "conv"
    layout = f"nchw{config.block}c" if config.in_block > 1 else "nchw"
    return f"{stem}_f32_{layout}_{config.tile.pixels}x{config.tile.groups * config.block}_{target.isa}"


def conv_call(
    site: Site, geometry: ConvGeometry, weight: Constant, suffix: str = "", choice: DirectChoice | None = None
) -> tuple[Call, tuple[Packed, ...]]:
    """The call and packed weights of one convolution of the node; `weight` is (o, i / groups, kh, kw)."""
    config = configure(geometry, site.target, choice, site)
    kernel = Kernel(
        family="conv_direct",
        name=name_of(config, site.target),
        config=config,
        units=config.row_units * config.groups * config.chunks,
        scratch_floats=config.scratch_floats,
    )
    node = site.node
    size = config.reduction * config.out_blocks * config.block
    packed = [Packed(f"{node.name}.weight{suffix}", weight.map((size,), lambda w: pack_conv(w, config)))]
    bias = site.constant("bias")
    if bias is not None:
        padded = config.out_blocks * config.block
        packed.append(Packed(f"{node.name}.bias", bias.map((padded,), lambda b: pad_channels(b, padded))))
    operands = (
        *site.values(node.inputs[:1]),
        *(Operand("weight", p.name) for p in packed),
        *site.values(node.inputs[1:]),
    )
    return Call(node.name, kernel, operands, site.result), tuple(packed)


def select_conv(site: Site) -> Selection | None:
    """Any convolution but a depthwise one: groups are merged until each fills whole blocks."""
    if site.node.op != "conv":
        return None
    groups = site.node.attrs["groups"]
    merge = conv_merge(site)
    weight = site.constant("weight")
    assert weight is not None
    out, narrow, kh, kw = weight.shape
    dense = weight.map((out, narrow * merge, kh, kw), lambda w: densify(w, groups, merge))
    given = site.given
    choice = given.choice if given is not None and isinstance(given.choice, DirectChoice) else None
    call, packed = conv_call(site, conv_geometry(site), dense, choice=choice)
    why = _why(call.kernel.config, merge)
    return Selection((call,), packed, why if given is None else f"{why}; {given.why}")


def conv_geometry(site: Place[HasBlocks]) -> ConvGeometry:
    """The geometry of a conv node, its groups merged until each fills whole blocks."""
    node, attrs, source = site.node, site.node.attrs, site.type()
    return ConvGeometry(
        in_channels=source.shape[1],
        out_channels=attrs["out"],
        in_block=source.block,
        in_size=source.chw[1:],
        grid=node.type.chw[1:],
        out_size=node.type.chw[1:],
        kernel=attrs["kernel"],
        stride=attrs["stride"],
        dilation=attrs["dilation"],
        origin=(-attrs["pad"][0], -attrs["pad"][1]),
        groups=attrs["groups"] // conv_merge(site),
        bias=attrs["bias"],
        epilogue=attrs["epilogue"],
    )


def conv_merge(site: Place[HasBlocks]) -> int:
    """How many of a conv's groups are computed as one."""
    groups, source = site.node.attrs["groups"], site.type()
    if groups == 1:
        return 1
    merge = merged_groups(groups, source.shape[1], site.node.attrs["out"], site.block)
    return groups if source.block == 1 else merge


def _why(config: ConvConfig, merge: int) -> str:
    tile = config.tile
    kind = "1x1 as a matrix product" if config.kernel == (1, 1) else "direct"
    if config.kernel == (1, 1) and config.stride != (1, 1):
        kind += " on every " + "x".join(map(str, config.stride)) + "th pixel"
    text = f"{kind}; {tile.rows}x{tile.columns} pixels x {tile.groups} blocks fill the registers"
    return text + (f"; {merge} groups merged to fill a block" if merge > 1 else "")


def select_transposed(site: Site) -> Selection | None:
    """A transposed convolution as one small convolution for each phase of its stride (no zeros are ever inserted)."""
    if site.node.op != "conv_transpose":
        return None
    calls, packed = [], {}
    for geometry, part, suffix in transposed_phases(site):
        call, weights = conv_call(site, geometry, part, suffix)
        calls.append(call)
        packed.update({p.name: p for p in weights})
    why = f"{len(calls)} phases of the stride, each a direct convolution"
    return Selection(tuple(calls), tuple(packed.values()), why)


def transposed_phases(site: Place[HasBlocks]) -> Iterator[tuple[ConvGeometry, Constant, str]]:
    """The convolutions that a transposed one consists of: geometry, weight (o, i / groups, kh, kw), a suffix for names.
    One without taps has only the bias to write."""
    attrs, source = site.node.attrs, site.type()
    in_channels, out_channels = source.shape[1], attrs["out"]
    groups = attrs["groups"]
    merge = merged_groups(groups, in_channels, out_channels, site.block) if groups > 1 else 1
    weight = site.constant("weight")
    assert weight is not None
    for row, column in product(_phases(0, site), _phases(1, site)):
        shape = (out_channels, in_channels // groups * merge, len(row.taps), len(column.taps))
        part = weight.map(
            shape, lambda w, r=row, c=column: densify(_phase_weight(w, groups, r.taps, c.taps), groups, merge)
        )
        geometry = ConvGeometry(
            in_channels=in_channels,
            out_channels=out_channels,
            in_block=source.block,
            in_size=source.chw[1:],
            grid=(row.grid, column.grid),
            out_size=site.node.type.chw[1:],
            kernel=(len(row.taps), len(column.taps)),
            stride=(1, 1),
            dilation=(row.dilation, column.dilation),
            origin=(row.origin, column.origin),
            groups=groups // merge,
            bias=attrs["bias"],
            epilogue=attrs["epilogue"],
            out_step=attrs["stride"],
            out_start=(row.start, column.start),
        )
        yield geometry, part, f".{row.start}.{column.start}"


@dataclass(frozen=True)
class _Phase:
    """Outputs start, start + stride, ... along one axis: which taps reach them, in input order, and from where."""

    start: int
    grid: int
    taps: tuple[int, ...]
    dilation: int
    origin: int


def _phases(axis: int, site: Place[HasBlocks]) -> list[_Phase]:
    """Output y gets input (y + pad - k * dilation) / stride for every tap k where that is whole."""
    attrs = site.node.attrs
    stride, dilation, pad = attrs["stride"][axis], attrs["dilation"][axis], attrs["pad"][axis]
    size = site.node.type.shape[2 + axis]
    phases = []
    for start in range(min(stride, size)):
        taps = [k for k in range(attrs["kernel"][axis]) if (start + pad - k * dilation) % stride == 0]
        taps.reverse()  # the largest tap reads the smallest input index
        origin = (start + pad - taps[0] * dilation) // stride if taps else 0
        grid = -(-(size - start) // stride)
        phases.append(_Phase(start, grid, tuple(taps), dilation // math.gcd(stride, dilation), origin))
    return phases


def _phase_weight(weight: np.ndarray, groups: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> np.ndarray:
    """Torch's (i, o / groups, kh, kw) to a convolution's (o, i / groups, taps, taps) for one phase."""
    i, per_group = weight.shape[:2]
    picked = weight[:, :, list(rows)][:, :, :, list(columns)]
    grouped = picked.reshape(groups, i // groups, per_group, len(rows), len(columns))
    return grouped.transpose(0, 2, 1, 3, 4).reshape(groups * per_group, i // groups, len(rows), len(columns))
