"""What an algorithm for a layer is, on processors and GPUs: whether it applies, how it may be cut, what that costs, and
the calls it makes.

The algorithms of an op stand in one tuple, `ALGORITHMS` of `cnncc.kernels.cpu.algorithms` and
`cnncc.kernels.gpu.algorithms`. Who chooses kernels goes through that tuple and needs no name of an algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from cnncc.base.errors import CnnccError, nearest
from cnncc.kernels.shared.choices import KernelChoice
from cnncc.kernels.shared.spec import Selection, Site

Made = TypeVar("Made", bound=KernelChoice)
Own = TypeVar("Own", bound=KernelChoice, covariant=True)
Where = TypeVar("Where", bound=Site[Any], contravariant=True)
Known = TypeVar("Known", bound="Algorithm[Any, Any]")


@dataclass(frozen=True)
class Candidate(Generic[Own]):
    """One way for an algorithm to compute a layer, with what the model predicts of it."""

    choice: Own
    cost: float
    """Time: on a processor in cycles of one core, on a GPU in seconds."""
    workspace_bytes: int
    """For an image."""
    scratch_bytes: int
    """Of each thread."""
    error: float = 0.0
    """Largest error, as a share of the layer's largest output; 0 for the sum as it is written."""


class Algorithm(Protocol[Where, Made]):
    """A way to compute the nodes of one op."""

    @property
    def name(self) -> str:
        """A word that no other algorithm of the machine has: shown to people, and stored with tuned choices."""

    def applies(self, site: Where) -> bool:
        """Whether it can compute the node at all."""

    def candidates(self, site: Where) -> list[Candidate[Made]]:
        """The ways to compute the node that keep to `site.options.max_error`; of equals the model picks the first."""

    def calls(self, site: Where, choice: Made, why: str) -> Selection:
        """The calls and weights of a choice. `why` is added to the algorithm's own reason."""


def named(name: str, algorithms: Sequence[Known]) -> Known:
    """The algorithm of that name; CnnccError if there is none."""
    known = {a.name: a for a in algorithms}
    if name not in known:
        raise CnnccError(f"no algorithm {name!r}", hint=nearest(name, known))
    return known[name]
