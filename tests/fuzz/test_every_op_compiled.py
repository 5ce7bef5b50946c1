"""Random graphs over every op of the table, with random epilogues, compiled and run."""

from __future__ import annotations

import pytest
from every_op import LATE, MADE, full_graphs
from fuzz.compiled import hold
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc.ops import TABLE

OPS = sorted(MADE & TABLE.keys())
IN_ONE = 6
"""Ops of a graph."""


def test_every_op_is_made() -> None:
    missing, gone = TABLE.keys() - MADE - LATE, (MADE | LATE) - TABLE.keys()
    assert not missing, f"describe how to make random nodes of {sorted(missing)} in tests/every_op.py"
    assert not gone, f"tests/every_op.py makes {sorted(gone)}, which the table does not have"


@pytest.mark.parametrize("first", range(0, len(OPS), IN_ONE))
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_each_op_compiled(first: int, data: st.DataObject) -> None:
    """The op in the middle of a graph, whatever the others give it to read."""
    hold(data.draw(full_graphs(OPS[first : first + IN_ONE])))
