"""Random graphs compiled for a range of sizes, bit by bit those that are compiled for each size."""

from __future__ import annotations

import pytest
from every_op import MADE, graph_of
from fuzz.ranged import hold_range, ranged_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc.base.errors import CnnccError
from cnncc.kernels.cpu.rules import RANGES

OPS = sorted(op for op in MADE if RANGES.get(op) or op == "fc")
IN_ONE = 3
"""Ops of a graph."""


@pytest.mark.parametrize("first", range(0, len(OPS), 2 * IN_ONE))
@settings(
    max_examples=1, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_any_size_is_as_its_own_module(first: int, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(OPS[first : first + 2 * IN_ONE]), min_size=1, max_size=IN_ONE))
    network = ranged_of(graph_of(data.draw, chosen, 2))
    if network is None:
        return
    try:
        hold_range(network)
    except CnnccError as error:  # a rule that one of the sizes breaks, or an op whose kernels are for one size
        assert error.message  # noqa: PT017


def test_most_graphs_are_compared() -> None:
    """Were all refused, the test above could not fail."""
    compared = 0

    @settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(st.data())
    def one(data: st.DataObject) -> None:
        nonlocal compared
        network = ranged_of(graph_of(data.draw, [data.draw(st.sampled_from(("conv", "maxpool", "add", "gap")))], 1))
        try:
            compared += network is not None and hold_range(network) > 0
        except CnnccError:
            return

    one()
    assert compared >= 2
