"""Norms of groups, and kernels that read and write at computed places, for a range of sizes: held to the reference at
sizes around the edges of their vectors."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from kernels.test_range_kernels import SIZES, drawn, text

from cnncc import api, passes
from cnncc.frontends import sources
from cnncc.frontends.sources import NetworkSource
from cnncc.ops import reference
from cnncc.options import Options

GROUPS = [
    "conv 3x3 32; group_norm 4 relu",
    "conv 3x3 40; group_norm 5; group_norm 40; group_norm 1 gelu",
    "group_norm 3; conv 3x3 20; group_norm 20; group_norm 10 noaffine",
    "conv 3x3 96 /2; group_norm 32; conv 3x3 40 /2; save x; group_norm 2; add { | from x }",
]
PLACES = [
    "conv 3x3 12; topk 3",
    "topk 3 smallest indices",
    "conv 3x3 12; topk 10 last",
    "conv 3x3 12; take 3,0,7",
    "conv 3x3 12; take 3,0,7 axis 1",
    "conv 3x3 12; take 8,2,2,5 axis 2",
    "argmaxpool 3x2 /2 pad 1,0,1,1 ceil",
    "unpool { maxpool 2x2 /2 dil 2 | argmaxpool 2x2 /2 dil 2 } 120x121",
    "unfold 3x2 /2 dil 2 pad 1",
    "unfold 5x5 /3x1 pad 2,0",
]


def ranged(source: str, **options: int) -> tuple[NetworkSource, api.Model]:
    network = sources.read_source(source, None, 0)
    return network, api.link([network], Options(**{"batch": 2, "threads": 2, **options}))


def held(network: NetworkSource, model: api.Model, arrays: Sequence[np.ndarray], bound: float) -> None:
    """Every output, NaN where the reference has it."""
    assert network.ranged is not None
    names = [node.name for node in network.graph.inputs]
    graph = network.ranged.at({name: a.shape[1:] for name, a in zip(names, arrays, strict=True)})
    wanted = list(reference.run(passes.with_batch(graph, len(arrays[0])), list(arrays), np.float32).values())
    for got, want in zip([model(*arrays)], wanted, strict=True):
        atol = bound * float(np.nanmax(np.abs(want), initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=str([a.shape for a in arrays]))


@pytest.mark.parametrize("body", GROUPS + PLACES)
def test_right_at_all_sizes(body: str) -> None:
    network, model = ranged(text(body))
    for number, (h, w) in enumerate(SIZES):
        held(network, model, [drawn((1 + number % 2, 3, h, w))], 2e-5)


def test_groups_as_large_as_units_and_larger() -> None:
    """From groups of one vector to some that many units share, in blocks and as planes."""
    network, model = ranged(text("conv 1x1 48 relu; group_norm 3; group_norm 16", 1, 300))
    for size in ((1, 1), (1, 300), (3, 2), (17, 16), (300, 300)):
        held(network, model, [drawn((1, 3, *size))], 2e-5)
