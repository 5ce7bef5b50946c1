"""Why a convolution is slower than its limit: what its kernel does besides multiplying, in seconds.

The limit of a layer is its multiplications at the machine's peak (Winograd: its own), or its bytes at memory's speed.
The parts below come from the kernel's configuration and the target's data; measured are times, peak and bandwidth.
Parts may overlap in time (reading weights hides behind multiplications), so they may add up to more than the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cnncc.kernels.cpu.conv_choice import COPY_BYTES
from cnncc.kernels.cpu.conv_direct import ConvConfig
from cnncc.kernels.cpu.tiles import Problem, Tile, even_tiles, step_cycles, total_cycles
from cnncc.kernels.cpu.winograd import WinogradConfig
from cnncc.kernels.cpu.winograd_choice import input_cycles, output_cycles

if TYPE_CHECKING:
    from cnncc.kernels.shared.spec import Call
    from cnncc.module.cpu.program import CpuProgram
    from cnncc.report.profile.machine_limits import MachineLimits
    from cnncc.report.profile.measure import Step

MEGAFLOPS = 50
"""Operations as written, in millions and for each image, above which a convolution should be near its limit."""

NEAR = 0.8
"""Share of its limit at which it is."""

WORTH_SAYING = 0.03
"""Part of a layer's time below which a cause is not listed."""


@dataclass(frozen=True)
class Cause:
    """Something that takes time besides the limit; `seconds` if nothing else hid it."""

    text: str
    seconds: float


@dataclass(frozen=True)
class Gap:
    """A convolution below `NEAR` of its limit; seconds of all its calls, of the whole batch."""

    node: str
    algorithm: str
    megaflops: float
    """As written, for each image."""
    seconds: float
    limit: float
    causes: tuple[Cause, ...]
    """The largest first."""
    unexplained: float
    """Seconds beyond the limit that no cause accounts for."""

    @property
    def of_limit(self) -> float:
        return self.limit / self.seconds

    @property
    def reason(self) -> str:
        """The causes in words."""
        said = [f"{cause.text}: {cause.seconds * 1e3:.3f} ms" for cause in self.causes]
        if self.unexplained > WORTH_SAYING * self.seconds:
            said.append(f"not explained: {self.unexplained * 1e3:.3f} ms")
        return "; ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "of_limit": self.of_limit}


@dataclass(frozen=True)
class Large:
    """The convolutions above `MEGAFLOPS`: how many there are, and those below `NEAR` of their limit."""

    count: int
    gaps: tuple[Gap, ...]


NO_LARGE = Large(0, ())


def large_convolutions(program: CpuProgram, steps: Sequence[Step], limits: MachineLimits) -> Large:
    """Looks through the measured steps of a program, one for each of its calls."""
    count, gaps = 0, []
    pairs = zip(program.calls, steps, strict=True)
    for node, group in groupby(pairs, key=lambda pair: pair[0].node):
        calls, own = zip(*group, strict=True)
        image = sum(step.direct_flops for step in own) / program.graph[node].type.shape[0]
        if program.graph[node].op != "conv" or image <= MEGAFLOPS * 1e6:
            continue
        count += 1
        seconds, limit = sum(s.seconds for s in own), _limit(own, limits)
        if limit < NEAR * seconds:
            gaps.append(_gap(_Layer(program, calls, own, limits), image / 1e6, seconds, limit))
    return Large(count, tuple(sorted(gaps, key=lambda gap: gap.limit - gap.seconds)))


def _limit(steps: Sequence[Step], limits: MachineLimits) -> float:
    """Of a layer: a transform as a step of its own is a cost and no limit, and moves what never leaves the caches."""
    return max(sum(s.flops for s in steps) / limits.flops, sum(s.limit for s in steps if s.flops))


@dataclass(frozen=True)
class _Layer:
    program: CpuProgram
    calls: tuple[Call, ...]
    steps: tuple[Step, ...]
    limits: MachineLimits

    def of_cycles(self, cycles: float) -> float:
        """Seconds of so many cycles for each image, shared out among the threads. The clock follows from the peak."""
        target = self.program.target
        per_cycle = 2 * target.lanes * target.fma_ports
        return cycles * per_cycle / self.limits.flops * self.program.images(self.calls[-1])

    @property
    def weight_bytes(self) -> int:
        return sum(p.nbytes for p in self.program.selections[self.calls[-1].node].weights)


def _gap(layer: _Layer, megaflops: float, seconds: float, limit: float) -> Gap:
    config = layer.calls[-1].kernel.config
    causes = [*_shared_causes(layer, seconds)]
    if isinstance(config, ConvConfig):
        causes += _direct_causes(layer, config)
    elif isinstance(config, WinogradConfig):
        causes += _winograd_causes(layer, config)
    said = sorted((c for c in causes if c.seconds > WORTH_SAYING * seconds), key=lambda c: -c.seconds)
    unexplained = max(0.0, seconds - limit - sum(c.seconds for c in said))
    return Gap(layer.calls[-1].node, layer.steps[-1].algorithm, megaflops, seconds, limit, tuple(said), unexplained)


def _shared_causes(layer: _Layer, seconds: float) -> list[Cause]:
    """What any kernel may suffer from: weights that come from memory, and units that do not share out evenly."""
    threads, units = layer.program.threads, layer.calls[-1].kernel.units
    uneven = -(-units // threads) * threads / units - 1
    return [
        _weights(layer),
        Cause(f"{units} units on {threads} threads", seconds * uneven / (1 + uneven)),
    ]


def _weights(layer: _Layer) -> Cause:
    """Weights read once for each image: from memory, unless those of the whole network stay in the last cache."""
    size, target = layer.weight_bytes, layer.program.target
    if layer.program.weights_stay:
        seconds = layer.of_cycles(size / target.l3_bytes_per_cycle)
        return Cause(f"{size / 1e6:.1f} MB of weights from the last cache", seconds)
    return Cause(f"{size / 1e6:.1f} MB of weights from memory", size / layer.limits.bytes)


def _direct_causes(layer: _Layer, c: ConvConfig) -> list[Cause]:
    target, tile = layer.program.target, c.tile
    pixels, blocks_out = c.grid[0] * c.grid[1], c.out_blocks
    vectors = pixels * blocks_out * target.vectors
    multiply = vectors * c.reduction / target.fma_ports
    problem = Problem(*c.grid, c.group_out_blocks, c.reduction, c.taps)
    tiles = c.reduction * c.groups * total_cycles(tile, problem, target)[0]
    lanes = layer.of_cycles(multiply) - sum(s.flops for s in layer.steps) / layer.limits.flops
    gathered = layer.of_cycles(c.row_units * c.groups * c.chunks * c.scratch_floats * 4 / COPY_BYTES)
    if c.padded:
        gathered = sum(step.seconds for step in layer.steps[:-1])
    return [
        Cause("channels that do not fill their blocks", lanes),
        Cause(f"tiles of {tile.pixels} pixels x {tile.groups} blocks", layer.of_cycles(tiles - multiply)),
        Cause(f"results of {c.reduction} products each", layer.of_cycles(vectors * (_STORED + len(c.epilogue)))),
        Cause("rows copied between their padding", gathered),
        _moved(layer),
    ]


_STORED = 1.0
"""Cycles of a vector of results besides its epilogue: the bias, the store."""


def _moved(layer: _Layer) -> Cause:
    """Values that the second caches of all threads do not hold come from the last one."""
    target = layer.program.target
    values = layer.steps[-1].bytes / layer.program.images(layer.calls[-1]) - layer.weight_bytes
    if values <= target.l2_bytes:
        return Cause("values from the last cache", 0.0)
    seconds = layer.of_cycles(values / target.l3_bytes_per_cycle)
    return Cause(f"{values / 1e6:.1f} MB of values from the last cache", seconds)


def _winograd_causes(layer: _Layer, c: WinogradConfig) -> list[Cause]:
    target = layer.program.target
    depth = c.points * c.in_blocks * c.block
    groups = c.out_blocks // c.tile.groups
    step = sum(
        count * step_cycles(Tile(1, size, c.tile.groups), target, 4 * c.in_blocks * c.block * c.tile.groups * c.block)
        for _, size, count in even_tiles(c.tiles, c.tile.columns)
    )
    vectors = c.total * c.out_blocks * target.vectors
    multiply = vectors * depth / target.fma_ports
    spare = layer.of_cycles(multiply * (c.tile_units * c.tiles / c.total - 1))
    products = layer.of_cycles(c.tile_units * groups * depth * step) - layer.of_cycles(multiply) - spare
    return [
        *_transforms(layer, c),
        Cause(f"{c.tile_units * c.tiles - c.total} tiles that fill up the last unit", spare),
        Cause(f"register tiles of {c.tile.columns} x {c.tile.groups} blocks", products),
    ]


def _transforms(layer: _Layer, c: WinogradConfig) -> list[Cause]:
    """Of the input: measured where it is a call of its own; the others as the choice predicts them."""
    target = layer.program.target
    tiles = c.tile_units * c.tiles
    vectors_in, vectors_out = tiles * c.in_blocks * target.vectors, tiles * c.out_blocks * target.vectors
    output = layer.of_cycles(vectors_out * output_cycles(c.m, c.edge))
    if c.shared:
        data = sum(step.seconds for step in layer.steps[:-1])
    else:
        data = layer.of_cycles(vectors_in * c.chunks * input_cycles(c.edge))
    return [
        Cause(f"transforming the input{' (a step of its own)' if c.shared else ''}", data),
        Cause("transforming the output", output),
    ]
