"""What an algorithm for a layer is: whether it applies, how it may be cut, what that costs, and the calls it makes.

The algorithms of an op stand in one tuple (`cnncc.kernels.cpu.algorithms`). Who chooses, tunes, measures or explains
kernels goes through that tuple and needs no name of an algorithm.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from cnncc.ir import Graph, Node
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.choices import KernelChoice
from cnncc.kernels.shared.spec import Call, Selection
from cnncc.machines.targets import Target

Made = TypeVar("Made", bound=KernelChoice)
Own = TypeVar("Own", bound=KernelChoice, covariant=True)


@dataclass(frozen=True)
class Candidate(Generic[Own]):
    """One way for an algorithm to compute a layer, with what the model predicts of it."""

    choice: Own
    cycles: float
    """On one core."""
    workspace_floats: int
    """For an image."""
    scratch_floats: int
    """Of each thread."""
    error: float = 0.0
    """Largest error, as a share of the layer's largest output; 0 for the sum as it is written."""


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


class Algorithm(Protocol[Made]):
    """A way to compute the nodes of one op."""

    @property
    def name(self) -> str:
        """A word that no other algorithm has: shown to people, and stored with tuned choices."""

    def applies(self, site: CpuSite) -> bool:
        """Whether it can compute the node at all."""

    def forecast(self, site: CpuSite) -> float:
        """Predicted cycles on one core, by which algorithms are compared; infinite if no candidate keeps to
        `site.options.max_error`."""

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[Made]]:
        """The ways to compute the node that keep to `site.options.max_error`. Of those that fit into the budget the
        model picks the fastest, of equals the first. With `wide` also those that only a measurement can prefer."""

    def calls(self, site: CpuSite, choice: Made, why: str) -> Selection:
        """The calls and weights of a choice. `why` is added to the algorithm's own reason."""

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
