"""The networks of the zoo, for tests of GPU code."""

from __future__ import annotations

import pytest

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.ir import Graph
from cnncc.kernels.gpu.rules import without_kernel

ZOO = sorted(p.stem for p in resources.directory("models").glob("*.net"))


def network(name: str) -> Graph:
    """A network of the zoo with random weights. Skips the test where an op of it has no GPU kernel."""
    graph = weights.bind(lang.read(resources.directory("models") / f"{name}.net"), None)
    missing = sorted({n.op for n in graph.nodes if without_kernel(n.op)})
    if missing:
        pytest.skip(f"no GPU kernel of {', '.join(missing)}")
    return graph
