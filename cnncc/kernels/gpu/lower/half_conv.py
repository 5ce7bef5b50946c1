"""The implicit matrix product of halves, on tensor cores."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import BFLOAT16, FLOAT16, Element
from cnncc.kernels.gpu.conv import GpuConvConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_
from cnncc.kernels.gpu.lower.tensor_conv import TensorConv
from cnncc.kernels.gpu.spec import VECTOR
from cnncc.kernels.shared.builder import Expr, i32


def lower(config: GpuConvConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return HalfConv(config).build(symbol)


class HalfConv(TensorConv):
    """The same of halves, which go from memory into shared memory without a register on the way (cp.async), while the
    steps before are multiplied, and from there as fragments into registers (ldmatrix).

    A line of shared memory is the depth of a pixel or output channel, in vectors of 8 halves; where in its line a
    vector lies is `HalfTile.key`'s.
    """

    def operand_of_weights(self, vectors: int) -> Array:
        return self.k.operand("weights", vectors * self.g.in_block, self.t.element)

    @property
    def function(self) -> str:
        """What multiplies fragments."""
        return MMA[self.t.element]

    def make_room(self) -> None:
        self.stages = self.t.stages
        self.a = self.k.shared(self.stages * self.a_size, self.stored)
        self.b = self.k.shared(self.stages * self.b_size, self.stored)

    def row_of_thread(self) -> None:
        """As bits, too, which rows and columns of the window at the thread's pixel are inside the image."""
        super().row_of_thread()
        k, c = self.k, self.c
        self.corner = k.let(self.base + self.top * c.source.width + self.left)
        self.seen = [self.bits_of(axis, first) for axis, first in enumerate((self.top, self.left))]

    def bits_of(self, axis: int, first: Expr) -> Expr | None:
        """None if all are, wherever the window lies, or if there are more than a word has bits."""
        k, g = self.k, self.g
        taps = [self.bounds(first + tap * g.dilation[axis], axis) for tap in range(g.kernel[axis])]
        if not any(taps) or len(taps) > BITS:
            return None
        bits: Expr = i32(0)
        for tap, conditions in enumerate(taps):
            bits = bits + tirx.Select(tirx.all(*conditions) if len(conditions) > 1 else conditions[0], 1 << tap, 0)
        return k.let(bits)

    def place_in_image(self, index: Expr) -> tuple[Expr, list[Expr]]:
        k, c, g = self.k, self.c, self.g
        if max(g.kernel) > BITS:
            return super().place_in_image(index)
        taps = g.kernel[0] * g.kernel[1]
        block, tap = divided(k, index, taps, c.steps * self.t.per_line)
        places = divided(k, tap, g.kernel[1], taps)
        exists = index < c.depth // self.in_block if c.depth % self.t.depth else None
        shifted = [bits >> place for bits, place in zip(self.seen, places, strict=True) if bits is not None]
        inside = tirx.bitwise_and(functools.reduce(tirx.bitwise_and, shifted), 1) > 0 if shifted else None
        row, column = (place * step for place, step in zip(places, g.dilation, strict=True))
        at = self.corner + block * c.source.pixels + row * c.source.width + column
        return at, [condition for condition in (self.row_exists, exists, inside) if condition is not None]

    def products(self, first: Expr, count: Expr) -> None:
        """Sums over the steps, each `stages` - 1 steps behind the copies."""
        k, ahead = self.k, self.stages - 1
        for step in range(ahead):
            with k.unless_certain(self.comes(step, count)):
                self.copy(first + step, step)
            k.call("cnncc_commit")
        with k.loop(count, "step") as step:
            k.call(f"cnncc_wait_{ahead - 1}")  # of the groups of copies, which are one a step, this step's is done
            k.barrier()  # all threads' copies are, and nobody reads the step before any more
            with k.unless_certain(self.comes(step + ahead, count)):
                self.copy(k.let(first + step + ahead), self.stage(step + ahead))
            k.call("cnncc_commit")
            self.multiply(self.stage(step))

    @staticmethod
    def comes(step: Expr, count: Expr) -> Expr:
        """Whether there is such a step; None where that is known."""
        known = isinstance(step, int) and isinstance(count, int)
        return None if known and step < count else i32(step) < count

    def stage(self, step: Expr) -> Expr:
        """Where in shared memory a step lies."""
        return step % self.stages if isinstance(step, int) else self.k.let(tirx.truncmod(step, i32(self.stages)))

    def copy(self, step: Expr, stage: Expr) -> None:
        """Starts the copies of a step's part of the image, with zeros outside of it, and of the weights."""
        k, t = self.k, self.t
        between = t.threads // t.rows
        key = k.let(tirx.truncmod(tirx.truncdiv(self.row, i32(8 // t.per_line)), i32(t.per_line)))
        with k.unrolled(self.loads) as i:
            part = k.let(self.part + i * between)
            at, inside = self.place_in_image(k.let(step * t.per_line + part))
            exists = tirx.all(*inside) if len(inside) > 1 else inside[0] if inside else None
            to = k.let(stage * self.a_size + self.row * t.line + tirx.bitwise_xor(part, key) * VECTOR)
            self.copy_image(to, at * self.in_block, exists)
        with self.vectors_of_weights() as (_, index):
            at = k.let(self.weight_base + step * self.weight_vectors + index)
            to = k.let(stage * self.b_size + index * VECTOR)
            k.call("cnncc_copy", self.b.start, to, self.weights.start, at * self.in_block)

    def copy_image(self, to: Expr, number: Expr, exists: Expr | None) -> None:
        """Starts the copy of a vector of channels, or of what lies around the image."""
        k = self.k
        size = i32(16) if exists is None else k.let(tirx.Select(exists, i32(16), i32(0)))
        k.call("cnncc_copy_or_clear", self.a.start, to, self.source.start, number, size)

    def multiply(self, stage: Expr) -> None:
        """All products of one stage. Four matrices of 8 x 8 come in one load, and each thread of a warp names one of
        their rows: of the image 16 rows x 16 of the depth, of the weights 16 columns."""
        k, t = self.k, self.t
        down, across = t.fragments
        row, column, _, _ = self.place_of_warp()
        lane = k.let(tirx.truncmod(k.thread, i32(32)))
        eighth, of_eight = divmod_(k, lane, 8)
        lower, later = k.let(tirx.bitwise_and(eighth, i32(1))), k.let(tirx.truncdiv(eighth, i32(2)))
        a, a_part = self.line_of(stage * self.a_size, row, lower * 8 + of_eight, later)
        b, b_part = self.line_of(stage * self.b_size, column, later * 8 + of_eight, lower)
        left, right = k.local(4 * down, "uint32"), k.local(2 * across, "uint32")
        for step in range(t.per_line // 2):
            for line, place, array, fragments, count in (
                (a, a_part, self.a, left, down),
                (b, b_part, self.b, right, across // 2),
            ):
                first = k.let(line + tirx.bitwise_xor(place, i32(2 * step)) * VECTOR)
                for i in range(count):
                    k.call("cnncc_fragments", fragments.address(4 * i), array.start, first + 16 * i * t.line)
            self.add_products(left, right, self.function)

    def line_of(self, stage: Expr, first: Expr, row: Expr, part: Expr) -> tuple[Expr, Expr]:
        """The start of a line, and the place of one of the first two vectors in it. `first` is a multiple of 16, so the
        key depends on `row` alone."""
        k, t = self.k, self.t
        key = tirx.truncmod(tirx.truncdiv(row, i32(8 // t.per_line)), i32(t.per_line))
        return k.let(stage + (first + row) * t.line), k.let(tirx.bitwise_xor(part, key))


def divided(k: CudaBuilder, value: Expr, divisor: int, most: int) -> tuple[Expr, Expr]:
    """Quotient and remainder of a number from 0 to below `most`: by a product and a shift, if there are such. The CUDA
    compiler takes more instructions, since it narrows small numbers to 16 bits."""
    found = None if isinstance(value, int) or divisor == 1 else reciprocal(divisor, most)
    if found is None:
        return divmod_(k, value, divisor)
    factor, shift = found
    quotient = k.let(tirx.shift_right(value * factor, i32(shift)))
    return quotient, k.let(value - quotient * divisor)


def reciprocal(divisor: int, most: int) -> tuple[int, int] | None:
    """The least f and s for which n f >> s is n / divisor, rounded down, of each n from 0 to below `most`. None if n f
    does not fit a word, with room for what TVM makes of it."""
    for shift in range(24):
        factor = -(-(1 << shift) // divisor)
        # The factor is rounded up. What that adds must not come to a quotient more.
        if most * (factor * divisor - (1 << shift)) < 1 << shift:
            return (factor, shift) if most * factor < 1 << 27 else None
    return None


BITS = 31
"""Of a word that is not negative."""
MMA: Mapping[Element, str] = {FLOAT16: "cnncc_mma", BFLOAT16: "cnncc_mma_bfloat"}
"""What multiplies fragments."""

LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"half_conv": lower}
"""Family of a kernel -> its lowering."""
