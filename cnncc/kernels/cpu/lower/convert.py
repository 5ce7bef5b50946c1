"""The kernel between element types. What it computes is that of `cnncc.ops.quantize`, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.dim import Dim
from cnncc.base.elements import ELEMENTS, INT32, Element
from cnncc.kernels.cpu.convert import ConvertConfig
from cnncc.kernels.cpu.lower.moves import copy_numbers, vector_runs
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled, splat, vector_type

BELOW_2_31 = 2147483520.0
"""The largest float32 that is an int32."""


def lower(config: ConvertConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is some numbers that follow each other."""
    return _Convert(config).build(symbol)


class _Convert:
    def __init__(self, config: ConvertConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.source = k.operand("source", c.count, ELEMENTS[c.source])
        steps = k.operand("steps", 4) if c.what in ("quantize", "dequantize") else None
        self.result = k.operand("result", c.count, ELEMENTS[c.target])
        self.steps: Buffer | None = steps

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        whole, rest = c.count // c.part, c.count % c.part
        with k.units() as u:
            first = k.let(u * c.part)
            if isinstance(c.count, Dim):
                self.part(first, k.let(vmin(c.part, c.count - first)))
            elif not rest:
                self.part(first, c.part)
            elif not whole:
                self.part(first, rest)
            else:
                with k.when(u < whole):
                    self.part(first, c.part)
                with k.otherwise():
                    self.part(first, rest)
        return k.finish(symbol)

    def part(self, first: Expr, count: Expr) -> None:
        """So many numbers from one on."""
        k, c = self.k, self.c
        if c.what == "move":
            copy_numbers(k, self.source, first, self.result, first, count)
            return
        steps = [] if self.steps is None else [k.let(self.steps.load(i)) for i in range(4)]
        for lanes, start, runs in vector_runs(count, (c.lanes, 1)):
            with k.loop(runs) as i:
                at = k.let(first + i * lanes + start)
                value = k.let(self.source.load(at, lanes))
                self.result.store(at, self.converted(value, steps, lanes), lanes)

    def converted(self, value: Expr, steps: list[Expr], lanes: int) -> Expr:
        """The numbers as they are stored."""
        wide = [splat(step, lanes) for step in steps]
        if self.c.what == "quantize":
            return quantized(self.k, value, wide, self.result.kind, lanes)
        if self.c.what == "dequantize":
            scale, zero, *_ = wide
            return self.k.let(as_type("float32", value, lanes) - zero) * scale
        return cast(self.k, value, self.source.kind, self.result.kind, lanes)


def as_type(dtype: str, value: Expr, lanes: int) -> Expr:
    """The value in another of TVM's types."""
    return tirx.Cast(vector_type(dtype, lanes), value)


def quantized(k: KernelBuilder, value: Expr, steps: list[Expr], kind: Element, lanes: int) -> Expr:
    """clamp(round(x / scale) + zero), ties to even. `steps` are vectors: scale, zero, the least and the largest number
    before the zero is added."""
    scale, *rest = steps
    return saturated(k, k.let(value / scale), rest, kind, lanes)


def saturated(k: KernelBuilder, value: Expr, steps: list[Expr], kind: Element, lanes: int) -> Expr:
    """clamp(round(v) + zero), ties to even; NaN becomes the zero. `steps` are zero, least and largest as above."""
    zero, low, high = steps
    rounded = k.let(tirx.nearbyint(value))
    known = k.let(tirx.Select(tirx.isnan(rounded), splat(0.0, lanes), rounded))
    inside = k.let(vmin(high, k.let(vmax(low, known))))
    return as_type(kind.tir, as_type("int32", k.let(inside + zero), lanes), lanes)


def cast(k: KernelBuilder, value: Expr, source: Element, target: Element, lanes: int) -> Expr:
    """The numbers of one type in another; halves are float32 here."""
    if not target.whole:
        return k.let(as_type("float32", value, lanes) if source.whole else value)
    if source.whole:
        return as_type(target.tir, _bounded(k, k.let(as_type("int32", value, lanes)), target, lanes), lanes)
    cut = k.let(tirx.trunc(value))
    known = k.let(tirx.Select(tirx.isnan(cut), splat(0.0, lanes), cut))
    most = BELOW_2_31 if target == INT32 else target.most
    inside = k.let(vmin(splat(float(most), lanes), k.let(vmax(splat(float(target.least), lanes), known))))
    found = k.let(as_type("int32", inside, lanes))
    if target == INT32:  # what lies above the largest float32 below 2^31 is the largest int32
        return tirx.Select(known > splat(BELOW_2_31, lanes), filled(target.most, lanes, INT32), found)
    return as_type(target.tir, found, lanes)


def _bounded(k: KernelBuilder, value: Expr, target: Element, lanes: int) -> Expr:
    """int32 within what another type has."""
    if target == INT32:
        return value
    least, most = (filled(bound, lanes, INT32) for bound in (target.least, target.most))
    return k.let(tirx.min(most, k.let(tirx.max(least, value))))


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"convert": lower}
"""Family of a kernel -> its lowering."""
