"""Compiles a small graph and holds every value of it to the float64 reference."""

from __future__ import annotations

import numpy as np

from cnncc import api, lang, passes, weights
from cnncc.ir import Graph
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines import targets
from cnncc.module.cpu.objects import compile_kernel
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.runtime import cpu

RUNNABLE = [n for n in targets.names() if not cpu.missing(targets.load(n).requires)]
"""Targets whose code this machine can run."""


def network(body: str, dims: str = "20x9x13") -> Graph:
    """A network of one input and the given lines, with seeded weights."""
    return weights.bind(lang.parse(f"net t\ninput {dims}\n{body}\n"), seed=3)


def worst_error(
    graph: Graph, target: str = "host", batch: int = 1, threads: int = 2, seed: int = 0, max_error: float = 1e-5
) -> float:
    """The largest error of any value, as a share of that value's largest element."""
    build = api.build(graph, Options((target,), batch=batch, threads=threads, max_error=max_error, keep_all=True))
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(p["shape"]).astype(np.float32) for p in build.info["inputs"]]
    wanted = reference.run(passes.with_batch(graph, batch), arrays, keep_all=True)
    got = build.trace(*arrays)
    assert set(graph.outputs) <= set(got)
    return max(relative_error(got[name], wanted[name]) for name in got if name in wanted)


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest absolute error over largest absolute value; infinite where a shape differs or a value is not finite."""
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def kernels_of(graph: Graph, target: str = "x86-64-v3") -> list[Kernel]:
    """The kernel of every call, in order."""
    return [call.kernel for call in api.program(graph, Options((target,))).calls]


def compile_for(graph: Graph, target: str) -> None:
    """Compiles every kernel for a target that may be of another machine."""
    for kernel in kernels_of(graph, target):
        assert compile_kernel(kernel, targets.load(target))
