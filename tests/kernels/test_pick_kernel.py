"""Channels moved in blocks, against the reference, on counts around the blocks."""

from __future__ import annotations

import random

import pytest
from kernels.compare import RUNNABLE, network, worst_error

from cnncc import api
from cnncc.options import Options

CHANNELS = (1, 7, 16, 17, 31)


def kernels(body: str, dims: str) -> dict[str, str]:
    """The kernel and the reason for it, of each node."""
    program = api.program(network(body, dims), Options(("x86-64-v3",)))
    return {name: f"{s.calls[0].kernel.family}: {s.why}" for name, s in program.selections.items()}


@pytest.mark.parametrize("channels", CHANNELS)
def test_ragged_slices_and_concats(channels: int) -> None:
    total = 2 * channels + 5
    body = f"concat {{ conv 1x1 {channels} | conv 1x1 5 | conv 1x1 {channels} relu }}\n"
    body += f"concat {{ slice {channels}:{total} | slice 1:{total} }}; relu"
    assert worst_error(network(body, "3x5x7")) <= 1e-6


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("groups", [2, 5, 16])
def test_shuffles(groups: int, target: str) -> None:
    """With few groups vectors are put together, with many their numbers are moved."""
    body = f"conv 1x1 {groups * 12}\nshuffle {groups}\nrelu\nslice 3:{groups * 9}\nconv 1x1 4"
    assert worst_error(network(body, "3x9x31"), target) <= 1e-6


def test_images_of_a_batch_and_constants() -> None:
    body = "concat { take 2,0,1 | const 5x9x13 | slice 3:20; shuffle 17 }\nshuffle 5; relu"
    assert worst_error(network(body), batch=3) <= 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_moves_in_a_row(seed: int) -> None:
    """Slices of shuffles of concats, with convolutions between them."""
    rng = random.Random(seed)
    total, lines = 20, []
    for _ in range(rng.randint(2, 5)):
        kept, made = rng.randint(1, total), rng.randint(1, 40)
        lines.append(f"concat {{ slice {total - kept}:{total} | slice 0:{kept}; conv 1x1 {made} relu }}")
        total = kept + made
        groups = rng.choice([g for g in range(1, total + 1) if total % g == 0])
        lines.append(f"shuffle {groups}")
    assert worst_error(network("\n".join([*lines, "conv 3x3 8"]))) <= 1e-5


def test_reasons() -> None:
    found = kernels(
        "a: conv 1x1 24\nb: slice 8:24\ne: relu\nc: concat { | conv 1x1 20 }\nd: shuffle 4\nrelu",
        "3x8x8",
    )
    assert found["b"] == "pick: channels that are no whole blocks of 16"
    assert found["d"] == "pick: channels of 2 values in another order"
    assert "c" not in found
    found = kernels("a: concat { conv 1x1 24 | conv 1x1 32 }\nb: relu", "3x8x8")
    assert found["a"] == "pick: 1 arms written in place, 1 copied: they are no whole blocks of 16"
    found = kernels("a: conv 1x1 32\nb: concat { | }\nrelu", "3x8x8")
    assert found["b"] == "copy: 0 arms written in place, 2 copied"
