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
"""Largest allowed difference of two outputs, as a share of the largest output."""
QUIET = 0.05
"""Largest share of the processors that others may take before the figures are called disturbed."""


@dataclass(frozen=True)
class Times:
    """Milliseconds over all runs; `ratio` is the median of the rounds' own ratios, this one's time over cnncc's."""

    median_ms: float
    p15_ms: float
    runs: int
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Competitor:
    """What is known of one. One with a `problem` is out of the comparison; `times` is None if it did not run."""

    name: str
    about: str
    times: Times | None
    difference: float
    """Largest difference from cnncc's outputs over all rounds, as a share of the largest output."""
    problem: str = ""


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
        """The fastest of the peers that give the same answer."""
        fair = [(c.times.ratio, c) for c in self.competitors[1:] if c.times and not c.problem]
        return min(fair, key=lambda pair: pair[0])[1] if fair else None

    @property
    def ahead(self) -> float | None:
        """The best peer's time over ours: above 1, cnncc is the fastest."""
        return self.best.times.ratio if self.best and self.best.times else None

    @property
    def disturbed(self) -> bool:
        return self.others > QUIET

    def to_json(self) -> dict[str, Any]:
        """Plain data for `cnncc bench --json`."""
        competitors = [
            {**asdict(c), "difference": c.difference if math.isfinite(c.difference) else None} for c in self.competitors
        ]
        best = self.best.name if self.best else None
        return {"net": self.net, "competitors": competitors, "best": best, "ahead": self.ahead, "others": self.others}


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
    wrong = f"another answer: off by {different:.1e} of the largest output, allowed {DISAGREEMENT:.0e}"
    problem = "" if different <= DISAGREEMENT else wrong
    return Competitor(name, contest.about[name], times(ours, theirs), different, problem)


def times(ours: Sequence[Turn], theirs: Sequence[Turn]) -> Times:
    """The times of `theirs`, and their ratios to `ours` of the same rounds."""
    runs = np.array([seconds for turn in theirs for seconds in turn.seconds]) * 1e3
    ratios = [median(t.seconds) / median(o.seconds) for o, t in zip(ours, theirs, strict=True)]
    return Times(
        median_ms=float(np.median(runs)),
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
