"""Small networks for a range of sizes, compiled, and the reference at one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cnncc import lang, passes, weights
from cnncc.base.dim import Symbol
from cnncc.machines import targets
from cnncc.module.cpu.build import Build, build_programs
from cnncc.module.cpu.ranged_program import lower_ranged
from cnncc.module.ranged import Ranged
from cnncc.ops import reference
from cnncc.options import Options

TEXT = """net small
input image 3x64x64
conv 3x3 16 /2 relu
save f; conv 1x1 8; output as scores
from f; conv 1x1 5 relu; output as map
"""
H, W = Symbol(0, "h", 2, 64), Symbol(1, "w", 4, 96, 4)
IMAGE = {"image": (3, H, W)}
MOST = 3


def network(text: str = TEXT, shapes: Mapping[str, Sequence[int | Symbol]] = IMAGE) -> Ranged:
    """A network for a range of sizes, with weights that are the same at all of them."""
    return Ranged(shapes, lambda at: weights.bind(lang.parse(text, shapes=at), seed=1))


def build(ranged: Ranged, *names: str, threads: int = 2) -> Build:
    """Compiled, for this machine if no target is named. Kernels that take long to compile are not taken."""
    options = Options(batch=MOST, threads=threads, max_error=0)
    return build_programs([lower_ranged(ranged, targets.load(name), options) for name in names or ("host",)])


def images(count: int, *dims: int) -> np.ndarray:
    return np.random.default_rng(sum(dims)).standard_normal((count, *dims)).astype(np.float32)


def wanted(ranged: Ranged, *arrays: np.ndarray) -> list[np.ndarray]:
    """What the reference says of arrays, one for each input."""
    shapes = {name: tuple(a.shape[1:]) for name, a in zip(ranged.shapes, arrays, strict=True)}
    graph = passes.with_batch(ranged.at(shapes), len(arrays[0]))
    return list(reference.run(graph, list(arrays), np.float32).values())
