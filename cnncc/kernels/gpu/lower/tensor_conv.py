"""The implicit matrix product on tensor cores, of float32 that is rounded to tf32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.conv import GpuConvConfig
from cnncc.kernels.gpu.lower.builder import Array, divmod_, image_of
from cnncc.kernels.gpu.lower.conv import Conv
from cnncc.kernels.gpu.spec import VECTOR
from cnncc.kernels.shared.builder import Expr, i32


def lower(config: GpuConvConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return TensorConv(config).build(symbol)


class TensorConv(Conv):
    """The same on tensor cores: tf32 in shared memory, each row's depth side by side, products by warps.

    A fragment is 16 rows x 8 columns; thread 4 g + t of a warp holds of it rows g and g + 8, columns 2 t and 2 t + 1
    (PTX ISA, mma.m16n8k16 and, for tf32, m16n8k8). Of its operands it holds the words t and t + 4 of these rows and of
    column g: two halves, or one tf32.
    """

    stored = "uint32"

    def vectors_per_step(self) -> int:
        return int(self.t.words * self.t.columns // VECTOR)

    def sizes(self) -> tuple[int, int]:
        return self.t.line * self.t.rows, self.t.line * self.t.columns

    def stash(self, parity: Expr) -> None:
        k, t = self.k, self.t
        between, per_line = t.threads // t.rows, t.words // VECTOR
        word = "__float_as_uint" if t.terms > 1 else TF32
        with k.unrolled(self.loads) as i:
            at = parity * self.a_size + self.row * t.line + (self.part + i * between) * VECTOR
            vector = k.local(VECTOR, "uint32")
            for n in range(VECTOR):
                vector.store(n, tirx.call_pure_extern("uint32", word, self.next_a.load(i * VECTOR + n)))
            self.a.store(k.let(tirx.truncdiv(at, i32(VECTOR))), vector.load(0, VECTOR), VECTOR)
        with self.vectors_of_weights() as (i, index):
            column, part = divmod_(k, index, per_line)
            at = parity * (self.b_size // VECTOR) + column * (t.line // VECTOR) + part
            self.b.store(at, self.next_b.load(i, VECTOR), VECTOR)

    def multiply(self, parity: Expr) -> None:
        k, t = self.k, self.t
        down, across = t.fragments
        row, column, g, pair = self.place_of_warp()
        left, right = k.local(4 * down, "uint32"), k.local(2 * across, "uint32")
        small = [k.local(4 * down, "uint32"), k.local(2 * across, "uint32")] if t.terms > 1 else []
        a = k.let(parity * self.a_size + (row + g) * t.line + pair)
        b = k.let(parity * self.b_size + (column + g) * t.line + pair)
        with k.unrolled(t.words // 8) as step:
            for i in range(down):
                for n in range(4):  # rows g and g + 8, then the same 8 products further
                    at = a + (16 * i + 8 * (n % 2)) * t.line + step * 8 + 4 * (n // 2)
                    left.store(4 * i + n, self.a.load(at))
            for j in range(across):
                for n in range(2):
                    right.store(2 * j + n, self.b.load(b + 8 * j * t.line + step * 8 + 4 * n))
            pairs = [(left, right)]
            if small:
                self.take_apart(left, small[0], 4 * down)
                self.take_apart(right, small[1], 2 * across)
                pairs = [(small[0], right), (left, small[1]), (left, right)]  # the small products first
            for one, other in pairs:
                self.add_products(one, other, "cnncc_mma_tf32")

    def add_products(self, left: Array, right: Array, function: str) -> None:
        """Adds the products of all pairs of fragments to their sums."""
        down, across = self.t.fragments
        for i in range(down):
            for j in range(across):
                sums = self.sums.address(4 * (i * across + j))
                self.k.call(function, sums, left.address(4 * i), right.address(2 * j))

    def take_apart(self, large: Array, small: Array, count: int) -> None:
        """float32 as the sum of two numbers of tf32: the nearest one stays in `large`, what is left goes to `small`."""
        k = self.k
        for n in range(count):
            whole = k.let(tirx.reinterpret("float32", large.load(n)))
            large.store(n, tirx.call_pure_extern("uint32", TF32, whole))
            nearest = tirx.reinterpret("float32", large.load(n))
            small.store(n, tirx.call_pure_extern("uint32", TF32, whole - nearest))

    def place_of_warp(self) -> tuple[Expr, Expr, Expr, Expr]:
        """First row and column of the warp's part of the tile; the thread's row and pair of columns in a fragment."""
        k, t = self.k, self.t
        warp, lane = divmod_(k, k.thread, 32)
        down, across = divmod_(k, warp, t.across)
        g, pair = divmod_(k, lane, 4)
        return k.let(down * (t.rows // t.down)), k.let(across * (t.columns // t.across)), g, pair

    def write(self) -> None:
        k, c, t, g = self.k, self.c, self.t, self.g
        down, across = t.fragments
        first_row, first_column, lane, pair = self.place_of_warp()
        group, tile = k.block(1), self.column_tile
        vectors, pairs = c.group_out // self.block, self.block // 2
        part = k.let(tirx.truncmod(pair, i32(pairs)))
        with k.unrolled(down) as i, k.unrolled(2) as lower_half:
            row = k.let(self.row_tile * t.rows + first_row + i * 16 + lower_half * 8 + lane)
            with k.unless_certain(row < c.rows if c.rows % t.rows else None):
                image, pixel = image_of(k, row, c.batch, g.grid[0] * g.grid[1])
                position = k.let(self.position(pixel))
                with k.unrolled(across) as j:
                    column = k.let(tile * t.columns + first_column + j * 8)
                    vector = k.let(tirx.truncdiv(column, i32(self.block)) + tirx.truncdiv(pair, i32(pairs)))
                    with k.unless_certain(vector < vectors if c.group_out % t.columns else None):
                        first = (i * across + j) * 4 + lower_half * 2
                        self.store(image, k.let(group * vectors + vector), position, first, part, 2)


TF32 = "cnncc_tf32"
"""What rounds to tf32."""

LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"tensor_conv": lower}
"""Family of a kernel -> its lowering."""
