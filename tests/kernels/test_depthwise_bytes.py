"""Depthwise convolutions on bytes: rows come and go in a ring, and every byte is that of the definition."""

from __future__ import annotations

import pytest
from kernels.compare import RUNNABLE
from kernels.test_convert_kernels import arms, same

BEFORE = "quantize uint8 0.03 117; qconv 1x1 40 to uint8 scale 0.05 zero 100"
SHAPES = {
    "one tap": "1x1 40 /2",
    "rows that nobody reads": "2x2 40 /3",
    "dilated": "3x3 40 /2 dil 3",
    "a column": "5x1 40 /4x1",
    "a stride longer than the kernel": "3x5 40 /5x2 pad 1,2,2,1",
    "many rows": "7x7 40",
    "more padding than image": "3x3 40 pad 9",
}


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("dims", ["20x17x23", "20x4x7", "20x1x1"])
def test_every_byte_is_that_of_the_definition(target, dims) -> None:
    small = ("many rows", "more padding than image")
    shapes = SHAPES if dims.endswith("23") else {name: SHAPES[name] for name in small}
    body = (f"{BEFORE}; qconv {shape} groups 40 to int8 scale 0.05 zero -3" for shape in shapes.values())
    same(arms(body, dims), target=target)
