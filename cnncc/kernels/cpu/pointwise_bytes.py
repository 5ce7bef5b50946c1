"""Kernels on bytes without weights: sums of two tensors, averages over an image, and functions of one number as tables.

They work on whole blocks of channels, so on any blocked image.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.base.dim import Dim, typical
from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.byte_operands import ByteTypes, OnBytes
from cnncc.kernels.cpu.micro import Micro, byte_micro_of
from cnncc.kernels.shared.spec import Kernel, blocks
from cnncc.machines.targets import Target

UNIT_BLOCKS = 512
"""Blocks of channels of one pixel that a unit of a sum computes, at most."""
UNIT_BYTES = 8192
"""Bytes that a unit of a table computes, at most."""


@dataclass(frozen=True)
class BlockConfig(OnBytes):
    """`count` times a sum over `each` blocks of channels of one pixel: 1 for a sum of two tensors, all pixels of a
    plane for an average."""

    types: ByteTypes
    micro: Micro
    count: int
    each: int
    part: int
    """How many of the `count` a unit computes."""

    @property
    def averages(self) -> bool:
        """Whether the kernel divides by how many pixels there are: only then it is known. Its scale has two vectors,
        the steps of a value and those of a result."""
        return isinstance(self.each, Dim)

    @property
    def out_blocks(self) -> int:
        """Of the scale: one for all channels."""
        return 1

    @property
    def weight_bytes(self) -> int:
        return 0


def add_kernel(types: ByteTypes, numbers: int, target: Target) -> Kernel:
    """The sum of two tensors of so many numbers, whole blocks: `types.source` and `types.residual`. Its operands are
    the first tensor, a vector of its scale, `kernel_steps`, the second tensor."""
    micro = byte_micro_of(target)
    count = numbers // micro.block
    config = BlockConfig(types, micro, count, 1, min(typical(count), UNIT_BLOCKS))
    return Kernel("block_bytes", _name("add", types, target), config, blocks(count, config.part), 0)


def mean_kernel(types: ByteTypes, channel_blocks: int, pixels: int, target: Target) -> Kernel:
    """The average of each channel. Its operands are the image, a vector of `mean_factor`, and `kernel_steps`."""
    config = BlockConfig(types, byte_micro_of(target), channel_blocks, pixels, 1)
    return Kernel("block_bytes", _name("gap", types, target), config, channel_blocks, 0)


@dataclass(frozen=True)
class FactorConfig:
    """An image times a factor for each channel; `part` of the pixels of a block of channels per unit."""

    types: ByteTypes
    channel_blocks: int
    pixels: int
    part: int
    block: int
    lanes: int

    @property
    def parts(self) -> int:
        """Units of a block of channels."""
        return blocks(self.pixels, self.part)


FACTOR_STEPS = ("ratio", "zero", "zero_out", "least", "most")
"""What the kernel reads of scales and zero points, float32; the last two are bounds before the zero is added."""


def factor_kernel(types: ByteTypes, channel_blocks: int, pixels: int, target: Target) -> Kernel:
    """Its operands are the image, the factors as an image of one pixel, and the FACTOR_STEPS."""
    part = min(typical(pixels), max(1, UNIT_BYTES // target.block))
    config = FactorConfig(types, channel_blocks, pixels, part, target.block, target.lanes)
    return Kernel("factor_bytes", _name("factor", types, target), config, channel_blocks * config.parts, 0)


@dataclass(frozen=True)
class TableConfig:
    """`count` bytes, each replaced by its entry of a table; `part` of them per unit."""

    types: ByteTypes
    count: int
    part: int


def table_kernel(types: ByteTypes, count: int, target: Target) -> Kernel:
    """A function of one number. Its operands are the tensor and the 256 bytes of its table."""
    config = TableConfig(types, count, min(typical(count), UNIT_BYTES))
    return Kernel("table_bytes", _name("table", types, target), config, blocks(count, config.part), 0)


def _name(what: str, types: ByteTypes, target: Target) -> str:
    kinds = [ELEMENTS[kind].short for kind in (types.source, types.residual, types.result) if kind]
    return "_".join([what, *kinds, target.isa])
