"""The kernel of an input: mean and std, and bytes or halves of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim
from cnncc.base.elements import ELEMENTS
from cnncc.kernels.cpu.lower.convert import quantized
from cnncc.kernels.cpu.lower.dots import apart
from cnncc.kernels.cpu.lower.moves import vector_runs
from cnncc.kernels.cpu.normalize import NormalizeConfig
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import KernelBuilder, splat, vector_type


def lower(c: NormalizeConfig, symbol: str) -> PrimFunc:
    """x scale + shift with one scale and shift per plane, and bytes or halves of that; a unit is a part of the pixels
    of one channel."""
    k = KernelBuilder()
    source = k.operand("source", c.channels * c.pixels, ELEMENTS[c.element])
    scale, shift = k.operand("scale", c.channels), k.operand("shift", c.channels)
    steps = [k.operand("steps", 4)] if ELEMENTS[c.result].whole else []
    result = k.operand("result", c.channels * c.pixels, ELEMENTS[c.result])
    with k.units() as u:
        channel = k.let(u // c.parts)
        a, b = k.let(scale.load(channel)), k.let(shift.load(channel))
        known = [k.let(numbers.load(i)) for numbers in steps for i in range(4)]
        if isinstance(c.pixels, Dim):
            begin = k.let(u % c.parts * c.size)
            first, count = k.let(channel * c.pixels + begin), k.let(vmin(c.size, vmax(c.pixels - begin, 0)))
        else:
            first, count = k.let(u * c.size), c.size
        for lanes, start, runs in vector_runs(count, (c.lanes, 1)):
            with k.loop(runs) as i:
                at = first + i * lanes + start
                given = source.load(at, lanes)
                value = k.let(tirx.Cast(vector_type("float32", lanes), given)) if source.kind.whole else given
                made = k.let(apart(k.let(value * splat(a, lanes)), lanes) + splat(b, lanes))
                if known:
                    made = quantized(k, made, [splat(step, lanes) for step in known], result.kind, lanes)
                result.store(at, made, lanes)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"normalize": lower}
"""Family of a kernel -> its lowering."""
