"""Depthwise convolution on bytes: each lane is a channel of its own, and a dot product adds up taps of a row.

A unit puts the pixels of its rows together to words once: a word of a channel has as many neighbours as an instruction
multiplies. So a row of 3 taps is one step with VNNI, two with 16 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from cnncc.base.dim import typical
from cnncc.base.elements import ELEMENTS, INT32
from cnncc.kernels.cpu.byte_operands import ByteTypes, OnBytes
from cnncc.kernels.cpu.micro import Micro, byte_micro_of
from cnncc.kernels.shared.convolution import ConvGeometry
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines.targets import Target

LEAST_UNITS = 4
"""Units for each core, so that the last ones do not keep the others waiting."""
LEAST_ROWS = 4
"""Of a unit: rows of words that lie under two units are made twice."""


@dataclass(frozen=True)
class ByteDepthwiseConfig(OnBytes):
    """One depthwise convolution of one image."""

    geometry: ConvGeometry
    """Its channels are those of whole blocks."""
    types: ByteTypes
    rows: int
    """Output rows of one unit."""
    micro: Micro

    @property
    def out_blocks(self) -> int:
        return self.geometry.out_channels // self.block

    @property
    def row_units(self) -> int:
        return -(-self.geometry.grid[0] // self.rows)

    @property
    def columns(self) -> int:
        """Output pixels of a tile: their sums, one row of weights, and a word lie in registers."""
        room = (self.unit.registers - 2) // self.micro.vectors - 1
        return max(1, min(8, room // 4 * 4 or room, typical(self.geometry.grid[1])))

    @property
    def steps(self) -> int:
        """Of a row of taps."""
        return -(-self.geometry.kernel[1] // self.unit.depth)

    @property
    def weight_bytes(self) -> int:
        return self.geometry.out_channels * self.geometry.kernel[0] * self.steps * self.unit.depth

    @property
    def reach(self) -> int:
        """Columns from one step to the next."""
        return self.unit.depth * self.geometry.dilation[1]

    @property
    def grain(self) -> int:
        """Columns from one word to the next: between them no step begins."""
        return math.gcd(self.geometry.stride[1], self.reach) if self.steps > 1 else self.geometry.stride[1]

    @property
    def row_words(self) -> int:
        """Words of a row, for each channel."""
        return ((self.geometry.grid[1] - 1) * self.geometry.stride[1] + (self.steps - 1) * self.reach) // self.grain + 1

    @property
    def ring_rows(self) -> int:
        """Input rows of an output row. Their words lie in a ring, so that they stay in the first cache: those of the
        next output row take the place of those that are done with."""
        return (self.geometry.kernel[0] - 1) * self.geometry.dilation[0] + 1

    @property
    def new_rows(self) -> int:
        """Of these, the ones that the output row before did not have."""
        return min(self.geometry.stride[0], self.ring_rows)

    @property
    def scratch_bytes(self) -> int:
        """The words."""
        return INT32.bytes(self.ring_rows * self.row_words * self.block)


def depthwise_bytes(geometry: ConvGeometry, types: ByteTypes, target: Target) -> ByteDepthwiseConfig:
    """The convolution cut into units: blocks of channels, and of these parts of the rows while there are too few units,
    or while the words of one do not fit into half of the second cache."""
    whole = replace(geometry, bias=True, epilogue=()).in_whole_blocks(target.block)
    config = ByteDepthwiseConfig(whole, types, geometry.grid[0], byte_micro_of(target))
    return replace(config, rows=_rows(typical(config), target))


def _rows(config: ByteDepthwiseConfig, target: Target) -> int:
    """Output rows of a unit."""
    height = config.geometry.grid[0]
    for parts in range(1, height + 1):
        config = replace(config, rows=-(-height // parts))
        many = config.out_blocks * config.row_units >= LEAST_UNITS * target.cores or config.rows <= LEAST_ROWS
        if many and config.scratch_bytes <= target.l2_bytes // 2:
            break
    return config.rows


def depthwise_byte_kernel(config: ByteDepthwiseConfig, target: Target) -> Kernel:
    """The kernel of a configuration."""
    kinds = "_".join(ELEMENTS[kind].short for kind in (config.types.source, config.types.result))
    size = "x".join(map(str, config.geometry.kernel))
    name = f"depthwise_{kinds}_nchw{config.block}c_{size}_{config.columns}px_{target.isa}"
    return Kernel("depthwise_bytes", name, config, config.out_blocks * config.row_units, config.scratch_bytes)


def pack_depthwise(weight: np.ndarray, config: ByteDepthwiseConfig) -> np.ndarray:
    """(c, 1, kh, kw) to [block][kh][step][channel of block][tap of step], flat, with zeros for what is missing."""
    (kh, kw), depth = config.geometry.kernel, config.unit.depth
    full = np.zeros((config.out_blocks * config.block, kh, config.steps * depth), weight.dtype)
    full[: len(weight), :, :kw] = weight[:, 0]
    split = full.reshape(config.out_blocks, config.block, kh, config.steps, depth)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 1, 4)).ravel()
