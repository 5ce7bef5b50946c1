"""What kernels on bytes read besides values and weights: biases, scales, zero points and bounds, as their operands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from cnncc.kernels.cpu.micro import Micro
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
    """What the sums begin with, int32: the bias in steps, less what the zero point adds to every sum. `weight` is
    (o, ...), with the zeros that fill its groups up."""
    sums = weight.astype(np.int64).reshape(len(weight), -1).sum(1)
    folded = bias.astype(np.int64) - (zero + config.shift) * sums
    return pad_channels(folded.astype(np.int32), config.out_blocks * config.block)


@dataclass(frozen=True)
class Steps:
    """What a kernel has to know of the quantisation of its values besides the scales of channels. Bounds of a float32
    result are floats, those of bytes integers."""

    zero_in: int
    low: float
    high: float
    zero_out: int = 0
    zero_residual: int = 0
    scale_residual: float = 0.0


FILL, ZERO, LOW, HIGH, ZERO_RESIDUAL, SCALE_RESIDUAL, ZERO_IN = range(7)
"""Where a kernel finds it."""
STEPS = 8
"""Numbers of that operand."""


def kernel_steps(steps: Steps, config: OnBytes) -> np.ndarray:
    """The operand of a kernel, int32; the scale of the residual, and bounds that are floats, as their bits."""
    fill = {4: "u1", 2: "<i2", 1: "<i4"}[config.unit.depth]
    value = np.array([steps.zero_in + config.shift]).astype(fill)
    found = np.zeros(STEPS, np.int32)
    found[FILL] = np.repeat(value, 4 // value.itemsize).view(np.int32)[0]
    found[ZERO], found[ZERO_RESIDUAL] = steps.zero_out, steps.zero_residual
    found[ZERO_IN] = steps.zero_in
    bounds = np.array([steps.low, steps.high], np.float32)
    found[LOW : HIGH + 1] = bounds.view(np.int32) if config.types.result == "float32" else bounds.astype(np.int32)
    found[SCALE_RESIDUAL] = np.float32(steps.scale_residual).view(np.int32)
    return found
