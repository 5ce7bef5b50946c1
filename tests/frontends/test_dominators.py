"""Values on every way to a value, against NetworkX."""

from __future__ import annotations

import networkx
from hypothesis import given
from hypothesis import strategies as st

from cnncc.frontends.text.dominators import immediate_dominators, turned


@st.composite
def flows(draw: st.DrawFn) -> dict[str, list[str]]:
    """Values that each come after those they are computed from; some cannot be reached from the first."""
    size = draw(st.integers(2, 12))
    befores = [draw(st.lists(st.integers(0, i - 1), max_size=4)) if i else [] for i in range(size)]
    return {str(i): [str(before) for before in found] for i, found in enumerate(befores)}


@given(flows())
def test_as_networkx_finds_them(flow: dict[str, list[str]]) -> None:
    for ways in (flow, turned(flow)):
        first = next(iter(ways))
        graph = networkx.DiGraph((before, name) for name, found in ways.items() for before in found)
        graph.add_node(first)
        expected = networkx.immediate_dominators(graph, first)
        expected.pop(first, None)
        assert immediate_dominators(ways) == expected
