"""Kernels that do one thing as fast as the machine can: multiply-adds in registers, and reading memory end to end.

No network has them; `cnncc.report.profile` measures with them what the machine can do at best.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.kernels.cpu.micro import Micro, usable_registers
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines.targets import Target
from cnncc.machines.units import VectorUnit


@dataclass(frozen=True)
class FmaConfig:
    """Each unit makes `steps` multiply-adds in each of `chains` vectors of `lanes` sums. Reads two vectors, the factor
    and the summand; writes a vector for each unit."""

    lanes: int
    chains: int
    """Independent sums: enough to hide the latency of a multiply-add, few enough to stay in registers."""
    units: int = 64
    steps: int = 1 << 15

    @property
    def flops(self) -> int:
        """Operations of a unit: a multiply-add is two."""
        return 2 * self.steps * self.chains * self.lanes


@dataclass(frozen=True)
class DotLimitConfig:
    """Each unit makes `steps` steps of a micro-kernel of dot products: `values` words times `vectors` vectors of
    weights, as many as stay in the first cache. Reads words and weights; writes a vector for each unit."""

    micro: Micro
    values: int
    vectors: int
    units: int = 64
    steps: int = 1 << 13
    period: int = 16
    """Steps after which the same words and weights are read again."""

    @property
    def flops(self) -> int:
        """Operations of a unit: a multiply-add is two."""
        return 2 * self.steps * self.values * self.vectors * self.micro.lanes * self.micro.unit.depth

    @property
    def words(self) -> int:
        return self.period * self.values

    @property
    def weight_numbers(self) -> int:
        return self.period * self.vectors * self.micro.lanes * self.micro.unit.depth


@dataclass(frozen=True)
class ReadConfig:
    """Each unit adds up `floats` floats of memory, its own, and writes a vector of `lanes`."""

    lanes: int
    floats: int = 4096


def fma_kernel(target: Target) -> Kernel:
    """Multiply-adds in registers, for the target's vectors."""
    unit = target.floats
    chains = min(unit.registers - 4, 2 * unit.ports * unit.latency)
    config = FmaConfig(target.lanes, chains)
    return Kernel("limit_fma", f"limit_fma_{target.isa}", config, config.units, 0)


def dot_kernel(target: Target, unit: VectorUnit) -> Kernel:
    """Dot products with operands from the first cache, in as many sums as the unit's registers hold."""
    vectors = 2
    values = (usable_registers(unit) - vectors - 1) // vectors
    config = DotLimitConfig(Micro(unit, unit.lanes), min(values, unit.ports * unit.latency), vectors)
    return Kernel("limit_dot", f"limit_dot_{unit.element}_{target.isa}", config, config.units, 0)


def read_kernel(target: Target, units: int) -> Kernel:
    """Reads memory, `ReadConfig.floats` of it in each of so many units."""
    return Kernel("limit_read", f"limit_read_{target.isa}", ReadConfig(target.lanes), units, 0)
