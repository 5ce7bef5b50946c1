"""Tuning of a whole network: the time is shared out among its convolutions."""

from __future__ import annotations

import time

from cnncc.ir import Graph
from cnncc.kernels.shared.choices import ChoiceKey, Choices, Given
from cnncc.machines.targets import Target
from cnncc.module.listener import Progress
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.tune import store
from cnncc.tune.layers import Layer, Setting, layers_of, unmeasured
from cnncc.tune.search import search_layer
from cnncc.tune.trial import require_processor

MORE = 2.0
"""A stored result whose search had candidates left is searched again for this many times its time, or more."""


def tune(graph: Graph, target: Target, options: Options, progress: Progress | None = None) -> Choices:
    """The fastest kernels found in `options.tune` seconds, by layer, for `lower`.

    Each distinct layer whose op has algorithms gets a part of the time, as large as its predicted part of a run; what
    one leaves goes to those after it. Layers whose turn does not come are left out: the model picks. Results are kept
    on disk, and those found there cost no time. Layers that would not be the same alone keep the model's pick, and say
    why.
    CnnccError if this processor cannot run code for the target.
    """
    require_processor(target)
    assert options.tune is not None, "somebody said for how long"
    program = lower(graph, target, options)
    setting = Setting(target, options, program.weights_stay)
    measured = _Tuning(layers_of(program, setting), setting, options.tune, progress).run()
    return {**unmeasured(program, setting), **measured}


class _Tuning:
    def __init__(self, layers: list[Layer], setting: Setting, seconds: float, progress: Progress | None) -> None:
        self.setting = setting
        self.progress = progress
        self.layers = layers
        total = sum(layer.cycles * layer.count for layer in layers)
        self.budgets = {layer.key: seconds * layer.cycles * layer.count / total for layer in layers}
        self.end = 0.0

    def run(self) -> Choices:
        given: dict[ChoiceKey, Given] = {}
        open_ = []
        for layer in self.layers:
            entry = store.read(store.path_of(layer, self.setting))
            if entry is not None and (entry.found.complete or self.budgets[layer.key] < MORE * entry.budget):
                given[layer.key] = Given(entry.found.choice, entry.found.why)
            else:
                open_.append(layer)
        # Only their own parts: what is measured already leaves no time to the others, or it would never be quick.
        self.end = time.perf_counter() + sum(self.budgets[layer.key] for layer in open_)
        for i, layer in enumerate(open_):
            self._tell(len(given))
            left = self.end - time.perf_counter()
            if left <= 0:
                break
            share = self.budgets[layer.key] / sum(self.budgets[later.key] for later in open_[i:])
            given[layer.key] = self._measure(layer, left * share)
        return given

    def _measure(self, layer: Layer, seconds: float) -> Given:
        found = search_layer(layer, self.setting, time.perf_counter() + seconds)
        path = store.path_of(layer, self.setting)
        store.write(path, store.Entry(found, self.budgets[layer.key]))
        return Given(found.choice, found.why)

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            left = max(0.0, self.end - time.perf_counter())
            self.progress(f"tuning layers, {left:.0f} s left", done, len(self.layers))
