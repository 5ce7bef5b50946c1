"""The implicit matrix product of bytes, four products at a time or on tensor cores; sums are int32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.base.elements import UINT8
from cnncc.kernels.gpu.conv import GpuConvConfig
from cnncc.kernels.gpu.conv_bytes import VECTOR_BYTES, padded_channels
from cnncc.kernels.gpu.lower.builder import Array, divmod_, image_of, word_of
from cnncc.kernels.gpu.lower.byte_results import ByteResults
from cnncc.kernels.gpu.lower.conv import Conv
from cnncc.kernels.gpu.lower.half_conv import HalfConv
from cnncc.kernels.gpu.spec import VECTOR
from cnncc.kernels.shared.builder import Expr, i32
from cnncc.kernels.shared.byte_steps import FILL


def lower(config: GpuConvConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return ByteConv(config).build(symbol)


def lower_tensor(config: GpuConvConfig, symbol: str) -> PrimFunc:
    """The same on tensor cores."""
    return ByteTensorConv(config).build(symbol)


class _Bytes(Conv):
    """What both have in common: operands and results."""

    summed = "int32"

    def take_channels(self, count: int) -> None:
        self.results = ByteResults(self.k, self.c.result, padded_channels(self.c.result))

    @property
    def sign(self) -> str:
        """Of the image, in the names of functions."""
        return "unsigned" if self.c.source.element == UINT8 else "signed"

    def store(
        self, image: Expr, vector: Expr, position: Expr, first: Expr, part: Expr = 0, lanes: int = VECTOR
    ) -> None:
        self.store_sums(image, vector, position, [self.sums.load(first + lane) for lane in range(VECTOR)])

    def store_sums(self, image: Expr, four: Expr, position: Expr, sums: list[Any]) -> None:
        """What becomes of the sums of four channels in a row."""
        extras = list(zip(self.extras, self.c.extras, strict=True))
        self.results.store(self.result, extras, sums, four, (image, position))


class ByteConv(_Bytes):
    """Words of four bytes in the place of float32; an image of planes is put together to such words."""

    stored = loaded = "uint32"

    def operand_of_weights(self, vectors: int) -> Array:
        return self.k.typed("weights", vectors * VECTOR, self.stored)

    def row_of_thread(self) -> None:
        c = self.c
        self.is_plain = c.source.block == 1
        if self.is_plain:
            self.plane = VECTOR_BYTES * c.source.pixels
        super().row_of_thread()
        self.fill = self.k.let(tirx.Cast("uint32", self.results.step(FILL)))

    def start_of(self, image: Expr) -> Expr:
        return image * self.c.source.stride if self.is_plain else super().start_of(image)

    def outside(self) -> Expr:
        return tirx.Broadcast(self.fill, VECTOR)

    def words_of(self, at: Expr, index: Expr) -> Expr:
        k, c, g = self.k, self.c, self.g
        if not self.is_plain:
            return self.source.words(at, VECTOR_BYTES)
        block, _ = divmod_(k, index, g.kernel[0] * g.kernel[1])
        values = k.local(VECTOR_BYTES, "int32")
        for lane in range(VECTOR_BYTES):
            exists = block * VECTOR_BYTES + lane < c.source.channels if c.source.channels % VECTOR_BYTES else None
            if exists is not None:
                values.store(lane, i32(0))
            with k.unless_certain(exists):
                values.store(lane, tirx.Cast("int32", self.source.raw(at + lane * c.source.pixels)))
        words = k.local(VECTOR, "uint32")
        for i in range(VECTOR):
            words.store(i, word_of([values.load(4 * i + n) for n in range(4)]))
        return words.load(0, VECTOR)

    def product(self, a: Expr, b: Expr, total: Expr) -> Expr:
        return tirx.call_pure_extern("int32", f"cnncc_dot_{self.sign}", a, b, total)


class ByteTensorConv(_Bytes, HalfConv):
    """As halves on tensor cores: a vector of 16 bytes has twice the channels, and so a product of fragments twice the
    depth. What lies around the image is copied from an operand that has a vector of it."""

    def take_channels(self, count: int) -> None:
        super().take_channels(count)
        self.around = self.k.operand("around", VECTOR_BYTES, self.c.source.element)

    def copy_image(self, to: Expr, number: Expr, exists: Expr | None) -> None:
        if exists is None:
            super().copy_image(to, number, exists)
            return
        function = "cnncc_copy_or_fill"
        self.k.call(function, self.a.start, to, self.source.start, number, exists, self.around.start)

    @property
    def function(self) -> str:
        return f"cnncc_mma_{self.sign}"

    def write(self) -> None:
        """Columns 2 t and 2 t + 1 of two fragments side by side are four channels in a row: `_in_places` sees to it."""
        k, c, t, g = self.k, self.c, self.t, self.g
        down, across = t.fragments
        first_row, first_column, lane, quarter = self.place_of_warp()
        group, fours = k.block(1), c.group_out // VECTOR
        with k.unrolled(down) as i, k.unrolled(2) as lower_half:
            row = k.let(self.row_tile * t.rows + first_row + i * 16 + lower_half * 8 + lane)
            with k.unless_certain(row < c.rows if c.rows % t.rows else None):
                image, pixel = image_of(k, row, c.batch, g.grid[0] * g.grid[1])
                position = k.let(self.position(pixel))
                with k.unrolled(across // 2) as j:
                    column = k.let(self.column_tile * t.columns + first_column + j * 16)
                    four = k.let(tirx.truncdiv(column, i32(VECTOR)) + quarter)
                    with k.unless_certain(four < fours if c.group_out % t.columns else None):
                        first = (i * across + 2 * j) * 4 + lower_half * 2
                        sums = [self.sums.load(first + 4 * (n // 2) + n % 2) for n in range(VECTOR)]
                        self.store_sums(image, k.let(group * fours + four), position, sums)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"byte_conv": lower, "byte_tensor_conv": lower_tensor}
"""Family of a kernel -> its lowering."""
