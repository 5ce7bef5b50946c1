"""The fastest kernel of one layer that can be found in a given time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cnncc.kernels.shared.choices import KernelChoice
from cnncc.tune.duel import ROUNDS, compare
from cnncc.tune.layers import Layer, Setting
from cnncc.tune.trial import Maker, Trial

WAVE = 8
"""Candidates compiled together: enough for all cores to have work, few enough to keep to the time."""

Make = Callable[[Sequence[KernelChoice]], Iterable[Trial]]
"""Makes trials of candidates, as `Maker` does."""


@dataclass(frozen=True)
class Found:
    """The fastest of a layer. Seconds of it and of the model's pick, from the same rounds."""

    choice: KernelChoice
    is_pick: bool
    seconds: float
    pick_seconds: float
    tried: int
    wrong: int
    """Candidates that computed something else than the pick, and so were not measured."""
    complete: bool
    """Whether no candidate was left when the search ended."""

    @property
    def why(self) -> str:
        """As shown with the kernel."""
        if self.is_pick:
            text = f"measured: {self.pick_seconds * 1e3:.3g} ms, model's pick, no faster one among {self.tried} others"
        else:
            text = f"measured: {self.seconds * 1e3:.3g} ms, model's pick {self.pick_seconds * 1e3:.3g}"
        return text + (f"; {self.wrong} gave wrong results" if self.wrong else "")


def search_layer(layer: Layer, setting: Setting, deadline: float, make: Make | None = None) -> Found:
    """Challenges the model's pick with one candidate after the other until the deadline (of `time.perf_counter`).

    A challenger that is measurably faster takes the place of the champion. The last champion must win once more,
    against the pick, in fresh rounds: the winner of many comparisons is partly the luckiest.
    """
    make = make or Maker(layer, setting)
    (pick,) = make([layer.pick])
    champion, tried, wrong, at = pick, 0, 0, 0
    pick_seconds = pick.round()
    while at < len(layer.candidates) and time.perf_counter() < deadline:
        wave = layer.candidates[at : at + _wave(deadline)]
        at += len(wave)
        for trial in make(wave):
            if time.perf_counter() >= deadline and tried:
                at = min(at, len(layer.candidates) - 1)
                break
            tried += 1
            if not trial.agrees(pick, setting.options.max_error):
                wrong += 1
            elif compare(champion.round, trial.round).won:
                champion = trial
    complete = at >= len(layer.candidates)
    if champion is not pick:
        last = compare(pick.round, champion.round, 2 * ROUNDS)
        if last.won:
            return Found(champion.choice, False, last.challenger, last.champion, tried, wrong, complete)
        pick_seconds = last.champion
    return Found(pick.choice, True, pick_seconds, pick_seconds, tried, wrong, complete)


def _wave(deadline: float) -> int:
    """Fewer together where little time is left: a wave under way is not stopped."""
    left = deadline - time.perf_counter()
    return max(1, int(min(WAVE, 4 * left)))
