"""Axes of values after moves in a row, against the moves themselves."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from cnncc import ops
from cnncc.ir import Node
from cnncc.ir.types import TensorType
from cnncc.ops.reference import through
from cnncc.ops.strides import Strides, whole

SHAPE = (6, 4, 4)


def move(rng: random.Random, shape: tuple[int, ...]) -> Node:
    """Any move of an image of that shape."""
    count = math.prod(shape)
    image = rng.choice(
        [d for d in ((6, 4, 4), (4, 6, 4), (2, 3, 8), (12, 2, 4), (1, 8, 3), shape) if math.prod(d) == count]
    )
    split = rng.choice([image, (*image[:2], *([2, image[2] // 2] if image[2] % 2 == 0 else [image[2]]))])
    axes = tuple(rng.sample(range(len(split)), len(split)))
    starts = tuple(rng.randrange(size) for size in shape)
    steps = tuple(rng.choice((-1, 1, 2)) for _ in shape)
    dims = tuple(
        rng.randint(1, len(range(a, n if s > 0 else -1, s))) for a, n, s in zip(starts, shape, steps, strict=True)
    )
    op, attrs = rng.choice(
        [
            ("reshape", {"dims": image}),
            ("permute", {"split": split, "axes": axes, "dims": image}),
            ("strided_slice", {"dims": dims, "start": starts, "step": steps}),
            ("slice", {"start": starts[0], "stop": shape[0]}),
        ]
    )
    full = ops.complete(op, attrs)
    return Node("m", op, ("x",), TensorType(ops.infer(op, ((1, *shape),), full)), full)


def values(found: Strides) -> np.ndarray:
    grid = np.indices(found.sizes).reshape(len(found.sizes), math.prod(found.sizes))
    return found.start + np.array(found.steps, int) @ grid


@pytest.mark.parametrize("seed", range(300))
def test_moves_in_a_row(seed: int) -> None:
    rng = random.Random(seed)
    moves: list[Node] = []
    found: Strides | None = whole(SHAPE)
    while found is not None and len(moves) < 5:
        step = move(rng, moves[-1].type.shape[1:] if moves else SHAPE)
        moves.append(step)
        found = found.after(step.op, step.attrs)
        seen = through(np.arange(math.prod(SHAPE)).reshape(1, *SHAPE), moves).ravel()
        if found is None:
            continue
        assert np.array_equal(values(found), seen)
        assert np.array_equal(values(found.joined()), seen)
        block = found.block()
        dense = sorted(seen) == list(range(found.start, found.start + seen.size))
        assert (block is not None) == (dense and min(found.joined().steps, default=1) > 0)
        if block:
            order = np.arange(seen.size).reshape(block[0]).transpose(block[1]).ravel()
            assert np.array_equal(found.start + order, seen)


def test_what_axes_do_not_say() -> None:
    assert whole((4, 6)).turned((1, 0)).seen((8, 3)) is None
    assert whole((4, 6)).after("relu", {}) is None
    assert whole((4, 6)).seen((2, 12)) == Strides(0, (2, 12), (12, 1))
