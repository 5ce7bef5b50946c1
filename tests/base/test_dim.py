"""Expressions of sizes: what they are at each size, what comparisons say of all sizes, and how they are found."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.base.dim import (
    Dim,
    Extent,
    Symbol,
    Undecided,
    above,
    fitted,
    largest,
    least_of,
    most_of,
    smallest,
    symbols_of,
    typical,
    value_at,
    values_of,
)

H, W = Symbol(0, "h", 32, 96, 32), Symbol(1, "w", 9, 40)


def steps() -> list[dict[Symbol, int]]:
    return [{H: i, W: j} for i, j in product(range(H.count), range(W.count))]


@st.composite
def extents(draw: st.DrawFn, depth: int = 3) -> Extent:
    if depth == 0 or draw(st.booleans()):
        return draw(st.one_of(st.integers(-9, 40), st.sampled_from((H.extent, W.extent))))
    a, b = draw(extents(depth - 1)), draw(extents(depth - 1))
    number = draw(st.integers(1, 7))
    forms = (a + b, a - b, a * number, -a, a // number, a % number, largest(a, b), smallest(a, b))
    return draw(st.sampled_from(forms))


@given(extents(), extents(), st.integers(1, 9))
def test_arithmetic_is_that_of_numbers(a: Extent, b: Extent, number: int) -> None:
    made = (a + b, a - b, a * b, a // number, a % number, largest(a, b), smallest(a, b), 3 - a)
    for at in steps():
        x, y = value_at(a, at), value_at(b, at)
        wanted = (x + y, x - y, x * y, x // number, x % number, max(x, y), min(x, y), 3 - x)
        assert tuple(value_at(m, at) for m in made) == wanted


@given(extents(), extents())
def test_comparisons_are_of_all_sizes(a: Extent, b: Extent) -> None:
    pairs = [(value_at(a, at), value_at(b, at)) for at in steps()]
    assert (a == b) == all(x == y for x, y in pairs)
    assert above(a, b) == any(x > y for x, y in pairs)
    told = {x < y for x, y in pairs}
    if len(told) == 1:
        assert bool(a < b) == told.pop()
    else:
        with pytest.raises(Undecided):
            bool(a < b)


@given(extents())
def test_bounds_and_values(a: Extent) -> None:
    values = {value_at(a, at) for at in steps()}
    assert least_of(a) == min(values)
    assert most_of(a) == max(values)
    assert set(values_of(a)) == values
    assert typical(a) == value_at(a, {H: H.middle, W: W.middle})


def test_what_equals_a_number_is_one() -> None:
    assert type(H.extent - H.extent) is int
    assert type(H.extent % 32) is int
    assert str(H.extent // 32 * 32) == "h"


def test_a_quotient_of_a_quotient_is_one_quotient() -> None:
    halved = (W.extent - 1) // 2 + 1
    assert (halved - 1) // 2 + 1 == (W.extent - 1) // 4 + 1
    assert hash((halved - 1) // 2 + 1) == hash((W.extent - 1) // 4 + 1)


@given(st.integers(0, 40), st.integers(-20, 40), st.integers(1, 32), st.integers(1, 4), st.integers(-5, 5))
def test_fitted(rise: int, start: int, divisor: int, times: int, added: int) -> None:
    values = {k: (rise * k + start) // divisor * times + added for k in range(80)}
    symbol = Symbol(0, "h", 1, 80)
    found = fitted(symbol, values)
    assert found is not None
    assert all(value_at(found, {symbol: k}) == value for k, value in values.items())


def test_what_is_no_such_line_is_not_fitted() -> None:
    assert fitted(Symbol(0, "h", 1, 40), {k: k * k for k in range(40)}) is None


def test_symbols_in_a_tree() -> None:
    assert symbols_of(((1, H.extent), [W.extent + 1])) == (H, W)


def test_a_large_range_is_decided_by_what_it_is_made_of() -> None:
    h, w = Symbol(0, "h", 1, 100_000).extent, Symbol(1, "w", 1, 100_000).extent
    assert 3 * h * w + h > h * w
    assert isinstance(largest(h * w, 4 * h * w), Dim)
    with pytest.raises(Undecided):
        bool(h * w > 7 * h)
    assert np.array_equal(H.extent.values, [32, 64, 96])


def test_kernels_are_told_apart_by_the_place_of_a_size() -> None:
    """They read it by its place among the sizes of the network."""
    assert repr(Symbol(0, "w", 8, 64).extent) != repr(Symbol(1, "w", 8, 64).extent)


def test_expressions_within_expressions_are_quick() -> None:
    h, w = Symbol(0, "h", 1, 5000).extent, Symbol(1, "w", 1, 5000).extent
    top = 0
    for i in range(24):
        top = largest(top + h * w * (i % 3), top + 700 * h + i)
    assert value_at(top, {H: 0, **dict.fromkeys(symbols_of(top), 10)}) > 0
