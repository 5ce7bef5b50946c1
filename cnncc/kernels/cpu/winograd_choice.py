"""When Winograd beats the direct kernel, and with which tiles: a model of cycles and bytes, no measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.conv_choice import STEP_CYCLES, overlapped
from cnncc.kernels.cpu.micro import micro_of
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.tiles import Tile, cache_bandwidth, even_tiles, fits_registers, step_cycles
from cnncc.kernels.cpu.winograd import WinogradConfig
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.spec import blocks
from cnncc.kernels.shared.winograd import ERRORS, allowed_sizes
from cnncc.machines.targets import Target

AS_GOOD = 1.03
"""Of the fastest candidate's predicted cycles, at which fewer weights, and so a smaller module, count for more."""

SHARPNESS = 4.0
"""Of the products' steps. With AVX-512, 28 tiles x 1 block (as many loads as multiply-adds) took 1.4 times as long as
6 x 4; with AVX2, 2 tiles x 2 blocks (no more accumulators than latency needs) took 1.1 to 1.25 times as long as 6 x 1.
Their longest parts alone are the same."""

SECTIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Into how many sections the output blocks may be cut."""

READ_AGAIN = 0.4
"""Part of reading the transformed input for another panel of output blocks that multiplications do not hide."""

WEIGHTS_AGAIN = 0.3
"""The same of reading the weights for another unit."""

SHARING = 3.0
"""How many times a transformed input that is shared moves between a core and the last cache: stored, sent back and
read, often by another core."""

FEW_UNITS = 0.08
"""Of a unit's share of the work: what is lost on average where threads wait for the last one."""

SMALL_TILE, LARGE_TILE = 2.5, 11.0
"""Cycles to transform one element of an input tile, of a vector of channels, where it has 4 x 4, and where it has more
and does not fit into the registers: then it is also stored to so many places that they push each other out of the first
cache. Like the figures above fitted to 34 candidates each of 33 layers, with AVX-512 and 2 MiB of second cache; other
processors have not been fitted."""


@dataclass(frozen=True)
class WinogradChoice:
    """F(m x m): Winograd tiles of a unit, sections of the output blocks, output blocks of a register tile, and whether
    the input is transformed once for all sections."""

    m: int
    tiles: int
    sections: int
    blocks: int
    shared: bool
    algorithm: str = "winograd"


def configure(site: CpuSite, choice: WinogradChoice) -> WinogradConfig:
    """The convolution cut as chosen."""
    tile = _register_tile(choice.tiles, choice.blocks, site.target)
    c, base = choice, _base(site)
    return replace(base, m=c.m, tiles=c.tiles, sections=c.sections, tile=tile, shared=c.shared)


def winograd_candidates(site: CpuSite, name: str = "winograd", wide: bool = False) -> list[Candidate[WinogradChoice]]:
    """Those with the fewest weights among the nearly fastest; with `wide` all of them."""
    costs = costs_of(site)
    kept = costs if wide or not costs else _fewest_weights(costs)
    return [_candidate(config, cycles, name) for config, cycles in kept]


def _candidate(c: WinogradConfig, cycles: float, name: str) -> Candidate[WinogradChoice]:
    choice = WinogradChoice(c.m, c.tiles, c.sections, c.tile.blocks, c.shared, name)
    workspace, scratch = FLOAT32.bytes(c.workspace_floats), FLOAT32.bytes(c.scratch_floats)
    return Candidate(choice, cycles, workspace, scratch, ERRORS[c.m, c.taps])


Costs = tuple[tuple[WinogradConfig, float], ...]
"""Candidates and their predicted cycles."""


def _fewest_weights(costs: Costs) -> Costs:
    """Finds the fewest packed weights of any candidate that takes at most `AS_GOOD` times as long as the fastest one.
    Keeps the candidates that have no more than that."""
    near = AS_GOOD * min(cycles for _, cycles in costs)
    fewest = min(config.weight_floats for config, cycles in costs if cycles <= near)
    return tuple((config, cycles) for config, cycles in costs if config.weight_floats <= fewest)


def cycles_of(site: CpuSite, choice: WinogradChoice) -> float:
    """Predicted cycles of a choice, which may have been made for an image of another size. The last unit of an image of
    any size computes the tiles that there are."""
    c = configure(site, choice)
    last = c.total - (c.tile_units - 1) * c.tiles
    computed = (c.tile_units - 1) * c.tiles + max(last, min(FEWEST_PIXELS, c.tile.columns))
    return _cycles(c, site.target, site.weights_per_cycle, computed / (c.tile_units * c.tiles))


def costs_of(site: CpuSite) -> Costs:
    """Each candidate and its predicted cycles; empty if no tile size keeps the error bound."""
    bare = replace(_base(site), bias=False, epilogue=())  # they cost all candidates the same
    return _costs(bare, site.target, site.options.max_error, site.weights_per_cycle)


@cache
def _costs(base: WinogradConfig, target: Target, max_error: float, rate: float) -> Costs:
    """Kept by all that they depend on: networks repeat their layers."""
    return tuple((config, _cycles(config, target, rate)) for config in candidates(base, target, max_error))


def _base(site: CpuSite) -> WinogradConfig:
    """The part of a configuration that the node gives."""
    node, source, target = site.node, site.type(), site.target
    pad, groups = node.attrs["pad"], node.attrs["groups"]
    return WinogradConfig(
        m=2, taps=node.attrs["kernel"][0], groups=groups,
        in_blocks=blocks(source.shape[1], target.block) // groups, in_size=(source.shape[2], source.shape[3]),
        out_blocks=blocks(node.attrs["out"], target.block) // groups, out_size=node.type.chw[1:],
        pad=(pad[0], pad[1]), dilation=node.attrs["dilation"],
        micro=micro_of(target), bias=node.attrs["bias"], epilogue=node.attrs["epilogue"], tiles=1,
        sections=1, tile=Tile(1, 1, 1), shared=False, element=source.element.name, rounds=site.rounds,
    )  # fmt: skip


def candidates(base: WinogradConfig, target: Target, max_error: float) -> Iterator[WinogradConfig]:
    """Every output tile the error bound allows, with every sensible number of tiles and sections per unit."""
    smaller = min(-(-size // d) for size, d in zip(base.out_size, base.dilation, strict=True))
    for m in (m for m in allowed_sizes(max_error, base.taps) if m < smaller + m // 2):
        for tiles, tile_blocks, sections in _cuts(replace(base, m=m), target):
            tile = _register_tile(tiles, tile_blocks, target)
            config = replace(base, m=m, tiles=tiles, sections=sections, tile=tile)
            for shared in (False, True):
                made = replace(config, shared=shared)
                if 4 * made.scratch_floats <= target.l2_bytes:
                    yield made


def _cuts(config: WinogradConfig, target: Target) -> Iterator[tuple[int, int, int]]:
    """Tiles of a unit, output blocks of a register tile, sections of the output blocks."""
    fitting = [b for b in (1, 2, 4) if fits_registers(Tile(1, 1, b), target) and config.out_blocks % b == 0]
    for tiles, tile_blocks in product(_tile_counts(config.total), fitting):
        for sections in (s for s in SECTIONS if config.out_blocks // tile_blocks % s == 0):
            yield tiles, tile_blocks, sections


def _tile_counts(total: int) -> list[int]:
    """Even cuts of all tiles into units of at most 64."""
    even = (c for c in range(1, min(total, 64) + 1) if -(-total // -(-total // c)) == c)
    return [c for c in even if c >= 6 or c == total]


@cache
def _register_tile(tiles: int, tile_blocks: int, target: Target) -> Tile:
    """As many tiles as the registers hold beside `tile_blocks` output blocks."""
    fitting = [c for c in range(1, 29) if c <= tiles and fits_registers(Tile(1, c, tile_blocks), target)]
    return Tile(1, even_tiles(tiles, max(fitting, default=1))[0][1], tile_blocks)


FEWEST_PIXELS = 4
"""Of a register tile: fewer take as long, since each product waits for the one before."""


def _cycles(config: WinogradConfig, target: Target, rate: float, computed: float = 1.0) -> float:
    """Predicted cycles on one core that reads weights at a `rate` of bytes per cycle: products or reading, whichever
    takes longer; and transforms. `computed` is the share of the tiles of all units that are there."""
    reading = 4 * config.weight_floats / rate
    again = WEIGHTS_AGAIN * (config.tile_units - 1) * 4 * config.weight_floats / target.l3_bytes_per_cycle
    busy = _product_cycles(config, target) * computed
    work = overlapped(busy, reading) + again + _transform_cycles(config, target) * computed
    units, cores = config.tile_units * config.groups * config.sections, target.cores
    idle = -(-units // cores) * cores / units
    return work * idle * (1 + FEW_UNITS / units)


def _product_cycles(config: WinogradConfig, target: Target) -> float:
    """Of the matrix products, and of reading the transformed input for each panel of output blocks."""
    channels = config.in_blocks * config.block
    panel = channels * config.tile.blocks * config.block * 4
    step = 0.0
    for _, size, count in even_tiles(config.tiles, config.tile.columns):
        step += count * step_cycles(Tile(1, size, config.tile.blocks), target, panel, sharpness=SHARPNESS)
    panels = config.out_blocks // config.tile.blocks
    products = config.tile_units * config.groups * panels * config.points * channels * step
    unit_bytes = 4 * config.points * config.in_blocks * config.tiles * config.block
    bandwidth = cache_bandwidth(unit_bytes, target)
    return products + READ_AGAIN * config.tile_units * config.groups * (panels - 1) * unit_bytes / bandwidth


def _transform_cycles(config: WinogradConfig, target: Target) -> float:
    """Of the input, which each section transforms again unless they share it, and of the output."""
    padded = config.tile_units * config.tiles * target.vectors
    each = padded * config.in_planes * input_cycles(config.edge)
    output = padded * config.out_planes * output_cycles(config.m, config.edge)
    if not config.shared:
        return each * config.sections + output
    moved = 4 * config.data_floats
    return each + output + STEP_CYCLES * target.cores + SHARING * moved / target.l3_bytes_per_cycle


def input_cycles(edge: int) -> float:
    """One tile of one vector of channels."""
    return edge * edge * (SMALL_TILE if edge <= 4 else LARGE_TILE)


def output_cycles(m: int, edge: int) -> float:
    """One output tile of one vector of channels."""
    return edge * edge * 0.5 + m * edge * 2.0 + m * m * 3.0
