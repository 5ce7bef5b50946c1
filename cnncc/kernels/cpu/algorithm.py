"""What an algorithm for processors can say besides: tuning, `bench --kernels` and profile ask for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cnncc.ir import Graph, Node
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.algorithm import Algorithm, Candidate, Made
from cnncc.kernels.shared.spec import Call
from cnncc.machines.targets import Target


@dataclass(frozen=True)
class Cause:
    """Something that takes time besides the limit; `seconds` if nothing else hid it."""

    text: str
    seconds: float


@dataclass(frozen=True)
class Measured:
    """A layer that has run: what its algorithm needs in order to say where the time went."""

    target: Target
    cycle: float
    """Seconds of one cycle for each image, shared out among the threads."""
    seconds: tuple[float, ...]
    """Of each call, of the whole batch."""
    at_peak: float
    """Seconds of its multiplications at the machine's peak."""
    value_bytes: float
    """Values that its last call moves for an image."""

    def of_cycles(self, cycles: float) -> float:
        """Seconds of so many cycles for each image."""
        return cycles * self.cycle


class CpuAlgorithm(Algorithm[CpuSite, Made], Protocol[Made]):
    """A way to compute the nodes of one op on a processor, that can be measured and explained."""

    def forecast(self, site: CpuSite) -> float:
        """Predicted cycles on one core, by which algorithms are compared; infinite if no candidate keeps to
        `site.options.max_error`. The costs of candidates are compared within an algorithm only."""

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[Made]]:
        """The ways to compute the node that keep to `site.options.max_error`. Of those that fit into the budget the
        model picks the cheapest, of equals the first. With `wide` also those that only a measurement can prefer."""

    def in_range(self, choice: Made) -> bool:
        """Whether the kernels of a choice compute images of any size."""

    def cost(self, site: CpuSite, choice: Made) -> float:
        """Predicted cycles of a choice for the node, which may have been made for another size of the image; compared
        with those of other choices of the algorithm. 1 for each where it cannot tell."""

    def kind(self, choice: Made) -> Hashable:
        """What tells choices apart roughly, as register tile and way of sharing the input: of each kind one is measured
        before the others."""

    def describe(self, choice: Made) -> str:
        """A choice in a few words."""

    def restored(self, stored: Mapping[str, Any]) -> Made:
        """The choice of which `dataclasses.asdict` made this. TypeError or KeyError if it made no such thing."""

    def weight_order(self, call: Call) -> Hashable:
        """Equal for the last calls of two choices if they read the same packed weights."""

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        """Operations of its last call for the whole batch; a multiply-add counts as two."""

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        """What takes time besides the multiplications, read off the configuration of the last call."""
