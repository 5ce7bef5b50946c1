"""Statistics of a contest: times, ratios, and whether the answers agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from cnncc.bench.contest import Contest
from cnncc.bench.peers import FLOAT32, JUDGES, OURS, TITLES
from cnncc.bench.worker import Turn
from cnncc.calibrate.losses import EXACT, Distance

DISAGREEMENT = 1e-4
"""Largest difference of two outputs that counts as the same answer, as a share of the largest output."""
WRONG = 1e-2
"""Above this a peer computes something else and its time says nothing. Between the two it computes the same less
accurately: its time counts, or a peer that trades accuracy for speed would be left out where it is the fastest."""
CLOSE, FAR = 6.0, 20.0
"""dB. On bytes and in bfloat16 nobody has the exact answer: each has its distance from it. A peer gives the same
answer if it is as far from it as we are, to within CLOSE; further off by up to FAR it is less accurate, and its time
counts."""
LEAST = 3.0
"""dB that our answer has at least, if a better one is to confirm it."""
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
    decibels: float | None = None
    """Of its outputs from the judge's, where there is one."""
    counts: bool = True
    """Whether it ran and computed the same, be it less accurately."""
    confirms: bool = False
    """Whether it says that our answer is right."""

    @property
    def is_judge(self) -> bool:
        return self.name in JUDGES


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
        fair = [(c.times.ratio, c) for c in self.peers if c.times and c.counts]
        return min(fair, key=lambda pair: pair[0])[1] if fair else None

    @property
    def ahead(self) -> float | None:
        """The best peer's time over ours: above 1, cnncc is the fastest."""
        return self.best.times.ratio if self.best and self.best.times else None

    @property
    def confirmed(self) -> bool:
        """Whether at least one peer gives cnncc's answer."""
        return any(c.confirms for c in self.peers)

    @property
    def peers(self) -> tuple[Competitor, ...]:
        return tuple(c for c in self.competitors[1:] if not c.is_judge)

    @property
    def gain(self) -> float | None:
        """The time of our float32 over ours, where that was measured."""
        return next((c.times.ratio for c in self.competitors if c.name == FLOAT32 and c.times), None)

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
        figures |= {"gain": self.gain} if self.gain is not None else {}
        return {"net": self.net, "competitors": competitors, **figures}


def result(contest: Contest) -> Result:
    """The figures of a contest."""
    names = [*contest.turns, *contest.failed]
    ordered = sorted(names, key=list(TITLES).index)
    return Result(contest.job.graph.name, tuple(_competitor(contest, name) for name in ordered), contest.others)


def _competitor(contest: Contest, name: str) -> Competitor:
    if name in contest.failed:
        about = contest.about.get(name, TITLES[name])
        return Competitor(name, about, None, math.inf, contest.failed[name], counts=False)
    ours, theirs = contest.turns[OURS], contest.turns[name]
    different = difference(ours, theirs)
    made = Competitor(name, contest.about[name], times(ours, theirs), different)
    if not contest.job.judge:
        close = different <= DISAGREEMENT
        return replace(made, problem=_problem(different), counts=different <= WRONG, confirms=close)
    exact = contest.turns[contest.job.judge]
    own, other = decibels(exact, ours), decibels(exact, theirs)
    if made.is_judge:
        return made
    problem, counts = _lossy_problem(own, other), other >= own - FAR
    # One that is nearer to the exact answer than we are is a witness too, unless we are nowhere near.
    confirms = not problem or (other > own and own >= LEAST)
    return replace(made, decibels=other, problem=problem, counts=counts, confirms=confirms)


def _lossy_problem(own: float, other: float) -> str:
    """What is to be said of a peer's distance from the exact answer beside ours."""
    if abs(other - own) <= CLOSE:
        return ""
    what = f"{other:.1f} dB from the exact answer, cnncc {own:.1f} dB"
    if other > own:
        return f"more accurate: {what}; its time counts"
    return f"less accurate: {what}; its time counts" if other >= own - FAR else f"another answer: {what}; not counted"


def decibels(exact: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """The distance of the outputs of all rounds from the exact ones."""
    found = Distance()
    for wanted, got in zip(exact, theirs, strict=True):
        if [a.size for a in wanted.outputs] != [a.size for a in got.outputs]:
            return -EXACT
        for a, b in zip(wanted.outputs, got.outputs, strict=True):
            found.add(a.ravel(), b.ravel())
    return found.decibels if math.isfinite(found.noise) else -EXACT


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
