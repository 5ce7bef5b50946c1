"""The packing of records with lifetimes into one arena."""

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from plan.bounds import live_bound

from cnncc.plan.pack_records import PackSearch, pack, pack_outlines, with_guests
from cnncc.plan.pieces import Outline, Piece, Record, live_bytes, outline_of, outlined

UNIT = [(0, 1, 32), (1, 4, 28), (2, 5, 36), (3, 5, 16), (4, 5, 8), (5, 7, 64), (6, 8, 10), (7, 8, 40)]
"""First step, last step, size. The best packing takes 124; with memory of its own for each it is 234."""


def check(records: list[Record], align: int = 1) -> int:
    offsets, total = pack(records, align)
    assert total >= live_bound(records, align)
    assert all(offset % align == 0 and offset + r[2] <= total for offset, r in zip(offsets, records, strict=True))
    for (a, r), (b, s) in itertools.combinations(zip(offsets, records, strict=True), 2):
        apart_in_time = r[1] < s[0] or s[1] < r[0]
        assert apart_in_time or a + r[2] <= b or b + s[2] <= a
    return total


def test_the_unit_case_reaches_the_optimum() -> None:
    assert sum(size for _, _, size in UNIT) == 234
    assert live_bound(UNIT) == 124
    assert check(UNIT) == 124


def test_nothing_to_pack() -> None:
    assert pack([]) == ((), 0)
    assert live_bound([]) == 0
    search = PackSearch([])
    search.greedy()
    assert search.bytes == 0  # a byte more, and the counters behind the arena are misaligned


def test_alignment() -> None:
    assert check([(0, 1, 1), (1, 2, 65)], 64) == 192
    assert check([(0, 0, 1), (1, 2, 65)], 64) == 128


def test_a_case_that_every_fixed_order_misses() -> None:
    """No fixed order gets below 19; the local search finds the bound."""
    records = [(2, 4, 7), (3, 6, 2), (2, 2, 4), (3, 4, 7), (2, 5, 2), (0, 0, 4), (1, 2, 4)]
    search = PackSearch([outline_of(r) for r in records])
    search.greedy()
    assert search.reached == (19, 19)
    assert check(records) == live_bound(records) == 18


def test_deterministic_and_no_more_than_the_effort() -> None:
    rng = random.Random(7)
    records = [(i, min(999, i + rng.randrange(60)), rng.randrange(1, 10_000)) for i in range(1000)]
    tried = [PackSearch([outline_of(r, 64) for r in records], effort=300_000) for _ in range(2)]
    for search in tried:
        search.greedy()
        search.improve()
        assert search.effort > -sum(map(len, search.forbidden)) - len(records), "one attempt beyond at most"
    assert tried[0].offsets == tried[1].offsets


def test_an_outline_is_packed_around_what_it_does_not_use_yet() -> None:
    """The upper half of the first is written at step 2: until then the second, too, fits under it."""
    late = (Piece(0, 4, 0, 3), Piece(4, 8, 2, 3))
    assert pack_outlines([late, outline_of((0, 1, 4))]) == ((0, 4), 8)
    assert pack_outlines([outline_of((0, 3, 8)), outline_of((0, 1, 4))])[1] == 12


def test_outline() -> None:
    """Units of 4 bytes are in use from the first write to the last read of any byte in them."""
    assert outlined([Piece(0, 6, 1, 2), Piece(6, 8, 3, 5)], 4) == (Piece(0, 4, 1, 2), Piece(4, 8, 1, 5))
    assert outlined([Piece(0, 4, 1, 2), Piece(4, 8, 1, 2)], 4) == (Piece(0, 8, 1, 2),)
    assert outlined([Piece(0, 4, 1, 2), Piece(8, 12, 1, 2)], 4) == (Piece(0, 4, 1, 2), Piece(8, 12, 1, 2))


def test_guests_choose_among_equal_packings() -> None:
    """Two records leave a hole above or below the one that stays; the guest needs it in one piece."""
    records = [(0, 0, 4), (0, 1, 2), (0, 0, 2)]
    guest = outline_of((1, 1, 6))
    offsets, total = pack_outlines([outline_of(r) for r in records], [guest])
    assert total == 8
    assert offsets[1] in (0, 6)


def test_an_outline_moves_past_hundreds_of_others() -> None:
    """Three stages of a residual network: a shortcut each, and small values by the hundred beside it. The kernel where
    the last stage begins (the guest) finds room if the first shortcut lies above its many neighbours."""
    records: list[Record] = [(1, 404, 8), (403, 805, 4), (804, 1204, 2), (402, 403, 4), (803, 804, 2)]
    records += [(t, t + 1, 8) for t in range(2, 402, 2)]
    records += [(t, t + 1, 4) for t in range(405, 803, 2)]
    records += [(t, t + 1, 2) for t in range(806, 1204, 2)]
    guests = [outline_of((t, t, 10)) for t in range(2, 402)] + [outline_of((804, 804, 16))]
    outlines = [outline_of(r) for r in records]
    search = PackSearch(outlines, effort=100_000)
    search.greedy()
    search.improve()
    joint = with_guests(outlines, search.order, guests, 100_000)
    assert joint.reached == (16, 28)
    joint.improve()
    assert joint.reached == joint.bound == (16, 26)


lives = st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(1, 40)).map(lambda r: (r[0], r[0] + r[1], r[2]))


@settings(max_examples=60, deadline=None)
@given(st.lists(lives, max_size=14), st.sampled_from([1, 8]))
def test_random_records(records: list[Record], align: int) -> None:
    check(records, align)


@st.composite
def outlines(draw: st.DrawFn) -> Outline:
    """Pieces one after the other, sometimes with a gap, each with its own life."""
    pieces, start = [], 0
    for _ in range(draw(st.integers(1, 3))):
        start += draw(st.integers(0, 3))
        size, first, length = draw(st.integers(1, 9)), draw(st.integers(0, 9)), draw(st.integers(0, 5))
        pieces.append(Piece(start, start + size, first, first + length))
        start += size
    return tuple(pieces)


@settings(max_examples=40, deadline=None)
@given(st.lists(outlines(), max_size=9), st.lists(lives.map(outline_of), max_size=4))
def test_random_outlines(some: list[Outline], guests: list[Outline]) -> None:
    """Nothing overlaps in time and address, the bound holds, and a second run gives the same."""
    offsets, total = pack_outlines(some, guests, 1000)
    assert total >= max(live_bytes(some).values(), default=0)
    placed = [(o + p.start, o + p.stop, p) for o, s in zip(offsets, some, strict=True) for p in s]
    owners = [i for i, s in enumerate(some) for _ in s]
    for ((a, b, p), i), ((c, d, q), j) in itertools.combinations(zip(placed, owners, strict=True), 2):
        assert i == j or p.last < q.first or q.last < p.first or b <= c or d <= a
    assert all(o >= 0 for o in offsets)
    assert total == max((stop for _, stop, _ in placed), default=0)
    assert pack_outlines(some, guests, 1000) == (offsets, total)
