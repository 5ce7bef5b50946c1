"""The algorithms of each op that has several, and how one is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cnncc.kernels.cpu.algorithm import CpuAlgorithm
from cnncc.kernels.cpu.budget import SLOWER, choose
from cnncc.kernels.cpu.conv_algorithm import Direct
from cnncc.kernels.cpu.conv_bytes_algorithm import DepthwiseBytes, DirectBytes
from cnncc.kernels.cpu.depthwise import Depthwise
from cnncc.kernels.cpu.grouped_algorithm import Grouped
from cnncc.kernels.cpu.site import FLOATS, CpuSite
from cnncc.kernels.cpu.winograd_algorithm import Winograd
from cnncc.kernels.shared.algorithm import Candidate, named
from cnncc.kernels.shared.choices import KernelChoice
from cnncc.kernels.shared.spec import Selection

ALGORITHMS: dict[str, tuple[CpuAlgorithm[Any], ...]] = {
    "conv": (Depthwise(), Winograd(), Grouped(), Direct()),
    "qconv": (DepthwiseBytes(), DirectBytes()),
}
"""By op. An algorithm must promise clearly less than those after it; the last one applies to every node of the op."""

TAKES = {"conv": FLOATS}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""

RANGES: Mapping[str, bool] = dict.fromkeys(ALGORITHMS, True)
"""Op -> whether its kernels compute images of any size of a range."""

CLEARLY = 0.95
"""Share of the cycles of an algorithm further behind that one must promise to take its place: the model is only a
model, and those further ahead need more weights."""


def find(name: str) -> CpuAlgorithm[Any]:
    """The algorithm of that name; CnnccError if there is none."""
    return named(name, [a for algorithms in ALGORITHMS.values() for a in algorithms])


def applying(site: CpuSite) -> list[CpuAlgorithm[Any]]:
    """The algorithms that can compute the node, in the order of the tuple."""
    return [a for a in ALGORITHMS[site.node.op] if a.applies(site)]


def candidates(site: CpuSite) -> list[Candidate[KernelChoice]]:
    """All candidates of all algorithms that are worth a measurement, by rising predicted cost."""
    found = [c for a in applying(site) for c in a.candidates(site, wide=True)]
    return sorted(found, key=lambda c: c.cost)


def select_by_algorithm(site: CpuSite) -> Selection:
    """The calls of a node whose op has algorithms: of the given choice, or of the best one that the model finds within
    the error bound and the budget of memory."""
    if site.usual is not None:
        return _of_range(site, site.usual)
    given, alike = site.given, _alike(site)
    if given is not None:
        algorithm, choice, why = find(given.choice.algorithm), given.choice, f"; {given.why}"
    elif alike is not None:
        algorithm, choice, why = find(alike.algorithm), alike, "; of those that read the weights of the first size"
    else:
        algorithm, why = _fastest((site,), applying(site))
        best, note = choose(site, algorithm.candidates(site))
        choice, why = best.choice, why + note
    return replace(algorithm.calls(site, choice, why), choice=choice)


def _of_range(site: CpuSite, usual: CpuSite) -> Selection:
    """The calls of the choice that is best over some sizes, of those whose kernels compute all."""
    sites = (usual, *site.tried)
    algorithm, why = _fastest(sites, applying(usual))
    found: dict[KernelChoice, Candidate[KernelChoice]] = {}
    for one in sites:
        fitting = [c for c in algorithm.candidates(one, wide=True) if algorithm.in_range(c.choice)]
        for candidate in sorted(fitting, key=lambda c: c.cost)[:TRIED]:
            found.setdefault(candidate.choice, candidate)
    costs = {choice: [algorithm.cost(one, choice) for one in sites] for choice in found}
    least = [min(of_size) for of_size in zip(*costs.values(), strict=True)]
    slower = {choice: _times(of_choice, least) for choice, of_choice in costs.items()}
    best, note = choose(usual, [replace(c, cost=slower[choice]) for choice, c in found.items()])
    return replace(algorithm.calls(site, best.choice, why + note), choice=best.choice)


TRIED = 24
"""Choices for each size that are tried at the other sizes of a range."""


def _fastest(sites: Sequence[CpuSite], algorithms: Sequence[CpuAlgorithm[Any]]) -> tuple[CpuAlgorithm[Any], str]:
    """The algorithm that promises clearly fewer cycles than all after it, over some sizes of a node, and how many of
    theirs."""
    *others, best = algorithms
    if not others:
        return best, ""
    cycles, why = [best.forecast(site) for site in sites], ""
    for other in reversed(others):
        promised = [other.forecast(site) for site in sites]
        share = _times(promised, cycles)
        if share <= CLEARLY:
            why = f", {share:.2f} of the {best.name} kernel's predicted cycles"
            best, cycles = other, promised
    return best, why


def _times(cycles: Sequence[float], others: Sequence[float]) -> float:
    """How many times as many they are, as the geometric mean over some sizes. None are taken as one."""
    return math.prod(max(a, 1) / max(b, 1) for a, b in zip(cycles, others, strict=True)) ** (1 / len(cycles))


def _alike(site: CpuSite) -> KernelChoice | None:
    """The best choice that reads the packed weights of `site.like`; None if there is none."""
    if site.like is None or site.like.choice is None:
        return None
    algorithm = find(site.like.choice.algorithm)
    if not algorithm.applies(site):
        return None
    wanted = algorithm.weight_order(site.like.calls[-1])
    found: list[Candidate[KernelChoice]] = []
    for candidate in sorted(algorithm.candidates(site, wide=True), key=lambda c: c.cost):
        if found and candidate.cost > SLOWER * found[0].cost:
            break  # none behind would be taken
        if algorithm.weight_order(algorithm.calls(site, candidate.choice, "").calls[-1]) == wanted:
            found.append(candidate)
    return choose(site, found)[0].choice if found else None
