"""Which values the tensors of a network have on images: their ends first, then how often each part between comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnncc import api
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.module.listener import Listener, Progress
from cnncc.options import Options
from cnncc.quantization.ranges import BINS, Histogram

Arrays = Sequence[np.ndarray]
"""One array for each input of a network, of one image."""


@dataclass(frozen=True)
class Images:
    """Images that can be read several times, one after the other."""

    count: int
    read: Callable[[], Iterator[Arrays]]


def of_arrays(*arrays: np.ndarray) -> Images:
    """Images that lie in arrays, one for each input, (n, ...) each. CnnccError for none, or different numbers."""
    counts = {len(array) for array in arrays}
    if counts == {0} or len(counts) != 1:
        raise CnnccError("calibration needs at least one image, and as many for each input")
    (count,) = counts
    return Images(count, lambda: ([array[i : i + 1] for array in arrays] for i in range(count)))


class ModelValues:
    """Runs a graph on images and gives some of its values, float32 as they are and bytes as bytes."""

    def __init__(self, graph: Graph, names: Sequence[str], options: Options, listener: Listener) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.model = api.build(replace(graph, outputs=self.names, ports=()), options, listener).model()
        self._arena = self.model.new_arena()

    def of(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The values by name."""
        return dict(zip(self.names, self.model.run_in(self._arena, list(arrays)), strict=True))


def observe(
    values: ModelValues, images: Images, groups: Sequence[Sequence[str]], progress: Progress | None = None
) -> Mapping[str, Histogram]:
    """The histogram of each value, by its name. Values of one group have its ends. CnnccError for a value that is not
    finite."""
    ends = _ends(values, images, progress)
    for group in groups:
        both = min(ends[name][0] for name in group), max(ends[name][1] for name in group)
        ends |= dict.fromkeys(group, both)
    counts = {name: np.zeros(BINS, np.int64) for name in values.names}
    for i, arrays in enumerate(images.read()):
        _tell(progress, "counting values", i, images.count)
        for name, array in values.of(arrays).items():
            counts[name] += _counted(array, *ends[name])
    return {name: Histogram(*ends[name], counts[name]) for name in values.names}


def _ends(values: ModelValues, images: Images, progress: Progress | None) -> dict[str, tuple[float, float]]:
    low, high = dict.fromkeys(values.names, np.inf), dict.fromkeys(values.names, -np.inf)
    for i, arrays in enumerate(images.read()):
        _tell(progress, "finding ranges", i, images.count)
        for name, array in values.of(arrays).items():
            low[name], high[name] = min(low[name], float(array.min())), max(high[name], float(array.max()))
    for name in values.names:
        if not (np.isfinite(low[name]) and np.isfinite(high[name])):
            raise CnnccError(f"{name} is not finite on these images", hint="look at the images, and at the weights")
    return {name: (low[name], high[name]) for name in values.names}


def _counted(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """How many numbers are in each bin."""
    if high <= low:
        return np.histogram(array, bins=BINS, range=(low - 0.5, low + 0.5))[0]
    places = ((array.ravel() - np.float32(low)) * np.float32(BINS / (high - low))).astype(np.int32)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)


def _tell(progress: Progress | None, what: str, done: int, count: int) -> None:
    if progress:
        progress(what, done, count)
