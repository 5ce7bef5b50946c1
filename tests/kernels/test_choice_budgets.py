"""The choice of kernels looks at a bounded number of candidates, however large images, channels and groups are."""

from __future__ import annotations

import pytest

from cnncc import lang
from cnncc.base.divisors import divisors, even_cuts, spread
from cnncc.kernels.cpu import conv_choice, winograd_choice
from cnncc.kernels.shared.convolution import merged_groups
from cnncc.machines import targets
from cnncc.module.lower import lower

LARGE = {
    "wide and high": ("3x16384x16384", "conv 3x3 3; conv 3x3 12 /2; maxpool 3x3 /2; conv 1x1 8"),
    "one row": ("4x1x16000000", "conv 1x7 16; conv 1x3 16; avgpool 1x2 /2"),
    "one column": ("4x8000000x1", "conv 7x1 16; conv 3x3 16; upconv 2x1 8 /2x1"),
    "channels": ("8192x7x7", "conv 1x1 8192; conv 3x3 8192; conv 3x3 8192 groups 64; gap; fc 8192"),
    "more channels": ("1000000x1x1", "relu; dwconv 3x3; gap; fc 16"),
    "kernels": ("64x56x56", "dwconv 31x31; conv 31x31 64; conv 31x31 64 dil 3; upconv 31x31 32 /8"),
    "groups": ("10000x14x14", "conv 3x3 10000 groups 10000; conv 3x3 20000 groups 5000; conv 1x1 10000 groups 16"),
}
MOST = 40_000
"""Candidates of the networks above, all layers together."""


@pytest.mark.parametrize("name", LARGE)
def test_candidates_are_few(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def counted(cost):
        def count(*args):
            nonlocal looked_at
            looked_at += 1
            return cost(*args)

        return count

    monkeypatch.setattr(conv_choice, "_unit_cost", counted(conv_choice._unit_cost))
    monkeypatch.setattr(winograd_choice, "_cycles", counted(winograd_choice._cycles))
    dims, ops = LARGE[name]
    lower(lang.parse(f"net large\ninput {dims}\n" + ops.replace("; ", "\n")), targets.load("x86-64-v3"))
    assert looked_at <= MOST


@pytest.mark.parametrize("number", [*range(1, 130), 2310, 1 << 20])
def test_divisors_and_cuts(number: int) -> None:
    some = range(1, min(number, 5000) + 1)
    assert [d for d in divisors(number) if d in some] == [d for d in some if number % d == 0]
    cuts = {-(-number // n) for n in some}
    assert cuts <= set(even_cuts(number))
    assert all(-(-number // -(-number // c)) == c for c in even_cuts(number))


def test_spread() -> None:
    assert spread([1, 2, 3], 3) == [1, 2, 3]
    assert spread(range(100), 4) == [0, 33, 66, 99]


@pytest.mark.parametrize(
    ("groups", "channels", "out", "merged"), [(32, 64, 64, 4), (32, 64, 32, 8), (9, 18, 18, 9), (4, 32, 32, 1)]
)
def test_merged_groups(groups: int, channels: int, out: int, merged: int) -> None:
    assert merged_groups(groups, channels, out, 8) == merged
