"""How good the model's picks are: each against the best candidate, measured, on a fixed list of layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from cnncc import lang
from cnncc.base.errors import CnnccError, nearest
from cnncc.kernels.cpu.algorithms import find
from cnncc.kernels.shared.choices import KernelChoice
from cnncc.machines.targets import Target
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.tune.duel import compare
from cnncc.tune.layers import Layer, Setting, layers_of
from cnncc.tune.search import Found, search_layer
from cnncc.tune.trial import Maker, require_processor

LAYERS = {
    "resnet-3x3-56": "64x56x56: relu; conv 3x3 64",
    "resnet-1x1-56": "256x56x56: relu; conv 1x1 64",
    "resnet-3x3-28": "128x28x28: relu; conv 3x3 128",
    "resnet-1x1-14": "256x14x14: relu; conv 1x1 1024",
    "resnet-3x3-14": "256x14x14: relu; conv 3x3 256",
    "resnet-1x1-7": "2048x7x7: relu; conv 1x1 512",
    "resnet-3x3-7": "512x7x7: relu; conv 3x3 512",
    "3x3-stride2-56": "128x56x56: relu; conv 3x3 128 /2",
    "1x1-stride2-56": "256x56x56: relu; conv 1x1 512 /2",
    "vgg-3x3-224": "64x224x224: relu; conv 3x3 64",
    "vgg-3x3-112": "128x112x112: relu; conv 3x3 128",
    "vgg-3x3-28": "512x28x28: relu; conv 3x3 512",
    "vgg-3x3-14": "512x14x14: relu; conv 3x3 512",
    "first-7x7-stride2": "3x224x224: conv 7x7 64 /2",
    "first-11x11-stride4": "3x227x227: conv 11x11 96 /4 pad 0",
    "first-3x3-stride2": "3x224x224: conv 3x3 32 /2",
    "alexnet-5x5-groups": "96x27x27: relu; conv 5x5 256 groups 2",
    "alexnet-3x3-13": "256x13x13: relu; conv 3x3 384",
    "resnext-groups-of-4": "128x56x56: relu; conv 3x3 128 groups 32",
    "regnet-groups-of-8": "208x14x14: relu; conv 3x3 208 groups 26",
    "regnet-groups-of-24": "336x14x14: relu; conv 3x3 336 groups 14",
    "shufflenet-1x1-groups": "272x14x14: relu; conv 1x1 272 groups 4",
    "googlenet-3x3-28": "96x28x28: relu; conv 3x3 128",
    "googlenet-5x5-28": "16x28x28: relu; conv 5x5 32",
    "densenet-1x1-28": "256x28x28: relu; conv 1x1 128",
    "densenet-3x3-28": "128x28x28: relu; conv 3x3 32",
    "squeezenet-1x1-56": "16x55x55: relu; conv 1x1 64",
    "squeezenet-3x3-13": "48x13x13: relu; conv 3x3 192",
    "squeezenet-1x1-13": "512x13x13: relu; conv 1x1 1000",
    "mobilenet-1x1-112": "32x112x112: relu; conv 1x1 64",
    "mobilenet-1x1-14": "512x14x14: relu; conv 1x1 512",
    "mobilenet-1x1-7": "1024x7x7: relu; conv 1x1 1024",
}
"""Input and convolution of each layer: the classes that the networks of the zoo are made of."""

SECONDS = 5.0
"""For the candidates of one layer, by default."""

NEAR = 1.1
"""How much longer than the best candidate a pick may take."""

CONFIRM = 25
"""Rounds of pick and best candidate before a pick is said to be slower: more than the search had for any pair."""


@dataclass(frozen=True)
class Row:
    """One layer of the report: the model's pick and the best candidate, in seconds. `ratio` is the pick's time over the
    best's, the median of the rounds both had in turns; 1 where none is measurably faster than the pick."""

    name: str
    net: str
    pick: str
    best: str
    pick_seconds: float
    best_seconds: float
    ratio: float
    tried: int
    of: int

    @property
    def near(self) -> bool:
        """Whether the pick is as near the best as it should be."""
        return self.ratio <= NEAR

    def to_json(self) -> dict[str, Any]:
        """Plain data for `cnncc bench --kernels --json`."""
        return asdict(self)


def kernel_report(
    target: Target,
    options: Options,
    seconds: float = SECONDS,
    names: Iterable[str] = LAYERS,
    on_layer: Callable[[str], object] | None = None,
    on_row: Callable[[Row], object] | None = None,
) -> list[Row]:
    """Measures the candidates of the named layers, `seconds` each; nothing is taken from the disk but objects.

    `on_layer` hears the name of a layer before it is measured, `on_row` its row after. CnnccError for a name that is
    not in the list, and if this processor cannot run code for the target.
    """
    chosen = known(names)
    require_processor(target)
    setting = Setting(target, options)
    rows = []
    for name in chosen:
        if on_layer is not None:
            on_layer(name)
        rows.append(_measure(name, setting, seconds))
        if on_row is not None:
            on_row(rows[-1])
    return rows


def known(names: Iterable[str]) -> list[str]:
    """The names, each once; CnnccError for one that is not in the list."""
    for name in names:
        if name not in LAYERS:
            raise CnnccError(f"no layer {name!r}", hint=nearest(name, LAYERS))
    return list(dict.fromkeys(names))


def _measure(name: str, setting: Setting, seconds: float) -> Row:
    layer = layer_of(LAYERS[name], setting)
    found = search_layer(layer, setting, time.perf_counter() + seconds)
    ratio, pick_seconds, best_seconds = _confirmed(layer, found, setting)
    return Row(
        name=name,
        net=LAYERS[name],
        pick=describe(layer.pick),
        best=describe(found.choice),
        pick_seconds=pick_seconds,
        best_seconds=best_seconds,
        ratio=ratio,
        tried=found.tried,
        of=len(layer.candidates),
    )


def _confirmed(layer: Layer, found: Found, setting: Setting) -> tuple[float, float, float]:
    """The pick's time over the best's, and both in seconds, in rounds of their own: what won the search is partly what
    was lucky in it, and a machine that others use has slow minutes."""
    if found.is_pick:
        return 1.0, found.pick_seconds, found.seconds
    best, pick = Maker(layer, setting)([found.choice, layer.pick])
    verdict = compare(best.round, pick.round, CONFIRM, hopeless=float("inf"))
    return max(1.0, verdict.ratio), verdict.challenger, verdict.champion


def layer_of(text: str, setting: Setting) -> Layer:
    """The convolution of a line of `LAYERS`, with a relu behind it, picked as in a network whose weights stay in the
    last cache only if the setting says so: alone, its own mostly would."""
    dims, line = text.split(": ")
    graph = lang.parse(f"net layer\ninput {dims}\n{line} relu\n")
    target = setting.target if setting.weights_stay else replace(setting.target, l3_bytes=0)
    return layers_of(lower(graph, target, setting.of_layer("conv")), setting)[0]


def describe(choice: KernelChoice) -> str:
    """A choice in a few words."""
    return find(choice.algorithm).describe(choice)
