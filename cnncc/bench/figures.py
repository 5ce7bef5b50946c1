"""Statistics of a contest: times, ratios, and whether the answers agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from cnncc.bench.contest import Contest
from cnncc.bench.peers import OURS, TITLES
from cnncc.bench.worker import Turn

DISAGREEMENT = 1e-4
"""Largest difference of two outputs that counts as the same answer, as a share of the largest output."""
WRONG = 1e-2
"""Above this a peer computes something else and its time says nothing. Between the two it computes the same less
accurately: its time counts, or a peer that trades accuracy for speed would be left out where it is the fastest."""
QUIET = 0.05
"""Largest share of the processors that others may take before the figures are called disturbed."""


@dataclass(frozen=True)
class Times:
    """Milliseconds: the median over rounds of a turn's median (a median over all runs would lean to the rounds in which
    a competitor was fast, since these have more runs), and the 15th percentile of all runs. `ratio` is the median of
    the rounds' own ratios, this one's time over cnncc's."""

    median_ms: float
    p15_ms: float
    runs: int
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Competitor:
    """What is known of one; `times` is None if it did not run."""

    name: str
    about: str
    times: Times | None
    difference: float
    """Largest difference from cnncc's outputs over all rounds, as a share of the largest output."""
    problem: str = ""
    """Empty if it ran and gave cnncc's answer."""

    @property
    def counts(self) -> bool:
        """Whether it ran and computed the same, be it less accurately."""
        return self.times is not None and self.difference <= WRONG


@dataclass(frozen=True)
class Result:
    """One network: all competitors, cnncc first."""

    net: str
    competitors: tuple[Competitor, ...]
    others: float

    @property
    def ours(self) -> Times:
        times = self.competitors[0].times
        assert times is not None
        return times

    @property
    def best(self) -> Competitor | None:
        """The fastest of the peers that count."""
        fair = [(c.times.ratio, c) for c in self.competitors[1:] if c.times and c.counts]
        return min(fair, key=lambda pair: pair[0])[1] if fair else None

    @property
    def ahead(self) -> float | None:
        """The best peer's time over ours: above 1, cnncc is the fastest."""
        return self.best.times.ratio if self.best and self.best.times else None

    @property
    def confirmed(self) -> bool:
        """Whether at least one peer gives cnncc's answer."""
        return any(not c.problem for c in self.competitors[1:])

    @property
    def disturbed(self) -> bool:
        return self.others > QUIET

    def to_json(self) -> dict[str, Any]:
        """Plain data for `cnncc bench --json`."""
        competitors = [
            {**asdict(c), "difference": c.difference if math.isfinite(c.difference) else None} for c in self.competitors
        ]
        best = self.best.name if self.best else None
        figures = {"best": best, "ahead": self.ahead, "confirmed": self.confirmed, "others": self.others}
        return {"net": self.net, "competitors": competitors, **figures}


def result(contest: Contest) -> Result:
    """The figures of a contest."""
    names = [*contest.turns, *contest.failed]
    ordered = sorted(names, key=list(TITLES).index)
    return Result(contest.job.graph.name, tuple(_competitor(contest, name) for name in ordered), contest.others)


def _competitor(contest: Contest, name: str) -> Competitor:
    if name in contest.failed:
        return Competitor(name, contest.about.get(name, TITLES[name]), None, math.inf, contest.failed[name])
    ours, theirs = contest.turns[OURS], contest.turns[name]
    different = difference(ours, theirs)
    return Competitor(name, contest.about[name], times(ours, theirs), different, _problem(different))


def _problem(different: float) -> str:
    """What is to be said of a difference."""
    if different <= DISAGREEMENT:
        return ""
    off = f"off by {different:.2e} of the largest output, allowed {DISAGREEMENT:.0e}"
    return f"less accurate: {off}; its time counts" if different <= WRONG else f"another answer: {off}; not counted"


def times(ours: Sequence[Turn], theirs: Sequence[Turn]) -> Times:
    """The times of `theirs`, and their ratios to `ours` of the same rounds."""
    runs = np.array([seconds for turn in theirs for seconds in turn.seconds]) * 1e3
    ratios = [median(t.seconds) / median(o.seconds) for o, t in zip(ours, theirs, strict=True)]
    return Times(
        median_ms=median(median(turn.seconds) for turn in theirs) * 1e3,
        p15_ms=float(np.percentile(runs, 15)),
        runs=len(runs),
        ratio=median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
    )


def difference(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """Largest difference over all rounds and outputs, as a share of that output's largest value. Infinite if anything
    is not a number, or if there are more or fewer outputs or values."""
    shares = [_share(o.outputs, t.outputs) for o, t in zip(ours, theirs, strict=True)]
    return max(shares, default=0.0)


def _share(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Shapes are not compared: a peer may leave out axes of size 1."""
    if [a.size for a in ours] != [a.size for a in theirs]:
        return math.inf
    return max(map(_off, ours, theirs), default=0.0)


def _off(ours: np.ndarray, theirs: np.ndarray) -> float:
    largest = float(np.abs(ours).max(initial=0.0))
    worst = float(np.abs(ours.ravel() - theirs.ravel()).max(initial=0.0))
    if not math.isfinite(worst):
        return math.inf
    return worst / largest if largest else (math.inf if worst else 0.0)


def geometric_mean(results: Iterable[Result]) -> float | None:
    """Of `ahead`, over the networks that have it; None if none has."""
    ratios = [r.ahead for r in results if r.ahead is not None]
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) if ratios else None
