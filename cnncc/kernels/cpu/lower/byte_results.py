"""Bytes around dot products: the words that they multiply, and what becomes of their sums."""

from __future__ import annotations

from tvm import tirx
from tvm.tirx import IntImm

from cnncc.base.elements import ELEMENTS, FLOAT32, INT32
from cnncc.kernels.cpu.byte_operands import OnBytes
from cnncc.kernels.cpu.lower.dots import INSTRUCTIONS, apart, is_x86, packed, rounded
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, dtype_of, filled, splat, vector_type
from cnncc.kernels.shared.byte_steps import HIGH, LOW, SCALE_RESIDUAL, STEPS, ZERO, ZERO_RESIDUAL

SIGNS = -0x7F7F7F80
"""The highest bit of each byte. To flip it adds 128 to a signed byte, or takes 128 from an unsigned one."""


def as_words(k: KernelBuilder, c: OnBytes, values: Expr, words: int) -> Expr:
    """Bytes as the words of a step: as they are, with the other sign, or widened."""
    number, count = INSTRUCTIONS[c.unit.instruction].number, words * c.unit.depth
    if number == "int8":
        found = k.let(tirx.reinterpret(vector_type("int32", words), k.let(values)))
        return found ^ filled(SIGNS, words, INT32) if c.shift else found
    wide = k.let(tirx.Cast(vector_type(number, count), values))
    return wide if number == "int32" else tirx.reinterpret(vector_type("int32", words), wide)


class Results:
    """The operands behind the bias, and how vectors of sums become results: the scale of each channel, the residual,
    rounding, and the bounds."""

    def __init__(self, k: KernelBuilder, c: OnBytes, channels: int, count: int) -> None:
        self.k, self.c, self.kind = k, c, ELEMENTS[c.types.result]
        self.scale, self.numbers = k.operand("scale", channels), k.operand("steps", STEPS, INT32)
        self.extras = [k.operand("extra", count, ELEMENTS[c.types.residual])] if c.types.residual else []
        self.result = k.operand("result", count, self.kind)

    @property
    def together(self) -> int:
        """Pixels that make up four vectors, which are stored as one."""
        return max(1, 4 * self.c.lanes // self.c.block)

    def scales(self, first: Expr) -> dict[int, Expr]:
        """The scales of a block from a channel on, by the first channel of each vector."""
        lanes = self.c.lanes
        return {v: self.k.let(self.scale.load(first + v, lanes)) for v in range(0, self.c.block, lanes)}

    def value(self, sums: Expr, index: Expr, scale: Expr) -> Expr:
        """One vector of results: float32, or int32 to which the zero point is to be added, not within bounds yet."""
        k, lanes = self.k, self.c.lanes
        value = k.let(tirx.Cast(vector_type("float32", lanes), sums) * scale)
        for extra in self.extras:
            zero = splat(self.numbers.load(ZERO_RESIDUAL), lanes)
            factor = tirx.reinterpret("float32", self.numbers.load(SCALE_RESIDUAL))
            steps = k.let(tirx.Cast(vector_type("int32", lanes), extra.load(index, lanes)) - zero)
            more = k.let(tirx.Cast(vector_type("float32", lanes), steps) * splat(factor, lanes))
            value = k.let(apart(value, lanes) + apart(more, lanes))
        if self.kind == FLOAT32:
            return value
        return k.let(rounded(k, value, lanes, self.c.unit))

    def write(self, index: Expr, values: list[Expr], to: Buffer | None = None) -> None:
        """Stores vectors of results one after the other, within their bounds; in the result, unless elsewhere."""
        c, target = self.c, to or self.result
        if self.kind == FLOAT32 or not is_x86(c.unit):
            for i, value in enumerate(values):
                target.store(index + i * c.lanes, self.narrow(self.bounded(self.around_zero(value))), c.lanes)
            return
        for start in range(0, len(values), 4):
            self._write_packed(index + start * c.lanes, values[start : start + 4], target)

    def _write_packed(self, index: Expr, values: list[Expr], target: Buffer) -> None:
        """Up to four vectors, narrowed together."""
        k, lanes = self.k, self.c.lanes
        four = [values[i % len(values)] for i in range(4)]
        low, high = (splat(tirx.Cast(self.kind.tir, self.numbers.load(at)), 4 * lanes) for at in (LOW, HIGH))
        whole = k.let(packed(four, lanes, self.kind.tir, self.numbers.load(ZERO)))
        bounded = k.let(tirx.min(k.let(tirx.max(whole, low)), high))
        begin = 0
        for count in (4, 2, 1):  # vectors of a store
            if len(values) & count:
                part = [IntImm("int32", i) for i in range(begin * lanes, (begin + count) * lanes)]
                stored = bounded if count == 4 else tirx.Shuffle([bounded], part)
                target.store(index + begin * lanes, stored, count * lanes)
                begin += count

    def around_zero(self, value: Expr) -> Expr:
        """With the zero point added, where there is one."""
        if self.kind == FLOAT32:
            return value
        return self.k.let(value + splat(self.numbers.load(ZERO), self.c.lanes))

    def bounded(self, value: Expr) -> Expr:
        """A vector of results within its bounds."""
        bounds = [self.numbers.load(at) for at in (LOW, HIGH)]
        if dtype_of(value).startswith("float32"):
            bounds = [tirx.reinterpret("float32", bound) for bound in bounds]
        low, high = (splat(bound, self.c.lanes) for bound in bounds)
        return self.k.let(vmin(high, self.k.let(vmax(low, value))))

    def narrow(self, value: Expr) -> Expr:
        """A vector within the bounds of the result's type in that type."""
        return value if self.kind == FLOAT32 else tirx.Cast(vector_type(self.kind.tir, self.c.lanes), value)
