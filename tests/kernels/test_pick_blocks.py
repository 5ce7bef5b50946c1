"""Blocks of a picked image that are made alike share their code, and no other."""

from __future__ import annotations

import random

import pytest

from cnncc.kernels.cpu.lower.pick_blocks import Block, Move, repeats
from cnncc.kernels.cpu.pick import KEPT, ZERO, PickConfig

BLOCK, LANES = 16, 8
SOURCES = (40, 24)


def config(places: list[tuple[int, int]]) -> PickConfig:
    return PickConfig(SOURCES, tuple(places), pixels=9, band=9, block=BLOCK, lanes=LANES)


def channels(made: Block, turn: int) -> list[tuple[int, int] | None]:
    """Where each number of a block comes from; None for those that lie there already."""
    found: list[tuple[int, int] | None] = []
    for move in made:
        found += [None] * LANES if move is None else numbers(move, turn)
    return found


def numbers(move: Move, turn: int) -> list[tuple[int, int] | None]:
    assert all(read.step % BLOCK == 0 for read in move.reads), "a step inside a block is no step in memory"
    reads = [(read.source, read.channel + turn * read.step) for read in move.reads]
    if not move.lanes:
        return [*reads]
    return [(reads[vector][0], reads[vector][1] + lane) for vector, lane in move.lanes]


def expected(places: list[tuple[int, int]]) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for at in range(0, len(places), LANES):
        own = places[at : at + LANES]
        if all(source == KEPT for source, _ in own):
            found += [None] * LANES
        else:
            found += [(len(SOURCES) if source == KEPT else source, channel) for source, channel in own]
    return found


def picked(rng: random.Random) -> list[tuple[int, int]]:
    """Slices, shuffles and kept channels after each other."""
    places: list[tuple[int, int]] = []
    while len(places) < 20 * BLOCK:
        source = rng.randrange(len(SOURCES))
        start, count = rng.randrange(200), rng.choice([5, 16, 40, 100, 160])
        groups = rng.choice([1, 1, 2, 4])
        kept = rng.random() < 0.2
        for i in range(count):
            channel = start + i % groups * (count // groups) + i // groups
            places.append((KEPT, len(places)) if kept else (source, channel))
    places = places[: 20 * BLOCK - 3]
    return [*places, *[(ZERO, 0)] * 3]


@pytest.mark.parametrize("seed", range(40))
def test_all_blocks_in_order(seed: int) -> None:
    places = picked(random.Random(seed))
    found: list[tuple[int, int] | None] = []
    for repeat in repeats(config(places)):
        assert repeat.first * BLOCK == len(found)
        for turn in range(repeat.times):
            for block in repeat.pattern:
                found += channels(block, turn)
    assert [n and (n if n[0] != ZERO else (ZERO, 0)) for n in found] == expected(places)


def test_a_slice_is_one_loop() -> None:
    loops = list(repeats(config([(0, 100 + i) for i in range(20 * BLOCK)])))
    assert [(r.first, len(r.pattern), r.times) for r in loops] == [(0, 1, 20)]


def test_a_shuffle_of_two_groups_is_one_loop() -> None:
    places = [(0, i % 2 * 10 * BLOCK + i // 2) for i in range(20 * BLOCK)]
    assert [(len(r.pattern), r.times) for r in repeats(config(places))] == [(2, 10)]


def test_a_concat_is_a_loop_for_each_arm() -> None:
    places = [*((KEPT, i) for i in range(5 * BLOCK)), *((1, 4 + i) for i in range(9 * BLOCK))]
    assert [(r.first, r.times) for r in repeats(config(places))] == [(0, 5), (5, 9)]
