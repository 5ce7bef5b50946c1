"""Direct convolution on bytes: 8-bit values times int8 weights, summed in int32, then made bytes (or float32).

It is the direct convolution of `conv_direct`, whose steps multiply as many channels at once as a dot product of the
target does. What a layer computes is that of `cnncc.ops.byte_arithmetic`, byte by byte. Scales, zero points and
bounds are operands, so that layers of one shape share a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnncc.base.elements import ELEMENTS, FLOAT32
from cnncc.kernels.cpu.byte_operands import ByteTypes, OnBytes
from cnncc.kernels.cpu.conv_choice import DirectChoice, predicted, ranked_partitions
from cnncc.kernels.cpu.conv_direct import ConvConfig
from cnncc.kernels.cpu.micro import byte_micro_of
from cnncc.kernels.cpu.tiles import Problem, Tile
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry
from cnncc.kernels.shared.spec import Kernel, blocks
from cnncc.machines.targets import Target

PLANAR_BLOCK = 4
"""Channels that are put together where an image has each in a plane of its own."""


@dataclass(frozen=True)
class ByteConvConfig(ConvConfig, OnBytes):
    """One convolution of one image on bytes."""

    types: ByteTypes
    channels: int
    """Of the image, where each is a plane of its own; 0 where they lie in blocks."""
    outputs: int
    """Of a vector, which does not have the channels that fill up the last block; 0 for an image, which has them."""

    @property
    def gathers(self) -> bool:
        """Whether the values lie in the image otherwise than a step reads them, or not at all."""
        return self.unit.depth < 4 or self.shift != 0 or self.channels > 0 or self._reaches_out


def byte_problem(g: ConvGeometry, target: Target) -> Problem:
    """What a tile is chosen for: the work of one group, in steps."""
    taps, block = g.kernel[0] * g.kernel[1], in_block_of(g)
    steps = blocks(g.in_channels, block) // g.groups * block * taps // byte_micro_of(target).unit.depth
    out_blocks = blocks(g.out_channels, target.block) // g.groups
    return Problem(g.grid[0], g.grid[1], out_blocks, max(1, steps), max(1, taps), bytes=True)


def in_block_of(g: ConvGeometry) -> int:
    """Channels that lie together where the kernel reads them."""
    return PLANAR_BLOCK if g.in_block == 1 else g.in_block


def byte_candidates(
    geometry: ConvGeometry, types: ByteTypes, target: Target, name: str, wide: bool = False
) -> list[Candidate[DirectChoice]]:
    """Every partition, that of least predicted cost first; see `direct_candidates`."""

    def wholes(tile: Tile) -> list[ConvConfig]:
        return [_one_unit(geometry, types, tile, target)]

    return ranked_partitions(byte_problem(geometry, target), wholes, target, name, wide)


def byte_cost(geometry: ConvGeometry, types: ByteTypes, target: Target, choice: DirectChoice) -> float:
    """Predicted cycles of a choice, which may have been made for an image of another size."""
    return predicted(configure_bytes(geometry, types, target, choice), byte_problem(geometry, target), target)


def configure_bytes(geometry: ConvGeometry, types: ByteTypes, target: Target, choice: DirectChoice) -> ByteConvConfig:
    """The convolution cut as chosen."""
    return replace(_one_unit(geometry, types, choice.tile, target), rows=choice.rows, sections=choice.sections)


def _one_unit(g: ConvGeometry, types: ByteTypes, tile: Tile, target: Target) -> ByteConvConfig:
    planar = g.in_channels if g.in_block == 1 else 0
    whole = replace(g, in_block=in_block_of(g), bias=True, epilogue=()).in_whole_blocks(target.block)
    micro = byte_micro_of(target)
    config = ByteConvConfig(
        whole, tile, g.grid[0], False, 1, micro, padded=False, types=types, channels=planar, outputs=0
    )
    return replace(config, prefetch=config.weight_bytes > target.l1_bytes)


def byte_kernel(config: ByteConvConfig, target: Target) -> Kernel:
    """The kernel of a configuration."""
    types, tile = config.types, config.tile
    stem = "gemm" if config.geometry.kernel == (1, 1) else "conv"
    stem = "dense" if config.outputs else stem
    kinds = "_".join(ELEMENTS[kind].short for kind in (types.source, types.result))
    name = f"{stem}_{kinds}_nchw{config.block}c_{tile.pixels}x{tile.blocks * config.block}_{target.isa}"
    units = config.row_units * config.geometry.groups * config.sections
    return Kernel("conv_bytes", name, config, units, FLOAT32.bytes(config.scratch_words))


def dense_geometry(inputs: int, outputs: int, block: int) -> ConvGeometry:
    """A fully connected layer as a convolution of one pixel, whose channels lie as those of a vector do. A number of
    inputs that words do not divide makes planes of one pixel."""
    in_block = next((size for size in (block, 8, 4) if inputs % size == 0), 1)
    one = (1, 1)
    return ConvGeometry(inputs, outputs, in_block, one, one, one, one, one, one, (0, 0), 1, True, ())


def configure_dense(geometry: ConvGeometry, types: ByteTypes, target: Target, choice: DirectChoice) -> ByteConvConfig:
    """A fully connected layer cut as chosen among `byte_candidates`."""
    return replace(configure_bytes(geometry, types, target, choice), outputs=geometry.out_channels)
