"""How a convolution of narrow groups is cut into tiles and units: a model of cycles, no measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from cnncc.base.divisors import divisors, even_cuts, spread
from cnncc.base.elements import BFLOAT16, FLOAT32
from cnncc.kernels.cpu.conv_choice import COPY_BYTES, UNIT_CYCLES, overlapped
from cnncc.kernels.cpu.grouped import GroupedConfig, GroupedTile
from cnncc.kernels.cpu.micro import LOADS, STEP, micro_of, rounds_of, usable_registers
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.tiles import even_tiles
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry, conv_geometry
from cnncc.machines.targets import Target

MOST_CUTS = 12
"""Along the rows, or of the panels, that are tried."""

TILES_TRIED = 4
"""Register tiles beyond which none is worth a trial."""


@dataclass(frozen=True)
class GroupedChoice:
    """Register tile, output rows of a unit and its panels."""

    tile: GroupedTile
    rows: int
    panels: int
    algorithm: str = "grouped"


def configure(site: CpuSite, choice: GroupedChoice) -> GroupedConfig:
    """The convolution cut as chosen."""
    return _config(_geometry(site), site.target, choice.tile, choice.rows, choice.panels)


def grouped_candidates(site: CpuSite, name: str = "grouped", wide: bool = False) -> list[Candidate[GroupedChoice]]:
    """Cuts with the best tile of whole and of half vectors; with `wide`, with each of the better tiles. That of least
    cost is the first."""
    found = []
    ranked = ranked_tiles(_geometry(site), site.target)
    of_each = {tile.halves: tile for tile in reversed(ranked)}  # the best of each width of vectors
    for tile in dict.fromkeys([*ranked[:TILES_TRIED], *of_each.values()]) if wide else of_each.values():
        for config, cycles in _costs(_geometry(site), site.target, tile):
            choice = GroupedChoice(tile, config.rows, config.panels, name)
            found.append(Candidate(choice, cycles, 0, FLOAT32.bytes(config.scratch_floats)))
    return sorted(found, key=lambda c: c.cost)


def grouped_cost(site: CpuSite, choice: GroupedChoice) -> float:
    """Predicted cycles of a choice, which may have been made for an image of another size."""
    config = configure(site, choice)
    work = multiply_cycles(config)
    return work + spread_cycles(config) + _shared(config, work, site.target)


def grouped_forecast(site: CpuSite) -> float:
    """Predicted cycles of the best cut on one core."""
    geometry = _geometry(site)
    of_each = {tile.halves: tile for tile in reversed(ranked_tiles(geometry, site.target))}
    costs = (cost for tile in of_each.values() for cost in _costs(geometry, site.target, tile))
    config, cycles = min(costs, key=lambda found: found[1])
    return overlapped(cycles, config.micro.stored.bytes(config.weight_numbers) / site.weights_per_cycle)


def _config(g: ConvGeometry, target: Target, tile: GroupedTile, rows: int, panels: int = 1) -> GroupedConfig:
    rounds, micro = rounds_of(target) if g.element == BFLOAT16.name else "", micro_of(target, g.weights)
    unit = micro.unit
    if tile.halves:
        micro = replace(micro, unit=replace(unit, lanes=micro.lanes // 2))
    elif target.splits_vectors:
        micro = replace(micro, unit=replace(unit, ports=max(1, unit.ports // 2)))
    return GroupedConfig(g, micro, tile, rows, panels, rounds)


def _geometry(site: CpuSite) -> ConvGeometry:
    return replace(conv_geometry(site), groups=site.node.attrs["groups"])


@cache
def ranked_tiles(g: ConvGeometry, target: Target) -> tuple[GroupedTile, ...]:
    """Every tile that fits, by rising predicted cycles."""
    whole = [_config(g, target, tile, g.grid[0]) for tile in _tiles(g, target)]
    return tuple(c.tile for c in sorted(whole, key=lambda c: (multiply_cycles(c), -c.tile.columns)))


def _tiles(g: ConvGeometry, target: Target) -> Iterator[GroupedTile]:
    """Pixels and vectors whose sums, weights and values lie in registers. Vectors share a value only if they are of one
    group, so no more of them than a group has; and as many in each panel."""
    whole, half = (_config(g, target, GroupedTile(1, 1, 1, halves), 1) for halves in (False, True))
    yield from _tiles_of(whole, target)
    if whole.group_out % whole.lanes and whole.group_out % half.lanes == 0 and half.lanes >= FEWEST_LANES:
        yield from _tiles_of(half, target)


FEWEST_LANES = 4
"""Of halved vectors: narrower ones are no registers of any processor."""


def _tiles_of(one: GroupedConfig, target: Target) -> Iterator[GroupedTile]:
    """Those with vectors of one width, that of the configuration."""
    g, most = one.geometry, max(1, one.group_out // one.lanes)
    usable = usable_registers(target.floats)
    for vectors in (v for v in range(1, min(most, 6) + 1) if one.panel_count % v == 0):
        for rows in range(1, min(g.grid[0], 4) + 1):
            for columns in range(1, min(g.grid[1], 28) + 1):
                tile = replace(one.tile, rows=rows, columns=columns, vectors=vectors)
                fits = replace(one, tile=tile).registers <= usable
                if fits and (rows == 1 or columns == g.grid[1]):
                    yield tile


def multiply_cycles(c: GroupedConfig) -> float:
    """Predicted cycles of all multiplications on one core."""
    g, unit = c.geometry, c.micro.unit
    total = 0.0
    for _, rows, down in even_tiles(g.grid[0], c.tile.rows):
        for _, columns, across in even_tiles(g.grid[1], c.tile.columns):
            pixels, vectors, held = rows * columns, c.tile.vectors, c.held_taps
            reach = {p * g.stride[1] + j * g.dilation[1] for p in range(columns) for j in range(held)}
            row = max(
                pixels * vectors * held / unit.ports,
                (rows * len(reach) + vectors * held) / LOADS,
                held * float(unit.latency),
            )
            steps = c.taps // held * c.weight_rows
            total += down * across * (steps * (row + STEP) + c.panel_count * TILE)
    return total


TILE = 8.0
"""Cycles that a tile takes to begin and to end."""
STORE = 1.0
"""Cycles to store a vector of a spread row."""
BROADCAST = 1.5
"""The same where it takes a load of its own."""


def spread_cycles(c: GroupedConfig) -> float:
    """Predicted cycles of spreading, or of copying, the rows that all units read."""
    if not c.gathers:
        return 0.0
    area = c.row_units * c.window[0] * c.window[1]
    if not c.spread:
        return c.units / c.row_units * area * c.planes * c.geometry.in_block * 4 / COPY_BYTES
    each = STORE if c.shuffled else BROADCAST * c.runs
    return area * c.panel_count * c.group_in * each


@cache
def _costs(g: ConvGeometry, target: Target, tile: GroupedTile) -> tuple[tuple[GroupedConfig, float], ...]:
    """Each sensible cut with a tile, and its predicted cycles."""
    whole = _config(g, target, tile, g.grid[0])
    work = multiply_cycles(whole)
    rows = sorted({min(g.grid[0], -(-r // tile.rows) * tile.rows) for r in even_cuts(g.grid[0])})
    panels = divisors(whole.panel_count)
    found = []
    for r in spread(rows, MOST_CUTS):
        for count in spread(panels, MOST_CUTS):
            c = replace(whole, rows=r, panels=count)
            found.append((c, work + spread_cycles(c) + _shared(c, work, target)))
    return tuple(found)


def _shared(c: GroupedConfig, work: float, target: Target) -> float:
    """Cycles that it takes to start units, and to wait for the last one of other threads."""
    uneven = work / c.units / 2 + work * (c.row_units * c.rows / c.geometry.grid[0] - 1) / c.units
    cached = max(0.0, 4 * c.scratch_floats / (target.l2_bytes / 2) - 1)
    return uneven + UNIT_CYCLES * c.units + work * cached
