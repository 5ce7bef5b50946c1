"""The direct convolution kernel: gather, register tile, epilogue."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.kernels.conv_direct import ConvConfig
from cnncc.kernels.cpu.vectors import apply_epilogue
from cnncc.kernels.tiles import even_tiles

UNROLLED_TAPS = 16
"""Steps of the reduction unrolled where the channels of a block do not give enough."""
UNROLLED_CHANNELS = 4
"""Channels of a block unrolled; more makes LLVM keep weights alive across steps and spill accumulators."""


def lower(config: ConvConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return _Conv(config).build(symbol)


class _Conv:
    def __init__(self, config: ConvConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        plane = c.out_size[0] * c.out_size[1]
        self.image = k.operand("image", c.in_blocks * c.in_block * c.in_size[0] * c.in_size[1])
        self.weight = k.operand("weight", max(1, c.reduction) * c.out_blocks * c.block)
        self.bias = k.operand("bias", c.out_blocks * c.block) if c.bias else None
        adds = sum(name == "add" for name, _ in c.epilogue)
        self.extras = [k.operand(f"extra{i}", c.out_blocks * plane * c.block) for i in range(adds)]
        self.result = k.operand("result", c.out_blocks * plane * c.block)
        self.window = k.scratch(c.scratch_floats) if c.gathers else None

    def build(self, symbol: str) -> PrimFunc:
        self.k.units(self.unit)
        return self.k.finish(symbol)

    def unit(self, unit: Expr) -> None:
        """One chunk of output blocks on one piece of rows."""
        k, c = self.k, self.c
        chunk = k.let(unit // c.row_units)
        # The last piece starts earlier instead of being smaller only where every piece has the same size.
        row = k.let((unit % c.row_units) * c.rows)
        first_in = k.let(chunk // c.chunks * c.group_in_blocks)
        if self.window is not None:
            self.gather(self.window, first_in, row)
        whole, last = divmod(c.grid[0], c.rows)
        if last == 0:
            self.rows(chunk, first_in, row, c.rows)
        elif whole == 0:
            self.rows(chunk, first_in, row, last)
        else:
            k.when(
                row + c.rows <= c.grid[0],
                lambda: self.rows(chunk, first_in, row, c.rows),
                lambda: self.rows(chunk, first_in, row, last),
            )

    def rows(self, chunk: Expr, first_in: Expr, row: Expr, count: int) -> None:
        """All output blocks of the chunk on `count` rows: blocks outermost, so that their weights stay in cache."""
        k, c = self.k, self.c
        per_chunk = c.group_out_blocks // c.chunks

        def tiles(block: Expr, size: int) -> None:
            for row_start, rows, row_runs in even_tiles(count, c.tile.rows):
                for column_start, columns, column_runs in even_tiles(c.grid[1], c.tile.columns):
                    k.loop(row_runs, lambda i, s=row_start, r=rows, cs=column_start, cn=columns, cr=column_runs: k.loop(
                        cr, lambda j: self.tile(block, size, first_in, row, i * r + s, j * cn + cs, r, cn)
                    ))  # fmt: skip

        for start, size, runs in c.chunk_runs:
            k.loop(runs, lambda g, s=start, n=size: tiles(k.let(chunk * per_chunk + s + g * n), n))

    def tile(
        self, block: Expr, size: int, first_in: Expr, row: Expr, y: Expr, x: Expr, rows: int, columns: int
    ) -> None:
        """`rows` x `columns` pixels of `size` output blocks from output block `block`; y counts from `row`."""
        k, c = self.k, self.c
        pixels = [(r, t) for r in range(rows) for t in range(columns)]
        vectors = c.block // c.lanes
        acc = k.registers(len(pixels) * size * c.block)
        for b in range(size):
            for v in range(vectors):
                start = splat(0.0, c.lanes)
                if self.bias is not None:
                    start = k.let(self.bias.load((block + b) * c.block + v * c.lanes, c.lanes))
                for p in range(len(pixels)):
                    acc.store((p * size + b) * c.block + v * c.lanes, start, c.lanes)
        self.reduce(acc, block, size, first_in, row, y, x, pixels)
        self.store(acc, block, size, k.let(row + y), x, pixels)

    def source(self, first_in: Expr, row: Expr, y: Expr, x: Expr) -> tuple[Buffer, Expr, int, int]:
        """Where the tile's first tap is: buffer, index, floats from one row to the next, and from block to block."""
        k, c = self.k, self.c
        if self.window is not None:
            height, width = c.window
            at = k.let((y * c.stride[0] * width + x * c.stride[1]) * c.in_block)
            return self.window, at, width * c.in_block, height * width * c.in_block
        height, width = c.in_size
        top = (row + y) * c.stride[0] + c.origin[0]
        left = x * c.stride[1] + c.origin[1]
        at = k.let(((first_in * height + top) * width + left) * c.in_block)
        return self.image, at, width * c.in_block, height * width * c.in_block

    def reduce(
        self, acc: Buffer, block: Expr, size: int, first_in: Expr, row: Expr, y: Expr, x: Expr, pixels: list[tuple[int, int]]
    ) -> None:
        """acc += sum over channels and taps of pixel times weights."""
        k, c = self.k, self.c
        source, base, row_step, block_step = self.source(first_in, row, y, x)
        weights = k.let(block * (c.reduction * c.block))
        kh, kw = c.kernel
        offsets = [r * c.stride[0] * row_step + t * c.stride[1] * c.in_block for r, t in pixels]

        def step(at: Expr, weight: Expr) -> None:
            vectors = [k.let(self.weight.load(weight + i * c.lanes, c.lanes)) for i in range(size * c.block // c.lanes)]
            for p, offset in enumerate(offsets):
                value = k.let(splat(source.load(at + offset), c.lanes))
                for i, vector in enumerate(vectors):
                    index = p * size * c.block + i * c.lanes
                    acc.store(index, acc.load(index, c.lanes) + value * vector, c.lanes)

        def channels(at: Expr, weight: Expr) -> None:
            unroll = min(UNROLLED_CHANNELS, c.in_block)

            def several(i: Expr) -> None:
                here, there = k.let(at + i * unroll), k.let(weight + i * (unroll * size * c.block))
                for q in range(unroll):
                    step(here + q, there + q * (size * c.block))

            k.loop(c.in_block // unroll, several)

        def tap_row(plane: Expr, weight: Expr, i: Expr) -> None:
            at = k.let(plane + i * (c.dilation[0] * row_step))
            here = k.let(weight + i * (kw * c.in_block * size * c.block))

            def tap(j: Expr) -> None:
                channels(
                    k.let(at + j * (c.dilation[1] * c.in_block)), k.let(here + j * (c.in_block * size * c.block))
                )

            if c.in_block == 1 and kw <= UNROLLED_TAPS:
                for j in range(kw):
                    tap(j)
            else:
                k.loop(kw, tap)

        def plane(b: Expr) -> None:
            at, here = k.let(base + b * block_step), k.let(weights + b * (c.taps * c.in_block * size * c.block))
            k.loop(kh, lambda i: tap_row(at, here, i))

        if c.taps:
            k.loop(c.group_in_blocks, plane)

    def store(self, acc: Buffer, block: Expr, size: int, y: Expr, x: Expr, pixels: list[tuple[int, int]]) -> None:
        """The epilogue on every vector of the tile, and its result at the output pixels."""
        k, c = self.k, self.c
        height, width = c.out_size
        corner = k.let((y * c.out_step[0] + c.out_start[0]) * width + x * c.out_step[1] + c.out_start[1])
        for b in range(size):
            at = k.let(((block + b) * (height * width) + corner) * c.block)
            for p, (r, t) in enumerate(pixels):
                for v in range(c.block // c.lanes):
                    offset = (r * c.out_step[0] * width + t * c.out_step[1]) * c.block + v * c.lanes
                    index = at + offset
                    extras: list[Callable[[], Expr]] = [lambda e=e, i=index: e.load(i, c.lanes) for e in self.extras]
                    value = acc.load((p * size + b) * c.block + v * c.lanes, c.lanes)
                    self.result.store(index, apply_epilogue(k, value, c.epilogue, extras, c.lanes), c.lanes)

    def gather(self, window: Buffer, first_in: Expr, row: Expr) -> None:
        """Copies the input rows of the unit into the window, zeros where taps fall outside the image."""
        c = self.c
        gather_rows(
            self.k, self.image, window, first_in, c.group_in_blocks, c.in_block, c.in_size, c.window,
            self.k.let(row * c.stride[0] + c.origin[0]), c.origin[1], 0.0,
        )  # fmt: skip




def gather_rows(
    k: KernelBuilder, image: Buffer, window: Buffer, first: Expr, count: int, block: int, size: tuple[int, int],
    window_size: tuple[int, int], top: Expr, left: int, outside: float,
) -> None:  # fmt: skip
    """Copies `count` channel blocks from `first` of a window whose corner is (top, left) in the image, `outside` beyond it."""
    height, width = size
    rows, columns = window_size
    begin = min(columns, max(0, -left))
    end = max(begin, min(columns, width - left))

    def fill(at: Expr, pixels: int) -> None:
        copy_floats(k, None, 0, window, at, pixels * block, outside)

    def plane(b: Expr) -> None:
        def one(r: Expr) -> None:
            y = k.let(top + r)
            at = k.let((b * rows + r) * (columns * block))

            def inside() -> None:
                fill(at, begin)
                source = k.let((((first + b) * height + y) * width + (begin + left)) * block)
                copy_floats(k, image, source, window, k.let(at + begin * block), (end - begin) * block)
                fill(k.let(at + end * block), columns - end)

            k.when(tirx.all(y >= 0, y < height), inside, lambda: fill(at, columns))

        k.loop(rows, one)

    k.loop(count, plane)


def copy_floats(
    k: KernelBuilder, source: Buffer | None, at: Expr, target: Buffer, to: Expr, count: int, value: float = 0.0
) -> None:
    """Copies `count` floats in vectors of 16, 8, 4 and single ones; without a source, stores `value`."""
    done = 0
    for lanes in (16, 8, 4, 1):
        runs = (count - done) // lanes

        def move(i: Expr, lanes: int = lanes, done: int = done) -> None:
            what = splat(value, lanes) if source is None else source.load(at + i * lanes + done, lanes)
            target.store(to + i * lanes + done, what, lanes)

        k.loop(runs, move)
        done += runs * lanes
