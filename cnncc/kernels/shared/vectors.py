"""Pointwise ops and merges of vectors, and epilogues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tvm import tirx

from cnncc.kernels.shared.arithmetic import clamp, exp, horner, log, vmax, vmin
from cnncc.kernels.shared.builder import Expr, KernelBuilder, splat
from cnncc.kernels.shared.functions import FUNCTIONS
from cnncc.kernels.shared.pairs import PAIRS
from cnncc.kernels.shared.spec import Epilogue
from cnncc.ops.combine import MERGES
from cnncc.ops.pointwise import RECORDS


class KernelVectors:
    """Formulas of pointwise ops and merges as code of a kernel; see `cnncc.ops.vectors.Vectors`."""

    def __init__(self, k: KernelBuilder, lanes: int) -> None:
        self._k = k
        self._lanes = lanes

    def number(self, value: float) -> Expr:
        return splat(value, self._lanes)

    def edge(self, value: float) -> Expr:
        return splat(value, self._lanes)

    def let(self, value: Expr) -> Expr:
        return self._k.let(value)

    def max(self, a: Expr, b: Expr) -> Expr:
        return vmax(a, b)

    def min(self, a: Expr, b: Expr) -> Expr:
        return vmin(a, b)

    def clamp(self, x: Expr, low: float, high: float) -> Expr:
        return clamp(self._k, x, low, high, self._lanes)

    def select(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        return tirx.Select(condition, yes, no)

    def is_nan(self, x: Expr) -> Expr:
        return tirx.isnan(x)

    def polynomial(self, x: Expr, coefficients: tuple[float, ...]) -> Expr:
        return horner(self._k, x, coefficients, self._lanes)

    def sqrt(self, x: Expr) -> Expr:
        return tirx.sqrt(x)

    def floor(self, x: Expr) -> Expr:
        return tirx.floor(x)

    def ceil(self, x: Expr) -> Expr:
        return tirx.ceil(x)

    def trunc(self, x: Expr) -> Expr:
        return tirx.trunc(x)

    def rint(self, x: Expr) -> Expr:
        return tirx.nearbyint(x)

    def exp(self, x: Expr) -> Expr:
        return exp(self._k, x, self._lanes)

    def log(self, x: Expr) -> Expr:
        return log(self._k, x, self._lanes)

    def call(self, name: str, x: Expr, *numbers: float) -> Expr:
        return FUNCTIONS[name](self._k, x, self._lanes, *numbers)

    def pair(self, name: str, a: Expr, b: Expr) -> Expr:
        return PAIRS[name](self._k, a, b, self._lanes)


def activated(k: KernelBuilder, x: Expr, name: str, attributes: Iterable[tuple[str, Any]], lanes: int) -> Expr:
    """The value of a pointwise op of a vector."""
    return RECORDS[name].formula(KernelVectors(k, lanes), x, **dict(attributes))


def merged(k: KernelBuilder, start: str, values: Sequence[Expr], lanes: int) -> Expr:
    """What an epilogue begins with: the `first` of some vectors, or a merge of them."""
    return values[0] if start == "first" else MERGES[start].formula(KernelVectors(k, lanes), *values)


def apply_epilogue(k: KernelBuilder, x: Expr, epilogue: Epilogue, extras: Iterable[Expr], lanes: int) -> Expr:
    """A sum after its post-ops: activations, and adds of the vectors in `extras`, one after the other."""
    waiting = iter(extras)
    x = k.let(x)
    for name, attributes in epilogue:
        x = k.let(x + next(waiting)) if name == "add" else activated(k, x, name, attributes, lanes)
    return x


def horizontal(k: KernelBuilder, vector: Expr, lanes: int, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """One scalar from a vector: a tree over its lanes, in a fixed order (the same bits every time)."""
    spill = k.registers(lanes)
    spill.store(0, vector, lanes)
    values = [spill.load(i) for i in range(lanes)]
    while len(values) > 1:
        half = len(values) // 2
        values = [k.let(combine(values[i], values[i + half])) for i in range(half)]
    return values[0]
