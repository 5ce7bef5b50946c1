"""The product of two computed matrices: a tile per block, whose operands go through shared memory step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.lower.epilogue import applied
from cnncc.kernels.gpu.matmul import GpuMatmulConfig
from cnncc.kernels.gpu.spec import VECTOR
from cnncc.kernels.shared.builder import Expr, i32, splat

UNROLLED = 8
"""Products of each sum in a row that the CUDA compiler unrolls."""


def lower(config: GpuMatmulConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return _Matmul(config).build(symbol)


class _Matmul:
    def __init__(self, config: GpuMatmulConfig) -> None:
        self.c = c = config
        self.t = t = config.tile
        self.k = k = CudaBuilder(c.grid, t.threads)
        self.left = k.operand("left", c.batch * c.left.numbers)
        self.right = k.operand("right", c.batch * c.right.numbers)
        self.extras = [k.images(f"extra{i}", c.result, c.batch) for i in range(len(c.extras))]
        self.result = k.images("result", c.result, c.batch)
        self.a_size, self.b_size = t.depth * t.line, t.depth * t.columns
        self.a, self.b = k.shared(2 * self.a_size), k.shared(2 * self.b_size)
        self.sums = k.local(t.thread_rows * t.thread_columns)
        a_lanes, b_lanes, _ = c.lanes
        self.a_loads = -(-t.rows * t.depth // (t.threads * a_lanes))
        self.b_loads = -(-t.columns * t.depth // (t.threads * b_lanes))
        self.next_a, self.next_b = k.local(self.a_loads * a_lanes), k.local(self.b_loads * b_lanes)

    def build(self, symbol: str) -> PrimFunc:
        k, c, t = self.k, self.c, self.t
        rest, across = divmod_(k, k.block(0), c.tiles[1])
        rest, down = divmod_(k, rest, c.tiles[0])
        self.image, self.plane = image_of(k, rest, c.batch, c.planes)
        self.first_row, self.first_column = k.let(down * t.rows), k.let(across * t.columns)
        self.left_base = k.let(self.image * c.left.stride + self.plane * c.left.pixels)
        self.right_base = k.let(self.image * c.right.stride + self.plane * c.right.pixels)
        with k.unrolled(t.thread_rows * t.thread_columns) as i:
            self.sums.store(i, splat(0.0, 1))
        self.steps()
        self.write()
        return k.finish(symbol)

    def steps(self) -> None:
        """The next step's loads are under way while this one's products are made."""
        k, steps = self.k, self.c.steps
        self.fetch(0)
        self.stash(0)
        k.barrier()
        with k.loop(steps, "step") as step:
            if isinstance(step, int):
                self.multiply(0)
                return
            more = step + 1 < steps
            with k.when(more):
                self.fetch(step + 1)
            parity = k.let(tirx.bitwise_and(step, i32(1)))
            self.multiply(parity)
            with k.when(more):
                self.stash(1 - parity)
            k.barrier()

    def place(self, i: int, line: int, lanes: int, total: int) -> tuple[Expr, Expr, Expr]:
        """Of the thread's load number `i` of `total` numbers in lines of that length: line and place in it, and whether
        it is there at all."""
        k = self.k
        number = k.let(k.thread + i * self.t.threads)
        exists = number < total // lanes if (i + 1) * self.t.threads * lanes > total else None
        along, at = divmod_(k, number, line // lanes)
        return along, k.let(at * lanes), exists

    def fetch(self, step: Expr) -> None:
        """A step's part of both operands, into registers; zeros beyond their ends."""
        k, c, t = self.k, self.c, self.t
        depth = k.let(step * t.depth)
        whole_depth = c.depth % t.depth == 0
        lanes = c.lanes[0]
        for i in range(self.a_loads):
            row, at, exists = self.place(i, t.depth, lanes, t.rows * t.depth)
            row, at = k.let(self.first_row + row), k.let(depth + at)
            inside = [row < c.rows if c.rows % t.rows else None, None if whole_depth else at < c.depth]
            self.load(self.next_a, i, self.left, self.left_base + row * c.depth + at, lanes, [exists, *inside])
        lanes = c.lanes[1]
        for i in range(self.b_loads):
            row, at, exists = self.place(i, t.columns, lanes, t.columns * t.depth)
            row, at = k.let(depth + row), k.let(self.first_column + at)
            inside = [None if whole_depth else row < c.depth, at < c.columns if c.columns % t.columns else None]
            self.load(self.next_b, i, self.right, self.right_base + row * c.columns + at, lanes, [exists, *inside])

    def load(self, to: Array, i: int, source: Array, at: Expr, lanes: int, conditions: list[Expr]) -> None:
        k = self.k
        if any(c is not None for c in conditions):
            to.store(i, splat(0.0, lanes), lanes)
        with k.unless_certain(*conditions):
            to.store(i, source.load(tirx.truncdiv(at, i32(lanes)) if lanes > 1 else at, lanes), lanes)

    def stash(self, parity: Expr) -> None:
        """From registers to one half of shared memory: [product][row] and [product][column]."""
        k, t, (a_lanes, b_lanes, _) = self.k, self.t, self.c.lanes
        for i in range(self.a_loads):
            row, at, exists = self.place(i, t.depth, a_lanes, t.rows * t.depth)
            with k.unless_certain(exists):
                for lane in range(a_lanes):
                    to = parity * self.a_size + (at + lane) * t.line + row
                    self.a.store(to, self.next_a.load(i * a_lanes + lane))
        for i in range(self.b_loads):
            row, at, exists = self.place(i, t.columns, b_lanes, t.columns * t.depth)
            with k.unless_certain(exists):
                vector = parity * (self.b_size // b_lanes) + row * (t.columns // b_lanes)
                self.b.store(vector + tirx.truncdiv(at, i32(b_lanes)), self.next_b.load(i, b_lanes), b_lanes)

    def place_of_thread(self) -> tuple[Expr, Expr]:
        """Which of the tile's vectors of rows and of columns begin this thread's: it has every so many further on, so
        that neighbouring threads read neighbouring vectors."""
        return divmod_(self.k, self.k.thread, self.t.columns // self.t.thread_columns)

    def multiply(self, parity: Expr) -> None:
        k, t = self.k, self.t
        down, across = self.place_of_thread()
        rows, columns = k.local(t.thread_rows), k.local(t.thread_columns)
        row_step, column_step = t.rows // t.thread_rows, t.columns // t.thread_columns
        a = k.let(parity * (self.a_size // VECTOR) + down)
        b = k.let(parity * (self.b_size // VECTOR) + across)
        with k.loop(t.depth // UNROLLED, "part") as part, k.unrolled(UNROLLED) as inner:
            at = part * UNROLLED + inner
            for i in range(t.thread_rows // VECTOR):
                rows.store(i, self.a.load(a + at * (t.line // VECTOR) + i * row_step, VECTOR), VECTOR)
            for j in range(t.thread_columns // VECTOR):
                columns.store(j, self.b.load(b + at * (t.columns // VECTOR) + j * column_step, VECTOR), VECTOR)
            with k.unrolled(t.thread_rows) as i, k.unrolled(t.thread_columns) as j:
                to = i * t.thread_columns + j
                self.sums.store(to, self.sums.load(to) + rows.load(i) * columns.load(j))

    def write(self) -> None:
        k, c, t = self.k, self.c, self.t
        down, across = self.place_of_thread()
        row_step, column_step = t.rows // t.thread_rows, t.columns // t.thread_columns
        lanes = c.lanes[2]
        plane = k.let(self.plane * c.result.pixels)
        with k.unrolled(t.thread_rows // VECTOR) as i, k.unrolled(VECTOR) as n:
            row = k.let(self.first_row + (down + i * row_step) * VECTOR + n)
            with k.unless_certain(row < c.rows if c.rows % t.rows else None):
                with k.unrolled(t.thread_columns // VECTOR) as j, k.unrolled(VECTOR // lanes) as m:
                    column = k.let(self.first_column + (across + j * column_step) * VECTOR + m * lanes)
                    with k.unless_certain(column < c.columns if c.columns % t.columns else None):
                        first = (i * VECTOR + n) * t.thread_columns + j * VECTOR + m * lanes
                        self.store(k.let(plane + row * c.columns + column), first)

    def store(self, at: Expr, first: Expr) -> None:
        """A vector of sums, from the one at index `first` on, to an index of an image."""
        k, c, lanes = self.k, self.c, self.c.lanes[2]

        def vector(stride: int) -> Expr:
            return tirx.truncdiv(self.image * stride + at, i32(lanes))

        added = [load_vector(k, e, vector(s), lanes) for e, s in zip(self.extras, c.extras, strict=True)]
        finals = applied(k, [self.sums.load(first + lane) for lane in range(lanes)], c.epilogue, added)
        store_vector(k, self.result, vector(c.result.stride), finals)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"matmul": lower}
"""Family of a kernel -> its lowering."""
