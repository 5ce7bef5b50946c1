"""Transposed convolutions on bytes: every byte is that of the definition, on each unit that this machine has."""

from __future__ import annotations

import pytest
from kernels.compare import RUNNABLE
from kernels.test_convert_kernels import arms, same

TO = "to uint8 scale 0.05 zero 30"
SHAPES = {
    "as large as its stride": f"qupconv 2x2 24 /2 {TO}",
    "overlapping": f"qupconv 3x3 20 /2 pad 1 outpad 1 {TO} relu",
    "in groups, dilated": "qupconv 4x3 40 /3x2 pad 1,0,2,1 dil 2 groups 4 to int8 scale 0.05 zero -3",
    "a stride that taps do not fill": f"qupconv 2x2 7 /3 nobias {TO}",
    "depthwise": f"qupconv 4x4 20 /2 pad 1 groups 20 {TO}",
    "of one pixel": f"qupconv 1x1 33 {TO} relu6",
    "to numbers": "qupconv 3x2 17 /2x1",
    "with a sum": f"qconv 1x1 20 {TO}; save r; qupconv {{ | from r; }} 3x3 20 pad 1 to int8 scale 0.1 zero 3",
}


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("dims", ["20x5x7", "20x1x16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_byte_is_that_of_the_definition(target, dims, shape) -> None:
    """Of planes, of blocks behind another layer, and of signed bytes."""
    body = SHAPES[shape]
    before = ("quantize uint8 0.03 117", "quantize int8 0.03 -20", f"quantize uint8 0.03 9; qconv 1x1 20 {TO}")
    same(arms((f"{first}; {body.replace('r;', f'r{i};')}" for i, first in enumerate(before)), dims), target=target)
