"""How a direct convolution is cut into tiles and units: a model of cycles and bytes, no measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from cnncc.base.dim import typical
from cnncc.base.divisors import divisors, even_cuts, spread
from cnncc.base.elements import BFLOAT16, ELEMENTS, FLOAT32
from cnncc.kernels.cpu.conv_direct import ConvConfig, PadConfig
from cnncc.kernels.cpu.micro import Micro, micro_of, pair_micro_of, rounds_of
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.tiles import Problem, Tile, cache_bandwidth, choose_tile, ranked_tiles, total_cycles
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry
from cnncc.kernels.shared.spec import blocks
from cnncc.machines.targets import Target


@dataclass(frozen=True)
class DirectChoice:
    """The direct kernel: register tile, output rows of a unit, sections of the output blocks; whether the image is
    copied between zeros once for all units, where its taps reach over the border."""

    tile: Tile
    rows: int
    sections: int
    padded: bool = False
    algorithm: str = "direct"


def configure(geometry: ConvGeometry, target: Target, choice: DirectChoice) -> ConvConfig:
    """The convolution cut as chosen."""
    whole = _one_unit(geometry, choice.tile, target, choice.padded)
    return replace(whole, rows=choice.rows, sections=choice.sections)


def direct_candidates(
    geometry: ConvGeometry, target: Target, name: str = "direct", wide: bool = False
) -> tuple[Candidate[DirectChoice], ...]:
    """Every partition with the best tile, that of least cost first; with `wide`, with each of the better tiles.

    What reading the weights from memory takes is the same for all partitions. It counts only where those of different
    algorithms are compared, so with `wide`.
    """
    return _direct_candidates(replace(geometry, epilogue=()), target, name, wide)  # it costs all candidates the same


def direct_cost(geometry: ConvGeometry, target: Target, choice: DirectChoice) -> float:
    """Predicted cycles of a choice, which may have been made for an image of another size."""
    return predicted(configure(geometry, target, choice), problem_of(geometry, target), target)


def predicted(config: ConvConfig, problem: Problem, target: Target) -> float:
    """Predicted cycles of a partition."""
    work = _work(config, problem, target)
    cycles = work + _unit_cost(config, work, target)[0]
    return max(cycles, config.weight_bytes / target.memory_bytes_per_cycle)


def in_range(choice: DirectChoice) -> bool:
    """Whether its kernel computes images of any size: how rows are cut depends on how many there are, unless a tile has
    one."""
    return choice.tile.rows == 1


def of_phase(
    site: CpuSite, geometry: ConvGeometry, ways: Callable[[ConvGeometry, bool], Sequence[Candidate[DirectChoice]]]
) -> Sequence[Candidate[DirectChoice]]:
    """The ways to compute a phase of a transposed convolution, of those that `ways` gives for a geometry, few or
    many."""
    if site.usual is None:
        return ways(geometry, False)
    return [way for way in ways(typical(geometry), True) if in_range(way.choice)]


@cache
def _direct_candidates(
    geometry: ConvGeometry, target: Target, name: str, wide: bool
) -> tuple[Candidate[DirectChoice], ...]:
    """Kept by all that they depend on: networks repeat their layers."""

    def wholes(tile: Tile) -> list[ConvConfig]:
        return _padded_or_not(geometry, tile, target)

    return tuple(ranked_partitions(problem_of(geometry, target), wholes, target, name, wide))


def ranked_partitions(
    problem: Problem, wholes: Callable[[Tile], list[ConvConfig]], target: Target, name: str, wide: bool
) -> list[Candidate[DirectChoice]]:
    """The partitions of `direct_candidates`. `wholes` gives the ways to compute it with a tile as one unit."""
    found, costs = [], []
    ranked = ranked_tiles(problem, target)
    for tile in _worth_trying(ranked) if wide else ranked[:1]:
        for config in _partitions(wholes(tile)):
            work = _work(config, problem, target)
            cost = _unit_cost(config, work, target)
            cycles = work + cost[0]
            if wide:
                cycles = max(cycles, config.weight_bytes / target.memory_bytes_per_cycle)
            choice = DirectChoice(tile, config.rows, config.sections, config.padded, name)
            # A copy between zeros is as large as the image that its convolution reads.
            workspace = config.image_bytes if config.padded else 0
            costs.append(cost)
            found.append(Candidate(choice, cycles, workspace, FLOAT32.bytes(config.scratch_words)))
    least = min(range(len(found)), key=costs.__getitem__)  # of equals, the one with the fewest units
    return [found[least], *found[:least], *found[least + 1 :]]


def direct_forecast(geometry: ConvGeometry, target: Target, rate: float) -> float:
    """Predicted cycles of the best tile on one core that reads weights at a `rate` of bytes per cycle."""
    return _direct_forecast(replace(geometry, epilogue=()), target, rate)


@cache
def _direct_forecast(geometry: ConvGeometry, target: Target, rate: float) -> float:
    problem = problem_of(geometry, target)
    tile = choose_tile(problem, target)
    work = min(_work(config, problem, target) for config in _padded_or_not(geometry, tile, target))
    micro = problem.micro(target)
    weights = problem.reduction * micro.unit.depth * blocks(geometry.out_channels, target.block) * target.block
    return overlapped(work, micro.stored.bytes(weights) / rate)


HALF_EXPOSED = 0.5
"""Part of the shorter of multiplying and reading from memory that the longer does not hide."""


def overlapped(busy: float, reading: float) -> float:
    """Cycles of multiplying and reading where one goes on while the other does."""
    return max(busy, reading) + HALF_EXPOSED * min(busy, reading)


TILES_TRIED = 12
"""Register tiles beyond which no partition is worth a trial."""


def _worth_trying(ranked: Sequence[Tile]) -> Sequence[Tile]:
    """The best tiles; and the best of each number of output blocks, in whose order another size of the image may have
    its weights."""
    of_each = dict[int, Tile]()
    for tile in ranked:
        of_each.setdefault(tile.blocks, tile)
    return tuple(dict.fromkeys([*ranked[:TILES_TRIED], *of_each.values()]))


def problem_of(g: ConvGeometry, target: Target) -> Problem:
    """What a tile is chosen for: the work of one group."""
    taps, micro = g.kernel[0] * g.kernel[1], conv_micro(g, target)
    reduction = blocks(g.in_channels, g.in_block) // g.groups * g.in_block * taps // micro.unit.depth
    group_out = blocks(g.out_channels, target.block) // g.groups
    unrolled = (g.kernel[1], g.stride[1]) if g.in_block == 1 and 1 < g.kernel[1] <= UNROLLED_TAPS else None
    return Problem(g.grid[0], g.grid[1], group_out, max(1, reduction), max(1, taps), unrolled, own=micro)


def conv_micro(g: ConvGeometry, target: Target) -> Micro:
    """What multiplies: pairs of bfloat16 where the target has a unit for them and they lie side by side, else
    float32."""
    if g.element == BFLOAT16.name and target.pairs is not None and g.in_block % target.pairs.depth == 0:
        return pair_micro_of(target)
    return micro_of(target, g.weights)


UNROLLED_TAPS = 7
"""Taps of a row of a plain image that are unrolled at most, by us or by LLVM: with 7 of them, tiles that left no room
for the pixels they share took a tenth longer."""


def _partitions(wholes: Iterable[ConvConfig]) -> list[ConvConfig]:
    """Every sensible cut of the work into units."""
    return [
        replace(whole, rows=rows, sections=sections)
        for whole in wholes
        for rows in _row_choices(whole.geometry.grid[0], whole.tile.rows)
        for sections in _section_counts(whole.group_out_blocks, whole.tile.blocks)
    ]


def _padded_or_not(g: ConvGeometry, tile: Tile, target: Target) -> list[ConvConfig]:
    """The convolution as one unit that copies the rows it reads into scratch, between zeros. If it needs such zeros,
    also the convolution as one unit that reads an image which was copied between zeros before."""
    own = _one_unit(g, tile, target)
    may_pad = own.gathers and g.in_block > 1 and g.out_step == (1, 1)
    return [own, _one_unit(g, tile, target, padded=True)] if may_pad else [own]


def _one_unit(g: ConvGeometry, tile: Tile, target: Target, padded: bool = False) -> ConvConfig:
    """All of the work as one unit."""
    whole = (_between_zeros(g, tile) if padded else g).in_whole_blocks(target.block)
    micro = conv_micro(g, target)
    config = ConvConfig(whole, tile, g.grid[0], prefetch=False, sections=1, micro=micro, padded=padded)
    if g.element == BFLOAT16.name:
        config = replace(config, rounds=rounds_of(target))
    return replace(config, prefetch=config.weight_bytes > target.l1_bytes)


def _between_zeros(g: ConvGeometry, tile: Tile) -> ConvGeometry:
    """On a copy between zeros for all taps; with dilation, for taps that see the image from some pixels of a tile."""
    if g.dilation == (1, 1):
        return g.padded
    return g.framed(((tile.rows - 1) * g.stride[0], (tile.columns - 1) * g.stride[1]))


def _work(config: ConvConfig, problem: Problem, target: Target) -> float:
    """Predicted cycles of the tiles."""
    cycles = total_cycles(config.tile, problem, target)[0]
    return problem.reduction * config.geometry.groups * cycles * config.share


def _row_choices(height: int, step: int) -> list[int]:
    """Rows per unit worth trying: every even split into whole tiles."""
    cuts = spread(even_cuts(height), MOST_CUTS)
    return sorted({min(height, -(-r // step) * step) for r in cuts})


def _section_counts(group_out: int, tile_blocks: int) -> list[int]:
    return spread([c for c in divisors(group_out) if c == 1 or group_out // c % tile_blocks == 0], MOST_CUTS)


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
parts of the rows than in one, though each reads all weights."""

UNFETCHED = 0.5
"""Part of reading the first weights of a core's part that multiplications do not hide: no tile asked for them yet."""


def _unit_cost(config: ConvConfig, work: float, target: Target) -> tuple[float, int]:
    """Predicted cycles of a partition beyond those of its tiles: what units read, gather, and leave unbalanced."""
    c, g = config, config.geometry
    units = c.row_units * g.groups * c.sections
    waiting = _waiting(c, work, target)
    if c.padded:
        waiting += c.image_bytes / COPY_BYTES + STEP_CYCLES * target.cores
    if c.gathers:
        waiting += units * c.scratch_words * 4 / COPY_BYTES
        waiting += work * max(0.0, 4 * c.scratch_words / (target.l2_bytes / 2) - 1)
    # Sharing among threads ends, on average, half a unit early; the last row unit may be a short one.
    uneven = work / units / 2 + work * (c.row_units * c.rows - g.grid[0]) / (c.row_units * c.rows) / units
    return waiting + uneven + UNIT_CYCLES * units, units


def _waiting(c: ConvConfig, work: float, target: Target) -> float:
    """Cycles that reading takes, summed over all cores, beyond what `work` cycles of arithmetic hide.

    The output blocks are cut into parts. Each core computes all rows of some parts; if there are fewer parts than
    cores, it computes some rows of one part. For each part a core reads the weights once, and once more for each
    further part of its rows. It reads the image once, and once more for each further part. The rows that it computed
    itself in the layer before are most likely still in its own cache; the rows of other cores are not.
    """
    g, cores, parts = c.geometry, target.cores, c.geometry.groups * c.sections
    mine, share = max(1.0, parts / cores), min(1.0, parts / cores)
    weights = c.weight_bytes / parts
    image = c.image_bytes / g.groups
    once = mine * weights / target.memory_bytes_per_cycle
    again = mine * max(0.0, c.row_units * share - 1) * weights / cache_bandwidth(round(weights), target)
    foreign = 1.0 if share == 1 else share * min(1.0, image * share / target.l2_bytes)
    again += foreign * image / target.l3_bytes_per_cycle
    again += (mine - 1) * share * image / cache_bandwidth(round(image), target)
    waiting = EXPOSED * cores * again + max(0.0, cores * (once + again) - work)
    if c.prefetch:
        waiting += UNFETCHED * cores * once / (mine * sum(count for *_, count in c.section_runs))
    return waiting


def pad_config(geometry: ConvGeometry, config: ConvConfig) -> PadConfig:
    """The copy that a convolution on a padded image reads."""
    framed = config.geometry
    origin = (geometry.origin[0] - framed.origin[0], geometry.origin[1] - framed.origin[1])
    words = ELEMENTS[geometry.element].bytes(geometry.in_block) // FLOAT32.itemsize
    return PadConfig(config.in_blocks, words, geometry.in_size, framed.in_size, origin)
