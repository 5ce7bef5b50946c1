"""How a direct convolution is cut into tiles and units: a model of cycles and bytes, no measurement."""

from __future__ import annotations

from dataclasses import replace

from cnncc.base.divisors import divisors, even_cuts, spread
from cnncc.ir import Constant
from cnncc.kernels.cpu.conv_direct import ConvConfig, PadConfig, pack_conv
from cnncc.kernels.cpu.room import Option, choose
from cnncc.kernels.cpu.tiles import Problem, Tile, cache_bandwidth, ranked_tiles, total_cycles
from cnncc.kernels.shared.choices import DirectChoice
from cnncc.kernels.shared.convolution import ConvGeometry, conv_geometry, conv_merge, densify, pad_channels
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection, Site, blocks
from cnncc.machines.targets import Target


def configure(
    geometry: ConvGeometry, target: Target, choice: DirectChoice | None = None, site: Site | None = None
) -> ConvConfig:
    """Chooses tile, rows and chunks for a convolution on a target, or takes those of a choice; with a site, such that
    scratch and workspace fit in its room if that costs little."""
    problem = _problem(geometry, target)
    if choice is not None:
        whole = _whole(geometry, problem, choice.tile, target, choice.padded)
        return replace(whole, rows=choice.rows, chunks=choice.chunks)
    wholes = _wholes(geometry, problem, ranked_tiles(problem, target)[0], target)
    whole = wholes[0]
    costs = {config: _unit_cost(config, problem, target) for config in _partitions(wholes)}
    best = min(costs, key=costs.__getitem__)
    if site is None:
        return best
    work = whole.reduction * whole.groups * total_cycles(whole.tile, problem, target)[0]
    first = (best, costs[best])  # of equals, the one with the fewest units
    options = [
        Option(
            work + cost[0], pad_config(geometry, config).floats if config.padded else 0, config.scratch_floats, config
        )
        for config, cost in (first, *costs.items())
    ]
    return choose(site, options)[0]


def direct_candidates(geometry: ConvGeometry, target: Target) -> list[tuple[float, DirectChoice]]:
    """Predicted cycles and choice of every partition with one of the better tiles, cheapest first."""
    problem = _problem(geometry, target)
    found = []
    for tile in ranked_tiles(problem, target)[:TILES_TRIED]:
        for config in _partitions(_wholes(geometry, problem, tile, target)):
            cycles = config.reduction * config.groups * total_cycles(tile, problem, target)[0]
            weight_bytes = 4 * config.reduction * config.out_blocks * config.block
            cycles += _unit_cost(config, problem, target)[0]
            cycles = max(cycles, weight_bytes / target.memory_bytes_per_cycle)
            found.append((cycles, DirectChoice(tile, config.rows, config.chunks, config.padded)))
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


UNROLLED_TAPS = 7
"""Taps of a row of a plain image that are unrolled at most, by us or by LLVM: with 7 of them, tiles that left no room
for the pixels they share took a tenth longer."""


def _partitions(wholes: list[ConvConfig]) -> list[ConvConfig]:
    """Every sensible cut of the work into units."""
    return [
        replace(whole, rows=rows, chunks=chunks)
        for whole in wholes
        for rows in _row_choices(whole.grid[0], whole.tile.rows)
        for chunks in _chunk_choices(whole.group_out_blocks, whole.tile.groups)
    ]


def _wholes(g: ConvGeometry, problem: Problem, tile: Tile, target: Target) -> list[ConvConfig]:
    """All of the work as one unit, that gathers what it reads; and on an image copied between zeros, if it would."""
    own = _whole(g, problem, tile, target)
    may_pad = own.gathers and g.in_block > 1 and g.out_step == (1, 1)
    return [own, _whole(g, problem, tile, target, padded=True)] if may_pad else [own]


def _whole(g: ConvGeometry, problem: Problem, tile: Tile, target: Target, padded: bool = False) -> ConvConfig:
    """All of the work as one unit."""
    out_blocks = blocks(g.out_channels, target.block)
    in_blocks = blocks(g.in_channels, g.in_block)
    reduction = in_blocks // g.groups * g.in_block * g.kernel[0] * g.kernel[1]
    return ConvConfig(
        in_blocks=in_blocks,
        in_block=g.in_block,
        in_size=g.window if padded else g.in_size,
        out_blocks=out_blocks,
        block=target.block,
        grid=g.grid,
        out_size=g.out_size,
        out_step=g.out_step,
        out_start=g.out_start,
        kernel=g.kernel,
        stride=g.stride,
        dilation=g.dilation,
        origin=(0, 0) if padded else g.origin,
        groups=g.groups,
        bias=g.bias,
        epilogue=g.epilogue,
        tile=tile,
        rows=g.grid[0],
        prefetch=4 * reduction * out_blocks * target.block > target.l1_bytes,
        chunks=1,
        lanes=target.lanes,
        padded=padded,
    )


def _row_choices(height: int, step: int) -> list[int]:
    """Rows per unit worth trying: every even split into whole tiles."""
    cuts = spread(even_cuts(height), MOST_CUTS)
    return sorted({min(height, -(-r // step) * step) for r in cuts})


def _chunk_choices(group_out: int, groups: int) -> list[int]:
    return spread([c for c in divisors(group_out) if c == 1 or group_out // c % groups == 0], MOST_CUTS)


MOST_CUTS = 96
"""Along the rows, or of the output blocks, that are tried: as many as images of up to 2300 rows have."""


COPY_BYTES = 16
"""Bytes of an image copied between zeros in a cycle."""

STEP_CYCLES = 2000
"""What a call of its own costs each core: the threads meet."""

UNIT_CYCLES = 300
"""What starting a unit costs: taking it from the counter, loop setup, cold branch predictors."""

EXPOSED = 0.1
"""Part of what units read again that multiplications do not hide: 1x1 layers at 7x7 and 14x14 took hardly longer in 4
pieces of the rows than in one, though each reads all weights."""

UNFETCHED = 0.5
"""Part of reading the first weights of a core's part that multiplications do not hide: no tile asked for them yet."""


def _unit_cost(config: ConvConfig, problem: Problem, target: Target) -> tuple[float, int]:
    """Predicted cycles of a partition beyond those of its tiles: what units read, gather, and leave unbalanced."""
    c = config
    units = c.row_units * c.groups * c.chunks
    work = c.reduction * c.groups * total_cycles(c.tile, problem, target)[0]
    waiting = _waiting(c, work, target)
    if c.padded:
        waiting += 4 * c.in_blocks * c.in_block * c.in_size[0] * c.in_size[1] / COPY_BYTES + STEP_CYCLES * target.cores
    if c.gathers:
        waiting += units * c.scratch_floats * 4 / COPY_BYTES
        waiting += work * max(0.0, 4 * c.scratch_floats / (target.l2_bytes / 2) - 1)
    # Sharing among threads ends, on average, half a unit early; the last row unit may be a short one.
    uneven = work / units / 2 + work * (c.row_units * c.rows - c.grid[0]) / (c.row_units * c.rows) / units
    return waiting + uneven + UNIT_CYCLES * units, units


def _waiting(c: ConvConfig, work: float, target: Target) -> float:
    """Cycles of all cores that `work` cycles of multiplying do not hide of reading. A core computes the units of some
    parts of the output blocks, or, where there are fewer parts than cores, some rows of one: for each part it reads the
    weights once, and again for each further piece of rows; the image once, and again for each further part. Its own
    rows are what it wrote itself, most likely, and in its cache; those of others are not."""
    cores, parts = target.cores, c.groups * c.chunks
    mine, share = max(1.0, parts / cores), min(1.0, parts / cores)
    weights = 4 * c.reduction * c.out_blocks * c.block / parts
    image = 4 * c.in_blocks * c.in_block * c.in_size[0] * c.in_size[1] / c.groups
    once = mine * weights / target.memory_bytes_per_cycle
    again = mine * max(0.0, c.row_units * share - 1) * weights / cache_bandwidth(round(weights), target)
    foreign = 1.0 if share == 1 else share * min(1.0, image * share / target.l2_bytes)
    again += foreign * image / target.l3_bytes_per_cycle
    again += (mine - 1) * share * image / cache_bandwidth(round(image), target)
    waiting = EXPOSED * cores * again + max(0.0, cores * (once + again) - work)
    if c.prefetch:
        waiting += UNFETCHED * cores * once / (mine * sum(count for *_, count in c.chunk_runs))
    return waiting


def name_of(config: ConvConfig, target: Target) -> str:
    """The kernel's name: algorithm, layout, pixels x output channels of the register tile, vector unit."""
    stem = "gemm" if config.kernel == (1, 1) else "conv"
    layout = f"nchw{config.block}c" if config.in_block > 1 else "nchw"
    return f"{stem}_f32_{layout}_{config.tile.pixels}x{config.tile.groups * config.block}_{target.isa}"


def pad_config(geometry: ConvGeometry, config: ConvConfig) -> PadConfig:
    """The copy that a convolution on a padded image reads."""
    return PadConfig(config.in_blocks, config.in_block, geometry.in_size, config.in_size, geometry.origin)


def conv_calls(
    site: Site, geometry: ConvGeometry, weight: Constant, suffix: str = "", choice: DirectChoice | None = None
) -> tuple[tuple[Call, ...], tuple[Packed, ...]]:
    """The calls and packed weights of one convolution of the node; `weight` is (o, i / groups, kh, kw)."""
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
    rest = (*(p.operand for p in packed), *site.values(node.inputs[1:]))
    image = site.values(node.inputs[:1])
    if not config.padded:
        return (Call(node.name, kernel, (*image, *rest), site.result),), tuple(packed)
    padding = pad_config(geometry, config)
    copy = Kernel("pad", f"pad_f32_nchw{config.in_block}c_{site.target.isa}", padding, padding.planes, 0)
    between = Workspace(node.name)
    calls = (
        Call(node.name, copy, image, between, workspace_floats=padding.floats),
        Call(node.name, kernel, (between, *rest), site.result, workspace_floats=padding.floats),
    )
    return calls, tuple(packed)


def select_conv(site: Site) -> Selection:
    """Any convolution but a depthwise one: groups are merged until each fills whole blocks."""
    groups = site.node.attrs["groups"]
    merge = conv_merge(site)
    weight = site.constant("weight")
    assert weight is not None
    out, narrow, kh, kw = weight.shape
    dense = weight.map((out, narrow * merge, kh, kw), lambda w: densify(w, groups, merge))
    given = site.given
    choice = given.choice if given is not None and isinstance(given.choice, DirectChoice) else None
    calls, packed = conv_calls(site, conv_geometry(site), dense, choice=choice)
    why = _why(calls[-1].kernel.config, merge)
    return Selection(calls, packed, why if given is None else f"{why}; {given.why}")


def _why(config: ConvConfig, merge: int) -> str:
    tile = config.tile
    kind = "1x1 as a matrix product" if config.kernel == (1, 1) else "direct"
    if config.kernel == (1, 1) and config.stride != (1, 1):
        kind += " on every " + "x".join(map(str, config.stride)) + "th pixel"
    if config.padded:
        kind += ", the image copied between zeros once"
    text = f"{kind}; {tile.rows}x{tile.columns} pixels x {tile.groups} blocks fill the registers"
    return text + (f"; {merge} groups merged to fill a block" if merge > 1 else "")
