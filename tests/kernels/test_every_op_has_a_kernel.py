"""The op table and the kernels agree: a new op is not forgotten by either."""

from __future__ import annotations

import pytest
from every_op import MADE, full_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncc.kernels.cpu.lower import LOWER
from cnncc.kernels.cpu.rules import select
from cnncc.kernels.cpu.site import CpuSite
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.ops import TABLE
from cnncc.options import DEFAULT
from tests.passes.pass_helpers import image


@pytest.mark.parametrize("op", sorted(MADE & TABLE.keys()))
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_each_op_has_rules_and_code(op: str, data: st.DataObject) -> None:
    """Whatever its attributes."""
    graph = data.draw(full_graphs([op]))
    program = lower(graph, targets.load("x86-64-v3"))
    assert {k.family for k in program.kernels} <= LOWER.keys()


def test_an_op_without_a_rule_is_noticed() -> None:
    graph = image().conv("a", "x", 8).graph("a")
    strange = graph["a"].with_(op="strange")
    with pytest.raises(AssertionError, match="no kernel rule for strange"):
        select(CpuSite(graph, strange, targets.load("x86-64-v3"), DEFAULT))
