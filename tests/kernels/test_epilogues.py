"""Costly epilogues, which loop over the vectors of a tile, of each op that has them: what the reference computes."""

from __future__ import annotations

import pytest
from kernels.compare import RUNNABLE, network, worst_error

PRODUCERS = {
    "gemm": "conv 1x1 33",
    "direct": "conv 3x3 31 /2",
    "groups": "conv 3x3 40 groups 4",
    "winograd": "conv 3x3 48",
    "transposed": "upconv 3x3 17 /2 outpad 1",
    "depthwise": "dwconv 3x3",
    "wide": "dwconv 7x7 /2 dil 2",
}
POST_OPS = "softplus; gelu; clip low -2 high 2; hard_swish; silu"


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_producers_of_images(producer: str, target: str) -> None:
    assert worst_error(network(f"{PRODUCERS[producer]}; {POST_OPS}"), target) <= 4e-6


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("width", [7, 16, 31, 33])
def test_fc_with_a_last_vector_that_is_not_full(width: int, batch: int) -> None:
    graph = network(f"flatten; fc {width}; save kept; fc {width} tanh; add {{ | from kept }}; {POST_OPS}", "5x3x3")
    assert worst_error(graph, batch=batch) <= 4e-6


@pytest.mark.parametrize("op", ["add", "mul", "max", "min"])
def test_merges_and_bn(op: str) -> None:
    graph = network(f"{op} {{ | tanh }}; {POST_OPS}\nmaxpool 2x2; bn; {POST_OPS}")
    assert worst_error(graph) <= 4e-6


@pytest.mark.parametrize("producer", ["conv 3x3 20", "conv 1x1 20", "dwconv 3x3", "conv 5x5 20 pad 2"])
def test_an_add_between_costly_post_ops(producer: str) -> None:
    graph = network(f"save kept; relu; {producer} silu; add {{ | from kept }}; gelu; elu")
    assert worst_error(graph, batch=2) <= 4e-6
