"""The arena of a module for a range: no two that are in use at one step overlap, at any size."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from cnncc.base.dim import Symbol, value_at
from cnncc.frontends import sources
from cnncc.machines import targets
from cnncc.module.cpu.ranged_memory import Resident, stacked
from cnncc.module.cpu.ranged_program import lower_ranged
from cnncc.module.lower import lower
from cnncc.options import Options

H, W = Symbol(0, "h", 8, 64, 8), Symbol(1, "w", 8, 64, 8)
SIZES = [{H: i, W: j} for i, j in product((0, 1, 4, 7), (0, 2, 7))]


@st.composite
def tenants(draw: st.DrawFn) -> Resident:
    first = draw(st.integers(0, 8))
    of_image = draw(st.integers(0, 9)) * H.extent * W.extent // draw(st.sampled_from((1, 4, 16)))
    size = of_image + draw(st.integers(0, 9)) * W.extent + draw(st.integers(0, 500))
    return Resident(first, draw(st.integers(first, 9)), size)


@given(st.lists(tenants(), max_size=12))
def test_nothing_overlaps(some: list[Resident]) -> None:
    starts, stops = stacked(some)
    for at in SIZES:
        begin, end = ([value_at(x, at) for x in numbers] for numbers in (starts, stops))
        assert all(end[i] - begin[i] == value_at(t.bytes, at) for i, t in enumerate(some))
        for i, j in combinations(range(len(some)), 2):
            together = some[i].first <= some[j].last and some[j].first <= some[i].last
            empty = begin[i] == end[i] or begin[j] == end[j]
            assert not together or empty or end[i] <= begin[j] or end[j] <= begin[i]


def test_the_arena_is_about_that_of_a_module_for_the_size() -> None:
    """But for the smallest sizes, for which a module of their own would take kernels with less scratch."""
    text = "net r\ninput 3 x h x w where h in 64..320 step 32, w in 64..320 step 32\n" + BODY
    network = sources.read_source(text, None, 0)
    assert network.ranged is not None
    target, options = targets.load("x86-64-v3"), Options(threads=2)
    program = lower_ranged(network.ranged, target, options)
    for steps, most in ((0, 0), 1.3), ((1, 1), 1.01), ((2, 2), 1.01), ((3, 8), 1.01), ((8, 8), 1.01):
        at = dict(zip(program.symbols, steps, strict=True))
        alone = lower(network.ranged.graph(at), target, options)
        assert value_at(program.arena_bytes_for(1), at) <= most * alone.arena_bytes


BODY = """conv 7x7 64 /2 relu
maxpool 3x3 /2 pad 1
add { conv 3x3 64 relu; conv 3x3 64 | } relu
add { conv 3x3 128 /2 relu; conv 3x3 128 | conv 1x1 128 /2 } relu
concat { conv 1x1 32 | conv 3x3 64 | maxpool 3x3 pad 1; conv 1x1 32 }
gap; fc 10
"""
