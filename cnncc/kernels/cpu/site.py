"""A node to be computed on a processor, and what chooses its kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cnncc.base.elements import BFLOAT16, ELEMENTS, FLOAT32
from cnncc.kernels.cpu.micro import rounds_of
from cnncc.kernels.shared.spec import Selection, Site
from cnncc.machines.targets import Target


@dataclass(frozen=True, eq=False)
class CpuSite(Site[Target]):
    """A node to be computed, with what a rule may look at."""

    copies: tuple[int, ...] = ()
    """For a concat: which arms are not written in place and must be copied."""
    budget: float = math.inf
    """Bytes for an image that workspace and the scratch of all cores should keep to; see `cnncc.kernels.cpu.budget`."""
    like: Selection | None = None
    """How the node is computed for another size of the inputs in the same module: kernels that read its packed weights
    are preferred, so that these are stored once."""
    weights_stay: bool = False
    """The weights of the whole network fit into the last cache, and are still there when it runs again."""
    usual: CpuSite | None = None
    """In a module for a range of sizes, where dimensions are expressions: the same node at the size in the middle, for
    which kernels are chosen."""
    tried: tuple[CpuSite, ...] = ()
    """The same at further sizes, at which choices are compared."""

    @property
    def weights_per_cycle(self) -> float:
        """Bytes of weights that a core reads in a cycle."""
        return self.target.l3_bytes_per_cycle if self.weights_stay else self.target.memory_bytes_per_cycle

    @property
    def rounds(self) -> str:
        """What a kernel that reads or gives bfloat16 rounds with: the instruction of the target's unit for it; empty
        where that is no bfloat16, or the target has none."""
        kinds = {self.element, *(self.graph[name].type.element for name in self.node.inputs)}
        return rounds_of(self.target) if BFLOAT16 in kinds else ""


FLOATS = frozenset((FLOAT32, BFLOAT16))
"""The element types of what kernels compute in float32."""
MOVED = frozenset(ELEMENTS.values())
"""The element types of what kernels only move."""
CpuRule = Callable[[CpuSite], Selection | None]
"""Chooses the kernels of a node, or leaves it to the next rule of its op."""
