"""What kernels on bytes read besides values and weights, as the units of a processor take it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from cnncc.kernels.cpu.micro import Micro
from cnncc.kernels.shared.byte_steps import Steps, folded_bias, stored_steps
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.machines.units import DotUnit

SHIFTS = {("vpdpbusd", "int8"): 128, ("sdot", "uint8"): -128}
"""What is added to values that an instruction takes with the other sign only."""


@dataclass(frozen=True)
class ByteTypes:
    """The element types of a convolution."""

    source: str
    result: str
    residual: str = ""
    """Of what is added before the result is rounded; empty for nothing."""


class OnBytes(ABC):
    """What the configurations of kernels on bytes share."""

    types: ByteTypes
    micro: Micro

    @property
    def unit(self) -> DotUnit:
        assert isinstance(self.micro.unit, DotUnit)
        return self.micro.unit

    @property
    def shift(self) -> int:
        """Added to each value before it is multiplied."""
        return shift_of(self.unit, self.types.source)

    @property
    def block(self) -> int:
        return self.micro.block

    @property
    def lanes(self) -> int:
        return self.micro.lanes

    @property
    @abstractmethod
    def out_blocks(self) -> int:
        """Blocks of channels of the bias and of the scales."""

    @property
    @abstractmethod
    def weight_bytes(self) -> int: ...


def shift_of(unit: DotUnit, source: str) -> int:
    """What a unit's kernels add to values of a type before they multiply them."""
    return SHIFTS.get((unit.instruction, source), 0)


def kernel_bias(weight: np.ndarray, bias: np.ndarray, zero: int, config: OnBytes) -> np.ndarray:
    """What the sums of a kernel begin with: see `folded_bias`."""
    return pad_channels(folded_bias(weight, bias, zero + config.shift), config.out_blocks * config.block)


def kernel_steps(steps: Steps, config: OnBytes) -> np.ndarray:
    """The operand of a kernel, whose unit reads bytes as words of so many numbers."""
    fill = {4: "u1", 2: "<i2", 1: "<i4"}[config.unit.depth]
    value = np.array([steps.zero_in + config.shift]).astype(fill)
    word = int(np.repeat(value, 4 // value.itemsize).view(np.int32)[0])
    return stored_steps(steps, word, config.types.result == "float32")
