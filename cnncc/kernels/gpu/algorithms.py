"""The algorithms of each op that has several on a GPU, and how one is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cnncc.base.elements import Element
from cnncc.kernels.gpu.conv_algorithm import GpuDirect
from cnncc.kernels.gpu.conv_bytes import GpuByteDepthwise, GpuByteDirect
from cnncc.kernels.gpu.depthwise import GpuDepthwise
from cnncc.kernels.gpu.spec import FLOATS, GpuSite
from cnncc.kernels.gpu.winograd import GpuWinograd
from cnncc.kernels.shared.algorithm import Algorithm, Candidate, named
from cnncc.kernels.shared.choices import Given, KernelChoice
from cnncc.kernels.shared.spec import Selection

ALGORITHMS: dict[str, tuple[Algorithm[GpuSite, Any], ...]] = {
    "conv": (GpuDepthwise(), GpuWinograd(), GpuDirect()),
    "qconv": (GpuByteDepthwise(), GpuByteDirect()),
}
"""By op. Their order means nothing but among candidates of equal cost."""

CLEARLY = 0.85
"""Share of the time of an exact candidate that one with an error of its own must promise: the model has not been
measured."""


def weighed(candidate: Candidate[KernelChoice]) -> float:
    """The predicted seconds by which candidates of all algorithms are compared."""
    return candidate.cost / CLEARLY if candidate.error else candidate.cost


def select_by_algorithm(site: GpuSite) -> Selection:
    """The calls of a node whose op has algorithms: of the given choice, or of the cheapest that the model finds within
    the error bound."""
    algorithms = [a for a in ALGORITHMS[site.node.op] if a.applies(site)]
    choice, why = _given(site.given) if site.given else _cheapest([c for a in algorithms for c in a.candidates(site)])
    return replace(named(choice.algorithm, algorithms).calls(site, choice, why), choice=choice)


def _given(given: Given) -> tuple[KernelChoice, str]:
    return given.choice, f"; {given.why}"


def _cheapest(candidates: Sequence[Candidate[KernelChoice]]) -> tuple[KernelChoice, str]:
    """The choice of least weighed time, and how it compares with the best of the other algorithms."""
    best = min(candidates, key=weighed)
    others = [c for c in candidates if c.choice.algorithm != best.choice.algorithm]
    if not others:
        return best.choice, ""
    other = min(others, key=weighed)
    share = f", {best.cost / other.cost:.2f} of the {other.choice.algorithm} kernel's predicted time"
    return best.choice, share


TAKES: Mapping[str, frozenset[Element]] = {"conv": FLOATS}
"""Op -> the types of numbers that its kernels take and give."""
