"""Networks that together need every kind of kernel, for targets that other processors or engines run."""

from __future__ import annotations

import numpy as np

from cnncc import lang, weights
from cnncc.ir import Graph
from cnncc.module.cpu.build import Build

BOUND = 2e-5
"""Share of the largest output, as for kernels of this machine."""
BODIES = {
    "convolutions": ("3x29x31", "conv 7x7 20 /2 bn relu; dwconv 3x3 relu; conv 1x1 33; upconv 3x3 16 /2 outpad 1"),
    "groups": ("12x15x14", "conv 3x3 24 groups 3 relu6; conv 1x5 9 dil 1x2 silu; conv 3x3 8 /2x1 nobias"),
    "winograd": ("16x21x19", "conv 3x3 40 relu; conv 3x3 24 bn; add { | conv 3x3 24 }; relu; conv 1x1 5"),
    "windows": ("11x17x13", "relu; lrn; maxpool 3x3 /2 ceil; avgpool 3x3 /1 pad 1; upsample 2; pad 1,0,2,1 reflect"),
    "merges": ("5x9x9", "conv 3x3 24; save x; conv 3x3 24; save y; add { from x | from y }; concat { | from x }"),
    "costly": ("6x9x7", "conv 3x3 19 gelu silu; dwconv 3x3 softplus; conv 3x3 8 /2 clip low -1 high 2; fc 13 mish elu"),
    "classes": ("6x9x7", "conv 3x3 19 hard_swish; gap; fc 33 tanh; fc 13 sigmoid; fc 10 softmax"),
}


def _around_the_vectors(seed: int, count: int) -> list[tuple[str, str]]:
    """Random convolutions whose channels lie around multiples of the vectors, as (dims, line)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        channels, out = (int(rng.choice([1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])) for _ in range(2))
        height, width = (int(rng.integers(5, 30)) for _ in range(2))
        kernel, stride = int(rng.choice([1, 3, 5])), int(rng.integers(1, 3))
        found.append((f"{channels}x{height}x{width}", f"conv {kernel}x{kernel} {out} /{stride} relu"))
    return found


CASES = {**BODIES, **{f"{dims} {line}": (dims, line) for dims, line in _around_the_vectors(seed=4, count=4)}}


def network(dims: str, body: str) -> Graph:
    """A network of one input, with seeded weights."""
    return weights.bind(lang.parse(f"net t\ninput {dims}\n{body}\n"), seed=3)


def random_inputs(build: Build) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(p["shape"]).astype(np.float32) for p in build.info["inputs"]]
