"""What bytes cost: the distance of each value, and of the outputs, from what they are in float32."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cnncc.calibrate.observe import Images, ModelValues
from cnncc.ir import Graph
from cnncc.module.listener import Listener, Progress
from cnncc.ops.quantize import dequantized
from cnncc.options import Options

EXACT = 150.0
"""dB that stand for no difference at all."""


@dataclass
class Distance:
    """Of one tensor from another, over all images."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        """Counts the values of one image."""
        exact = wanted.astype(np.float64)
        self.signal += float((exact**2).sum())
        self.noise += float(((exact - got.astype(np.float64)) ** 2).sum())

    @property
    def decibels(self) -> float:
        """10 log10(signal / noise), at most EXACT."""
        if not self.noise:
            return EXACT
        return min(EXACT, 10 * math.log10(self.signal / self.noise)) if self.signal else -EXACT


@dataclass
class Agreement:
    """How often the largest element of an output is the same one."""

    same: int = 0
    count: int = 0

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        """Counts the images of a batch: for each pixel, if there are several."""
        axis = 1
        best, found = wanted.argmax(axis), got.argmax(axis)
        self.same += int((best == found).sum())
        self.count += best.size

    @property
    def share(self) -> float:
        return self.same / self.count if self.count else 1.0


@dataclass(frozen=True)
class Losses:
    """Distances of values by name, and of each output with its agreement."""

    values: Mapping[str, Distance]
    outputs: Sequence[Distance]
    agreement: Sequence[Agreement] = field(default_factory=list)

    @property
    def decibels(self) -> float:
        """Of the worst output."""
        return min((d.decibels for d in self.outputs), default=EXACT)


def losses(
    wanted: ModelValues, made: Graph, images: Images, options: Options, listener: Listener, names: Mapping[str, str]
) -> Losses:
    """Of a graph on bytes from the values in float32. `names` are those and the ones of the graph that are compared
    with them; the graph's outputs are compared in any case, which are in float32 too."""
    got = ModelValues(made, [*names.values(), *made.outputs], options, listener)
    values = {name: Distance() for name in names}
    outputs, agreement = [Distance() for _ in made.outputs], [Agreement() for _ in made.outputs]
    for i, arrays in enumerate(images.read()):
        _tell(listener.progress, i, images.count)
        a, b = wanted.of(arrays), got.of(arrays)
        for name, other in names.items():
            values[name].add(a[name], numbers(made, other, b[other]))
        for distance, agreed, name in zip(outputs, agreement, made.outputs, strict=True):
            distance.add(a[name], b[name])
            agreed.add(a[name], b[name])
    return Losses(values, outputs, agreement)


def numbers(graph: Graph, name: str, stored: np.ndarray) -> np.ndarray:
    """What a value stands for, of bytes too."""
    kind = graph[name].type
    return stored if kind.quantization is None else dequantized(stored, kind)


def _tell(progress: Progress | None, done: int, count: int) -> None:
    if progress:
        progress("comparing with float32", done, count)
