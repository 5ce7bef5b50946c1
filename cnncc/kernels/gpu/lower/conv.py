"""The implicit matrix product of a convolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.conv import GpuConvConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, store_vector
from cnncc.kernels.gpu.lower.epilogue import finished
from cnncc.kernels.gpu.model import AT_ONCE, parts_together
from cnncc.kernels.gpu.spec import VECTOR
from cnncc.kernels.shared.arithmetic import vmin
from cnncc.kernels.shared.builder import Expr, i32, splat

UNROLLED = 8
"""Steps of the depth whose products the CUDA compiler unrolls: more make it slow, not the kernel fast."""


def lower(config: GpuConvConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return Conv(config).build(symbol)


class Conv:
    """A block's rows are pixels of the whole batch, its columns output channels of one group."""

    def __init__(self, config: GpuConvConfig) -> None:
        self.c = c = config
        self.t: Any = c.tile
        self.g = c.geometry
        self.k = k = CudaBuilder(c.grid, self.t.threads)
        self.in_block = self.g.in_block
        self.lanes = self.in_block // self.t.per_word  # words of a vector of channels
        self.plane = c.source.pixels  # from one vector of channels to the next
        self.split = c.splits > 1
        self.source = k.images("image", c.source, c.batch)
        self.block = c.result.block
        self.weight_vectors = self.vectors_per_step()
        panels = c.geometry.groups * c.column_tiles
        self.weights = self.operand_of_weights(panels * c.steps * self.weight_vectors)
        self.take_channels(c.result.blocks * self.block)
        added = replace(c.result, element=c.added or c.result.element)
        self.extras = [k.images(f"extra{i}", added, c.batch) for i in range(len(c.extras))]
        self.parts = k.typed("parts", c.parts, self.summed) if self.split else None
        self.counters = k.typed("counters", c.tiles, "uint32") if self.split else None
        self.result = k.images("result", c.result, c.batch)
        self.loads = self.t.rows * self.t.depth // (self.in_block * self.t.threads)

    def operand_of_weights(self, vectors: int) -> Array:
        """So many vectors of 16 bytes."""
        return self.k.typed("weights", vectors * VECTOR, self.stored)

    def take_channels(self, count: int) -> None:
        """Operands with numbers for each output channel."""
        self.bias = self.k.operand("bias", count) if self.g.bias else None

    stored = "float32"
    """Type of the words of weights, and of all in shared memory."""
    loaded = "float32"
    """Type of the words of an image as they are loaded."""
    summed = "float32"
    """Type of the sums."""

    def vectors_per_step(self) -> int:
        """Vectors of weights that a step reads."""
        return int(self.t.words * self.t.columns // VECTOR)

    def build(self, symbol: str) -> PrimFunc:
        k, c, t = self.k, self.c, self.t
        self.a_size, self.b_size = self.sizes()
        count = t.rows * t.columns // t.threads
        self.sums = k.local(count, self.summed)
        self.make_room()
        self.clear_sums(count)
        self.row_tile, self.column_tile = self.place_of_block()
        self.row_of_thread()
        first, count = self.range_of_steps()
        if c.steps:
            self.products(first, count)
        with self.last_of_tile():
            self.write()
        return k.finish(symbol)

    stages = 2
    """Steps for which there is room in shared memory."""

    def make_room(self) -> None:
        """Arrays in shared memory, and for what is loaded but not there yet."""
        k, t = self.k, self.t
        self.a = k.shared(self.stages * self.a_size, self.stored)
        self.b = k.shared(self.stages * self.b_size, self.stored)
        self.next_a = k.local(self.loads * self.lanes, self.loaded)
        self.next_b = k.local(VECTOR * -(-self.weight_vectors // t.threads), self.stored)

    def place_of_block(self) -> tuple[Expr, Expr]:
        """Row and column of the tile that this block takes, as `Raster.place` has them."""
        k, raster = self.k, self.c.raster
        if raster.band == raster.rows:
            return divmod_flipped(k, k.block(0), raster.rows)
        band, rest = divmod_(k, k.block(0), raster.band * raster.columns)
        first = k.let(band * raster.band)
        if raster.rows % raster.band == 0:
            column, row = divmod_(k, rest, raster.band)
        else:
            height = k.let(vmin(i32(raster.band), raster.rows - first))
            column, row = k.let(tirx.truncdiv(rest, height)), tirx.truncmod(rest, height)
        return k.let(first + row), column

    @contextmanager
    def last_of_tile(self) -> Iterator[None]:
        """What is emitted inside is done by the block that is the last to be done with its tile, on whole sums. The
        counter is back at zero after it."""
        if not self.split:
            yield
            return
        k, c = self.k, self.c
        assert self.parts is not None
        assert self.counters is not None
        tile = k.let(k.block(1) * c.grid[0] + k.block(0))
        self.leave_part(self.parts, tile)
        k.barrier()  # the fence of the first thread is one for what the others stored before
        with k.when(k.last_block(self.counters.address(tile), c.splits)):
            self.add_parts(self.parts, tile)
            yield

    def clear_sums(self, count: int) -> None:
        with self.k.unrolled(count) as i:
            self.sums.store(i, tirx.const(0, self.summed))

    def leave_part(self, parts: Array, tile: Expr) -> None:
        """Stores the sums of this block as they lie in its threads: neighbours store neighbouring vectors."""
        k, c, t = self.k, self.c, self.t
        count = t.rows * t.columns // (VECTOR * t.threads)
        first = k.let((k.block(2) * c.tiles + tile) * (count * t.threads) + k.thread)
        with k.unrolled(count) as i:
            parts.store(first + i * t.threads, self.sums.load(i, VECTOR), VECTOR)

    def add_parts(self, parts: Array, tile: Expr) -> None:
        """Adds up the parts of all blocks of the tile, from the first one on, also this block's own: so the result does
        not depend on which of them is last."""
        k, c, t = self.k, self.c, self.t
        count = t.rows * t.columns // (VECTOR * t.threads)
        together = min(parts_together(t), c.splits)
        piece = min(count, AT_ONCE // VECTOR)
        loaded = k.local(together * piece * VECTOR, self.summed)
        first = k.let(tile * (count * t.threads) + k.thread)
        self.clear_sums(count * VECTOR)

        def add(part: Expr, number: int) -> None:
            for begin in range(0, count, piece):
                with k.unrolled(number) as n, k.unrolled(piece) as i:
                    at = first + (part + n) * (c.tiles * count * t.threads) + (begin + i) * t.threads
                    loaded.store(n * piece + i, parts.load(at, VECTOR), VECTOR)
                with k.unrolled(number) as n, k.unrolled(piece * VECTOR) as i:
                    to = begin * VECTOR + i
                    self.sums.store(to, self.sums.load(to) + loaded.load(n * (piece * VECTOR) + i))

        with k.rolled(c.splits // together) as turn:
            add(turn * together, together)
        if c.splits % together:
            add(c.splits // together * together, c.splits % together)

    def sizes(self) -> tuple[int, int]:
        """Words of one half of the shared arrays."""
        return self.t.words * self.t.rows, self.t.words * self.t.columns

    def products(self, first: Expr, count: Expr) -> None:
        """Sums over the steps: the next step's loads are under way while this one's products are made."""
        k = self.k
        self.fetch(first)
        self.stash(0)
        k.barrier()
        with k.loop(count, "step") as step:
            more = None if isinstance(step, int) else step + 1 < count
            if more is not None:
                with k.when(more):
                    self.fetch(first + step + 1)
            parity = step if isinstance(step, int) else k.let(tirx.bitwise_and(step, i32(1)))
            self.multiply(parity)
            if more is not None:
                with k.when(more):
                    self.stash(1 - parity)
            k.barrier()

    def range_of_steps(self) -> tuple[Expr, Expr]:
        c, k = self.c, self.k
        if not self.split:
            return 0, c.steps
        first = k.let(k.block(2) * c.steps_per_split)
        return first, k.let(vmin(i32(c.steps_per_split), c.steps - first))

    def row_of_thread(self) -> None:
        """The pixel of which this thread loads, and where in a step its loads begin."""
        k, c, t, g = self.k, self.c, self.t, self.g
        self.row: Expr
        self.part: Expr
        self.row, self.part = (k.thread, 0) if t.threads == t.rows else divmod_flipped(k, k.thread, t.rows)
        row = k.let(self.row_tile * t.rows + self.row)
        self.row_exists = row < c.rows if c.rows % t.rows else None
        image, pixel = image_of(k, row, c.batch, g.grid[0] * g.grid[1])
        y, x = divmod_(k, pixel, g.grid[1])
        self.top, self.left = k.let(y * g.stride[0] + g.origin[0]), k.let(x * g.stride[1] + g.origin[1])
        self.base = k.let(self.start_of(image))
        self.weight_base = k.let((k.block(1) * c.column_tiles + self.column_tile) * (c.steps * self.weight_vectors))

    def start_of(self, image: Expr) -> Expr:
        """Where the channels of the block's group begin, counted in vectors of channels."""
        c = self.c
        channel = self.k.block(1) * (c.group_in // self.in_block) * c.source.pixels
        return image * (c.source.stride // self.in_block) + channel

    def fetch(self, step: Expr) -> None:
        """Loads a step's part of the image and of the weights into registers."""
        k, t = self.k, self.t
        per_step, between = t.depth // self.in_block, t.threads // t.rows
        with k.unrolled(self.loads) as i:
            self.fetch_image(i, k.let(step * per_step + self.part + i * between))
        with self.vectors_of_weights() as (i, index):
            at = self.weight_base + step * self.weight_vectors + index
            self.next_b.store(i, self.weights.load(at, VECTOR), VECTOR)

    @contextmanager
    def vectors_of_weights(self) -> Iterator[tuple[Expr, Expr]]:
        """The vectors of a step's weights that this thread moves: which of its own, which of all."""
        k, t = self.k, self.t
        rounds = -(-self.weight_vectors // t.threads)
        with k.unrolled(rounds) as i:
            index = k.let(k.thread + i * t.threads)
            partial = rounds * t.threads > self.weight_vectors
            with k.unless_certain(index < self.weight_vectors if partial else None):
                yield i, index

    def fetch_image(self, i: Expr, index: Expr) -> None:
        """Loads a block of channels under one tap; `index` counts those. Zero outside the image."""
        k, lanes = self.k, self.lanes
        at, inside = self.place_in_image(index)
        if inside:
            self.next_a.store(i, self.outside(), lanes)
        with k.unless_certain(*inside):
            self.next_a.store(i, self.words_of(at, index), lanes)

    def outside(self) -> Expr:
        """A vector of channels where there is no image."""
        return splat(0.0, self.lanes)

    def words_of(self, at: Expr, index: Expr) -> Expr:
        """The vector of channels at a place of the image."""
        return self.source.load(at, self.lanes)

    def place_in_image(self, index: Expr) -> tuple[Expr, list[Expr]]:
        """Where a block of channels under one tap lies, counted in those, and under which conditions it exists."""
        k, c, g = self.k, self.c, self.g
        taps, lanes = g.kernel[0] * g.kernel[1], self.in_block
        block, tap = divmod_(k, index, taps)
        row, column = divmod_(k, tap, g.kernel[1])
        y, x = k.let(self.top + row * g.dilation[0]), k.let(self.left + column * g.dilation[1])
        exists = index < c.depth // lanes if c.depth % self.t.depth else None
        inside = [self.row_exists, exists, *self.bounds(y, 0), *self.bounds(x, 1)]
        at = self.base + block * self.plane + y * c.source.width + x
        return at, [condition for condition in inside if condition is not None]

    def bounds(self, position: Expr, axis: int) -> list[Expr]:
        """Conditions under which a tap falls into the image, those that can fail."""
        g, size = self.g, self.g.in_size[axis]
        reach = g.origin[axis] + (g.grid[axis] - 1) * g.stride[axis] + (g.kernel[axis] - 1) * g.dilation[axis]
        low = [position >= 0] if g.origin[axis] < 0 else []
        return low + ([position < size] if reach >= size else [])

    def stash(self, parity: Expr) -> None:
        """Puts what `fetch` loaded into one half of the shared arrays: the image with pixels side by side."""
        k, t = self.k, self.t
        between = t.threads // t.rows
        with k.unrolled(self.loads) as i:
            depth = k.let((self.part + i * between) * self.lanes)
            for lane in range(self.lanes):
                at = parity * self.a_size + (depth + lane) * t.rows + self.row
                self.a.store(at, self.next_a.load(i * self.lanes + lane))
        with self.vectors_of_weights() as (i, index):
            self.b.store(parity * self.weight_vectors + index, self.next_b.load(i, VECTOR), VECTOR)

    def multiply(self, parity: Expr) -> None:
        """All products of one half of the shared arrays: per step of the depth, an outer product in registers."""
        k, t = self.k, self.t
        across, down = t.rows // t.thread_rows, t.columns // t.thread_columns
        x, y = self.place()
        left, right = k.local(t.thread_rows, self.stored), k.local(t.thread_columns, self.stored)
        a, b = k.let(parity * (self.a_size // VECTOR) + x), k.let(parity * self.weight_vectors + y)
        with k.loop(t.words // UNROLLED, "part") as part, k.unrolled(UNROLLED) as step:
            depth = part * UNROLLED + step
            for i in range(t.thread_rows // VECTOR):
                at = a + depth * (t.rows // VECTOR) + i * across
                left.store(i, self.a.load(at, VECTOR), VECTOR)
            for j in range(t.thread_columns // VECTOR):
                at = b + depth * (t.columns // VECTOR) + j * down
                right.store(j, self.b.load(at, VECTOR), VECTOR)
            with k.unrolled(t.thread_rows) as i, k.unrolled(t.thread_columns) as j:
                at = i * t.thread_columns + j
                self.sums.store(at, self.product(left.load(i), right.load(j), self.sums.load(at)))

    def product(self, a: Expr, b: Expr, total: Expr) -> Expr:
        """The sum with the products of two words."""
        return total + a * b

    def place(self) -> tuple[Expr, Expr]:
        """Which rows and columns of the tile this thread computes."""
        y, x = divmod_(self.k, self.k.thread, self.t.rows // self.t.thread_rows)
        return x, y

    def write(self) -> None:
        """Bias, epilogue and stores, four channels of a pixel at a time."""
        k, c, t, g = self.k, self.c, self.t, self.g
        across, down = t.rows // t.thread_rows, t.columns // t.thread_columns
        x, y = self.place()
        group, tile = k.block(1), self.column_tile
        vectors = -(-c.group_out // VECTOR)
        for i in range(t.thread_rows // VECTOR):
            with k.unrolled(VECTOR) as e:
                row = k.let(self.row_tile * t.rows + (x + i * across) * VECTOR + e)
                with k.unless_certain(row < c.rows if c.rows % t.rows else None):
                    image, pixel = image_of(k, row, c.batch, g.grid[0] * g.grid[1])
                    position = k.let(self.position(pixel))
                    for j in range(t.thread_columns // VECTOR):
                        vector = k.let(tile * (t.columns // VECTOR) + y + j * down)
                        exists = vector < vectors if c.group_out % t.columns else None
                        with k.unless_certain(exists):
                            first = (e + i * VECTOR) * t.thread_columns + j * VECTOR
                            self.store(image, k.let(group * vectors + vector), position, first)

    def position(self, pixel: Expr) -> Expr:
        """Where in a plane of the result a pixel of the grid lies."""
        g = self.g
        if g.out_step == (1, 1) and g.out_start == (0, 0) and g.grid == g.out_size:
            return pixel
        y, x = divmod_(self.k, pixel, g.grid[1])
        return (y * g.out_step[0] + g.out_start[0]) * g.out_size[1] + x * g.out_step[1] + g.out_start[1]

    def store(
        self, image: Expr, vector: Expr, position: Expr, first: Expr, part: Expr = 0, lanes: int = VECTOR
    ) -> None:
        """Bias, epilogue and store of `lanes` sums from `first` on: a part of a pixel's block of channels."""
        k, c, share = self.k, self.c, self.block // lanes
        values: list[Any] = [self.sums.load(first + lane) for lane in range(lanes)]
        at = k.let((vector * c.result.pixels + position) * share + part)
        places = [image * (stride // lanes) + at for stride in c.extras]
        extras = list(zip(self.extras, places, strict=True))
        values = finished(k, values, self.bias, vector * share + part, extras, c.geometry.epilogue)
        store_vector(k, self.result, image * (c.result.stride // lanes) + at, values)


def divmod_flipped(k: CudaBuilder, value: Expr, divisor: int) -> tuple[Expr, Expr]:
    quotient, remainder = divmod_(k, value, divisor)
    return remainder, quotient


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"conv": lower}
"""Family of a kernel -> its lowering."""
