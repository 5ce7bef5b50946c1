"""Which of two is faster, on a machine that others use too."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 5
"""Of a comparison."""

MARGIN = 0.97
"""Share of the champion's time that a challenger may take to win."""

HOPELESS = 1.15
"""A challenger slower than this gets no further round."""


@dataclass(frozen=True)
class Verdict:
    """The least seconds of both over the rounds; and the challenger's over the champion's, median of the rounds."""

    champion: float
    challenger: float
    ratio: float

    @property
    def won(self) -> bool:
        """Whether the challenger takes the champion's place: by the margin in the rounds, and in its best one too."""
        return self.ratio <= MARGIN and self.challenger < self.champion


def compare(
    champion: Callable[[], float], challenger: Callable[[], float], rounds: int = ROUNDS, hopeless: float = HOPELESS
) -> Verdict:
    """Rounds of both in turns, each side a function that measures its seconds once. The ratio is taken within each
    round, so that what disturbs the machine for longer disturbs both."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        ours.append(champion())
        theirs.append(challenger())
        if min(theirs) > hopeless * min(ours):
            break
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    return Verdict(min(ours), min(theirs), ratio)
