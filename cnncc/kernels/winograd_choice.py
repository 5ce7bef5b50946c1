"""When Winograd beats the direct kernel, and with which tiles: a model of cycles and bytes, no measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cnncc.kernels.choices import WinogradChoice
from cnncc.kernels.conv_direct import pad_channels
from cnncc.kernels.room import Option, choose
from cnncc.kernels.spec import Call, Kernel, Operand, Packed, Selection, Site, blocks
from cnncc.kernels.tiles import (
    Problem,
    Tile,
    cache_bandwidth,
    choose_tile,
    even_tiles,
    fits_registers,
    step_cycles,
    total_cycles,
)
from cnncc.kernels.winograd import TAPS, WinogradConfig, pack_winograd
from cnncc.targets import Target

ERRORS = {2: 1.5e-6, 4: 6e-6, 6: 4e-5}
"""Largest error seen of each output tile, over the largest output, against float64; direct kernels have about 2e-6."""

KEEP_DIRECT = 0.95
"""Winograd must promise at least this much less: its weights are larger, and the model is only a model."""

EXPOSED = 0.1
"""Part of the shorter of multiplying and reading from memory that the longer does not hide."""

SHARPNESS = 4.0
"""Of the products' steps. With AVX-512, 28 tiles x 1 block (as many loads as multiply-adds) took 1.4 times as long as
6 x 4; with AVX2, 2 tiles x 2 blocks (no more accumulators than latency needs) took 1.1 to 1.25 times as long as 6 x 1.
Their longest parts alone are the same."""

WANTED_UNITS = 8
"""Units below which threads share coarsely. A constant, not the thread count: the same kernel serves any."""


def select_winograd(site: Site) -> Selection | None:
    """3x3 with stride 1, no dilation or groups, on blocked channels, where the model says it pays."""
    if not applies(site):
        return None
    if site.given is not None:
        return _given(site)
    costs = {config: _cycles(config, site.target) for config in candidates(site)}
    if not costs:
        return None
    config = min(costs, key=costs.__getitem__)
    direct = _direct_cycles(site)
    if costs[config] > KEEP_DIRECT * direct:
        return None
    options = [Option(cycles, c.workspace_floats, c.scratch_floats, c) for c, cycles in costs.items()]
    config, note = choose(site, options)
    why = f"F({config.m}x{config.m}), {costs[config] / direct:.2f} of the direct kernel's predicted cycles"
    return _selection(site, config, why + note)


def applies(site: Site) -> bool:
    """Whether Winograd can compute the node at all."""
    node, attrs = site.node, site.node.attrs
    if node.op != "conv" or site.type().block == 1 or attrs["groups"] != 1:
        return False
    return (attrs["kernel"], attrs["stride"], attrs["dilation"]) == ((TAPS, TAPS), (1, 1), (1, 1))


def allowed_sizes(max_error: float) -> tuple[int, ...]:
    """The output tiles that keep an error bound."""
    return tuple(m for m, error in ERRORS.items() if error <= max_error)


def winograd_candidates(site: Site) -> list[tuple[float, WinogradChoice]]:
    """Predicted cycles and choice of all candidates, cheapest first; none where Winograd does not apply."""
    if not applies(site):
        return []
    found = [(_cycles(config, site.target), winograd_choice(config)) for config in candidates(site)]
    return sorted(found, key=lambda pair: pair[0])


def winograd_choice(config: WinogradConfig) -> WinogradChoice:
    """What was chosen in a configuration."""
    return WinogradChoice(config.m, config.tiles, config.chunks, config.tile.groups, config.shared)


def _given(site: Site) -> Selection | None:
    """What a given choice asks for; None where that is the direct kernel."""
    given = site.given
    if given is None or not isinstance(given.choice, WinogradChoice):
        return None
    c = given.choice
    tile = _register_tile(c.tiles, c.groups, site.target)
    config = replace(_base(site), m=c.m, tiles=c.tiles, chunks=c.chunks, tile=tile, shared=c.shared)
    return _selection(site, config, f"F({c.m}x{c.m}); {given.why}")


def _base(site: Site) -> WinogradConfig:
    """The part of a configuration that the node gives."""
    node, source, target = site.node, site.type(), site.target
    pad = node.attrs["pad"]
    return WinogradConfig(
        m=2, in_blocks=blocks(source.shape[1], target.block), in_size=(source.shape[2], source.shape[3]),
        out_blocks=blocks(node.attrs["out"], target.block), out_size=node.type.chw[1:], pad=(pad[0], pad[1]),
        block=target.block, lanes=target.lanes, bias=node.attrs["bias"], epilogue=node.attrs["epilogue"], tiles=1,
        chunks=1, tile=Tile(1, 1, 1), shared=False,
    )  # fmt: skip


def candidates(site: Site) -> Iterator[WinogradConfig]:
    """Every output tile the error bound allows, with every sensible number of tiles and chunks per unit."""
    base, target = _base(site), site.target
    smaller = min(base.out_size)
    for m in (m for m in allowed_sizes(site.max_error) if m < smaller + m // 2):
        for tiles in _tile_counts(replace(base, m=m).total):
            for chunks in (c for c in (1, 2, 4, 8, 16) if base.out_blocks % c == 0):
                for groups in (g for g in (1, 2, 4) if base.out_blocks // chunks % g == 0):
                    if not fits_registers(Tile(1, 1, groups), target):
                        continue
                    tile = _register_tile(tiles, groups, target)
                    for shared in (False, True):
                        config = replace(base, m=m, tiles=tiles, chunks=chunks, tile=tile, shared=shared)
                        if 4 * config.scratch_floats <= target.l2_bytes:
                            yield config


def _tile_counts(total: int) -> list[int]:
    """Even cuts of all tiles into units of at most 64."""
    counts = {-(-total // units) for units in range(1, total + 1)}
    return sorted(c for c in counts if c <= 64 and (c >= 6 or c == total))


def _register_tile(tiles: int, groups: int, target: Target) -> Tile:
    """As many tiles as the registers hold beside `groups` output blocks."""
    fitting = [c for c in range(1, 29) if c <= tiles and fits_registers(Tile(1, c, groups), target)]
    return Tile(1, max(fitting, default=1), groups)


def _cycles(config: WinogradConfig, target: Target) -> float:
    """Predicted cycles on one core: products, or reading their weights, whichever takes longer; and transforms."""
    vectors = target.vectors
    channels = config.in_blocks * config.block
    panel = channels * config.tile.groups * config.block * 4
    step = 0.0
    for _, size, count in even_tiles(config.tiles, config.tile.columns):
        step += count * step_cycles(Tile(1, size, config.tile.groups), target, panel, sharpness=SHARPNESS)
    groups = config.out_blocks // config.tile.groups
    products = config.tile_units * groups * config.points * channels * step
    padded = config.tile_units * config.tiles
    transforms = (
        padded * config.in_blocks * vectors * _input_cycles(config.edge) * (1 if config.shared else config.chunks)
    )
    transforms += padded * config.out_blocks * vectors * _output_cycles(config.m, config.edge)
    units = config.tile_units * config.chunks
    weight_bytes = 4 * config.points * channels * config.out_blocks * config.block
    reading = weight_bytes / target.memory_bytes_per_cycle
    reading_again = (config.tile_units - 1) * weight_bytes / target.l3_bytes_per_cycle
    data_bytes = 4 * config.points * config.in_blocks * padded * config.block
    moving = 2 * data_bytes / target.l3_bytes_per_cycle if config.shared else 0.0
    # Every group of output blocks but the first reads the transformed input of the unit again; about half of that
    # hides behind multiplications.
    unit_bytes = 4 * config.points * config.in_blocks * config.tiles * config.block
    again = 0.5 * config.tile_units * (groups - 1) * unit_bytes / cache_bandwidth(unit_bytes, target)
    # Weights from memory are one stream, fetched ahead: a 7x7 layer took little longer than reading them.
    busy = products + again
    work = max(busy, reading) + EXPOSED * min(busy, reading) + reading_again + transforms + moving
    return work * (1 + 0.3 * max(0.0, WANTED_UNITS / units - 1) / WANTED_UNITS + 0.5 / units)


def _input_cycles(edge: int) -> float:
    """One tile of one vector of channels: loads, about 5 operations per element and pass on two ports, stores."""
    return edge * edge * (0.5 + 2 * 2.0 + 1.0)


def _output_cycles(m: int, edge: int) -> float:
    return edge * edge * 0.5 + m * edge * 2.0 + m * m * 3.0


def _direct_cycles(site: Site) -> float:
    """Predicted cycles of the direct kernel for the same node."""
    node, source, target = site.node, site.type(), site.target
    _, _, height, width = node.type.shape
    out_blocks = blocks(node.attrs["out"], target.block)
    reduction = blocks(source.shape[1], target.block) * target.block * TAPS**2
    problem = Problem(height, width, out_blocks, reduction, TAPS**2)
    work = reduction * total_cycles(choose_tile(problem, target), problem, target)[0]
    return max(work, 4 * reduction * out_blocks * target.block / target.memory_bytes_per_cycle)


def _selection(site: Site, config: WinogradConfig, why: str) -> Selection:
    node, target = site.node, site.target
    stem = f"winograd_f32_{config.m}x{config.m}_nchw{config.block}c"
    shape = f"{config.tile.columns}x{config.tile.groups * config.block}_{target.isa}"
    units = config.tile_units * config.chunks
    kernel = Kernel("winograd", f"{stem}_{shape}", config, units, config.scratch_floats)
    weight, bias = site.constant("weight"), site.constant("bias")
    assert weight is not None
    floats = config.points * config.in_blocks * config.block * config.out_blocks * config.block
    packed = [Packed(f"{node.name}.weight", weight.map((floats,), lambda w: pack_winograd(w, config)))]
    if bias is not None:
        padded = config.out_blocks * config.block
        packed.append(Packed(f"{node.name}.bias", bias.map((padded,), lambda b: pad_channels(b, padded))))
    weights = tuple(Operand("weight", p.name) for p in packed)
    extras = site.values(node.inputs[1:])
    image = site.values(node.inputs[:1])
    if not config.shared:
        return Selection((Call(node.name, kernel, (*image, *weights, *extras), site.result),), tuple(packed), why)
    # The transform does not depend on the epilogue or on how the products are cut: one kernel for all that agree.
    plain = replace(config, epilogue=(), bias=False, chunks=1, tile=Tile(1, 1, 1), out_blocks=1)
    transform = Kernel(
        "winograd_input",
        f"{stem}_input_{target.isa}",
        plain,
        config.in_blocks * config.tile_units,
        config.border_floats,
    )
    data = Operand("workspace", node.name)
    calls = (
        Call(node.name, transform, image, data, workspace_floats=config.data_floats),
        Call(node.name, kernel, (data, *weights, *extras), site.result, workspace_floats=config.data_floats),
    )
    return Selection(calls, tuple(packed), f"{why}; input transformed once for all output blocks")
