"""The micro-kernel of a vector unit: the innermost step of convolutions, fc and matrix products.

Some values, each copied to all lanes, are multiplied with some blocks of weights and added to sums that stay in
registers. Nothing here needs TVM; `cnncc.kernels.cpu.lower.micro` has its code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import ELEMENTS, Element
from cnncc.machines.targets import Target
from cnncc.machines.units import DotUnit, VectorUnit

LOADS = 2.0
"""Vectors that a core loads in a cycle."""
WIDENING = 0.5
"""What making a vector of weights longer takes, in multiplications."""
STEP = 0.5
"""Cycles of a row of taps besides its arithmetic."""
FEW_REGISTERS, SPARE = 16, 4


def usable_registers(unit: VectorUnit) -> int:
    """Registers that a tile of several taps may fill: all of a few; of more, some are left. LLVM spilled some of 28
    sums (AVX-512), none of 24."""
    return min(unit.registers, max(FEW_REGISTERS, unit.registers - SPARE))


@dataclass(frozen=True)
class Micro:
    """The micro-kernel on blocks of so many outputs."""

    unit: VectorUnit
    block: int
    weights: str = ""
    """What weights are stored as, a key of `ELEMENTS`; empty for what the unit multiplies. Halves become float32 as
    they are read."""

    @property
    def stored(self) -> Element:
        """What weights are stored as."""
        return ELEMENTS[self.weights or self.unit.element]

    @property
    def lanes(self) -> int:
        """Outputs in a register."""
        return min(self.unit.lanes, self.block)

    @property
    def vectors(self) -> int:
        """Registers that hold a block."""
        return self.block // self.lanes

    @property
    def in_flight(self) -> int:
        """Registers of sums that keep the unit busy: each instruction waits for the last one on the same sums."""
        return self.unit.ports * self.unit.latency

    @property
    def widening(self) -> float:
        """What making a vector of weights longer takes, in multiplications."""
        made = isinstance(self.unit, DotUnit) and self.unit.widens
        return WIDENING if made or self.stored.name != self.unit.element else 0.0

    def sums(self, values: int, blocks: int) -> int:
        """Registers that hold the sums of so many values times so many blocks of weights."""
        return values * blocks * self.vectors

    def registers(self, values: int, blocks: int, held: int = 1) -> int:
        """Registers of all that a step needs: sums, the weights of the step, and the values that are `held` at once."""
        return self.sums(values, blocks) + blocks * self.vectors + held

    def fits(self, values: int, blocks: int, held: int = 1) -> bool:
        """Whether all of that stays in registers."""
        return self.registers(values, blocks, held) <= self.unit.registers

    def cycles(self, values: int, blocks: int, bandwidth: float, uses: int = 1, sharpness: float = math.inf) -> float:
        """Cycles of one step: the most of instructions, loads, bytes from a cache of that bandwidth, and latency.

        A value is fetched from that cache once for `uses` steps. Where several of the four are close, each delays the
        others now and then: with a finite `sharpness` their norm of that order is taken for the most.
        """
        vectors = blocks * self.vectors
        multiply = (values + self.widening) * vectors / self.unit.ports
        load = (values + vectors) / 2
        read = self.stored.itemsize * self.unit.depth * self.block * blocks
        stream = (read + self.unit.step_bytes * values / uses) / bandwidth
        # Even if they are not the limit, loads and the loop take issue places for which multiply-adds then wait.
        parts = (multiply, load, stream, float(self.unit.latency))
        most = max(parts)
        if sharpness < math.inf:
            most *= sum((part / most) ** sharpness for part in parts) ** (1 / sharpness)
        return most + 0.1 * load + 0.5

    def pack(self, rows: np.ndarray, blocks: int) -> np.ndarray:
        """Weights in the order in which the steps read them: (outputs, products) to [step][output][depth].

        Zeros fill up the outputs to so many blocks, and the products to whole steps. The type stays.
        """
        outputs, products = rows.shape
        steps, depth = -(-products // self.unit.depth), self.unit.depth
        packed = np.zeros((steps, blocks * self.block, depth), rows.dtype)
        whole = products // depth * depth
        packed[: whole // depth, :outputs] = rows[:, :whole].reshape(outputs, whole // depth, depth).transpose(1, 0, 2)
        if whole < products:
            packed[-1, :outputs, : products - whole] = rows[:, whole:]
        return packed


def micro_of(target: Target, weights: str = "float32") -> Micro:
    """The micro-kernel for float32 on a target, its weights stored as one of the floating-point types."""
    return Micro(target.floats, target.block, "" if weights == target.floats.element else weights)


def pair_micro_of(target: Target) -> Micro:
    """The micro-kernel for bfloat16 on a target that has a unit for it."""
    assert target.pairs is not None, target.name
    return Micro(target.pairs, target.block)


def rounds_of(target: Target) -> str:
    """The instruction of the target's unit for bfloat16, with which comes one that rounds; empty for none."""
    return "" if target.pairs is None else target.pairs.instruction


def byte_micro_of(target: Target) -> Micro:
    """The micro-kernel for int8 on a target that has a unit for it."""
    assert target.dots is not None, target.name
    return Micro(target.dots, target.block)
