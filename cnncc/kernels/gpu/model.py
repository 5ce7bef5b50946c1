"""What a matrix product on a GPU takes, by an analytic model: occupancy, waves, operations, bytes, latency.

It ranks tiles and predicts; nothing of it is measured. The constants are published micro-benchmarks of Ampere, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cnncc.base.elements import BFLOAT16, FLOAT16, FLOAT32, INT8, TF32, Element
from cnncc.machines.gpus import Gpu

LOAD_LATENCY = 500
"""Cycles from a load of device memory or L2 to its use. A step cannot be shorter, or, where the loads of several steps
are under way, than its share of them, unless other blocks fill it."""
SHARED_BYTES_PER_CYCLE = 128
SCHEDULERS = 4
"""Of a multiprocessor; each issues for its own warps."""
MOST_SHARED_BYTES = 48 << 10
"""Of a block, without opting in to more; the same on every device."""
L2_BYTES_PER_CYCLE = 64
"""That one multiprocessor gets at most."""
COPY_INSTRUCTIONS = 26
"""Of a thread, to copy one vector of the image of halves: which pixel, whether it is inside, the copy. Counted in the
machine code of 3x3 convolutions, of which 1x1 take half; a vector of weights takes 3."""
STEP_INSTRUCTIONS = 20
"""Of a thread, once a step, whatever it copies: to wait, to go on to the next stage. Counted too."""
COUNTER_CYCLES = 2000
"""From a block's last store of its part to its knowing whether it is the last: a fence, an atomic, a barrier."""
COPY_SECONDS = 8e-6
"""Of a copy between host and device, before its first byte."""
BUS_SHARE = 0.8
"""Of the bus's bytes, those that are not the headers of its packets."""
START_CYCLES = 1500
"""Of a block, before its first product and after its last: index arithmetic, first loads, stores."""


@dataclass(frozen=True)
class GpuTile:
    """A block computes `rows` pixels x `columns` channels, a thread `thread_rows` x `thread_columns` of them;
    `depth` products of each sum are in shared memory at a time, twice."""

    rows: int
    columns: int
    thread_rows: int
    thread_columns: int
    depth: int

    @property
    def threads(self) -> int:
        return self.rows * self.columns // (self.thread_rows * self.thread_columns)

    @property
    def per_word(self) -> int:
        """Products of the depth that are made at a time."""
        return FLOAT32.itemsize // self.element.itemsize

    @property
    def words(self) -> int:
        """Of 32 bits, of a row's depth."""
        return self.depth // self.per_word

    @property
    def shared_bytes(self) -> int:
        return 2 * 4 * self.words * (self.rows + self.columns)

    @property
    def registers(self) -> int:
        """Of a thread, about: sums, operands of a product, the next step's loads, addresses."""
        sums, operands = self.thread_rows * self.thread_columns, self.thread_rows + self.thread_columns
        loads = self.words * (self.rows + self.columns) // self.threads
        return sums + operands + loads + 36

    @property
    def label(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth}_{self.thread_rows}x{self.thread_columns}"

    @property
    def element(self) -> Element:
        """Of the operands."""
        return FLOAT32

    @property
    def stored(self) -> Element:
        """Of the weights in memory."""
        return self.element

    @property
    def ahead(self) -> int:
        """Steps whose loads are under way while one is multiplied."""
        return 1


@dataclass(frozen=True)
class ByteTile(GpuTile):
    """A `GpuTile` of bytes, four of whose products are made at a time (dp4a); the sums are int32."""

    @property
    def element(self) -> Element:
        return INT8


@dataclass(frozen=True)
class TensorTile:
    """As `GpuTile`, for tensor cores: `down` x `across` warps share the tile's rows and columns out, each in fragments
    of 16 x 8; the operands are in shared memory, the `depth` of a pixel or output channel side by side."""

    rows: int
    columns: int
    down: int
    across: int
    depth: int
    element: Element
    """Of the operands: bytes, float16, bfloat16, tf32, or float32, of which each product is three of tf32."""

    @property
    def threads(self) -> int:
        return 32 * self.down * self.across

    @property
    def fragments(self) -> tuple[int, int]:
        """Pieces of a warp."""
        return self.rows // self.down // 16, self.columns // self.across // 8

    @property
    def words(self) -> int:
        """Of 32 bits, of a row in shared memory: 8 of them are the depth of one product of fragments."""
        return self.element.bytes(self.depth) // 4

    @property
    def per_word(self) -> int:
        """Numbers of 32 bits of a row."""
        return FLOAT32.itemsize // self.element.itemsize

    @property
    def line(self) -> int:
        """Words from one row in shared memory to the next: so that the rows of a fragment lie in different banks."""
        return self.words + 4

    @property
    def terms(self) -> int:
        """Products on tensor cores for one of the sum."""
        return 3 if self.element == FLOAT32 else 1

    @property
    def rate(self) -> float:
        """Of the products, as a share of those of halves."""
        return 2 / (self.element.itemsize * self.terms)

    @property
    def shared_bytes(self) -> int:
        return 2 * 4 * self.line * (self.rows + self.columns)

    @property
    def registers(self) -> int:
        """Of a thread, about: sums, operands of a product, the next step's loads, addresses."""
        down, across = self.fragments
        loads = (self.depth * self.rows + self.words * self.columns) // self.threads
        operands = (4 * down + 2 * across) * (2 if self.terms > 1 else 1)
        return 4 * down * across + operands + loads + 40

    @property
    def label(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth}_mma"

    @property
    def stored(self) -> Element:
        """Of the weights in memory."""
        return self.element

    @property
    def ahead(self) -> int:
        """Steps whose loads are under way while one is multiplied."""
        return 1


@dataclass(frozen=True)
class HalfTile(TensorTile):
    """A `TensorTile` of halves, which are copied from memory into shared memory as they are, in vectors of 16 bytes.
    There `stages` steps of the depth have room: one is multiplied, the others are on their way."""

    stages: int = 3

    @property
    def line(self) -> int:
        """Words from one row in shared memory to the next; `key` gives rows different banks."""
        return self.words

    @property
    def per_line(self) -> int:
        """Vectors of a row."""
        return self.words // 4

    def key(self, row: int) -> int:
        """What the number of a vector in its line is combined with, by exclusive or, to give its place in shared
        memory: so the same vector of eight rows lies in eight different groups of four banks."""
        return row // (8 // self.per_line) % self.per_line

    @property
    def ahead(self) -> int:
        return self.stages - 1

    @property
    def shared_bytes(self) -> int:
        return self.stages * 4 * self.line * (self.rows + self.columns)

    @property
    def registers(self) -> int:
        """Of a thread, about: sums, operands of a product, addresses."""
        down, across = self.fragments
        return 4 * down * across + 4 * down + 2 * across + 40

    @property
    def label(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth}_{self.threads}_mma"


@dataclass(frozen=True)
class ByteTensorTile(HalfTile):
    """The same of bytes. A thread of a warp has of the results of a pixel four channels in a row."""


_SHAPES = ((128, 128, 2, 4), (128, 64, 4, 2), (64, 64, 2, 2), (128, 32, 4, 1), (64, 32, 2, 2), (32, 64, 2, 2),
           (32, 32, 2, 1))  # fmt: skip
_HALF_SHAPES = (
    ((128, 128, 2, 2), 32, 3),
    ((128, 128, 2, 4), 32, 3),
    ((128, 64, 2, 2), 32, 4),
    ((128, 64, 4, 2), 32, 4),
    ((64, 128, 2, 2), 32, 4),
    ((64, 64, 2, 2), 32, 4),
    ((64, 64, 2, 2), 64, 3),
    ((128, 32, 4, 1), 32, 4),
    ((64, 32, 2, 2), 32, 4),
    ((64, 32, 2, 2), 64, 4),
    ((32, 64, 2, 2), 32, 4),
    ((32, 64, 2, 2), 64, 4),
    ((32, 32, 2, 1), 32, 4),
    ((32, 32, 2, 1), 64, 4),
)
"""Rows, columns and warps, depth and stages: 48 KB of shared memory at most."""
TENSOR_TILES: Mapping[str, tuple[TensorTile, ...]] = {
    "float16": tuple(HalfTile(*shape, depth, FLOAT16, stages) for shape, depth, stages in _HALF_SHAPES),
    "bfloat16": tuple(HalfTile(*shape, depth, BFLOAT16, stages) for shape, depth, stages in _HALF_SHAPES),
    "tf32": tuple(TensorTile(*shape, 16, TF32) for shape in _SHAPES),
    "tf32x3": tuple(TensorTile(*shape, 16, FLOAT32) for shape in _SHAPES),
}
"""By the dtype of the options, or of what is read."""
BYTE_TENSOR_TILES = tuple(ByteTensorTile(*shape, 2 * depth, INT8, stages) for shape, depth, stages in _HALF_SHAPES)
"""Of bytes in blocks of channels."""
SHAPES = (
    (128, 128, 8, 8),
    (128, 64, 8, 8),
    (64, 128, 8, 8),
    (64, 64, 8, 4),
    (64, 64, 4, 4),
    (128, 32, 8, 4),
    (32, 128, 4, 8),
    (64, 32, 4, 4),
    (32, 64, 4, 4),
    (32, 32, 4, 4),
    (128, 16, 4, 4),
    (16, 64, 4, 4),
    (16, 128, 4, 4),
)


@cache
def tiles(in_block: int) -> tuple[GpuTile, ...]:
    """Tiles that the kernel can be built for: each thread loads whole vectors of the image, of one pixel."""
    made = [GpuTile(*shape, depth) for shape in SHAPES for depth in (8, 16, 32)]
    return tuple(t for t in made if _fits(t, in_block))


@cache
def byte_tiles() -> tuple[ByteTile, ...]:
    """The same of bytes, of which a vector has 16."""
    made = [ByteTile(*shape, 4 * depth) for shape in SHAPES for depth in (8, 16, 32)]
    return tuple(t for t in made if _fits(t, 16))


def _fits(tile: GpuTile, in_block: int) -> bool:
    loads = tile.rows * tile.depth // in_block
    even = tile.threads % tile.rows == 0 and loads % tile.threads == 0
    return even and loads <= 4 * tile.threads and tile.shared_bytes <= MOST_SHARED_BYTES


@dataclass(frozen=True)
class Product:
    """A matrix product as a block of threads computes it: its tile, and how often it goes on by the tile's depth."""

    tile: GpuTile | TensorTile
    steps: int
    splits: int = 1
    """Blocks that share each sum out; the last one of them to be done adds up their parts."""
    to_l2: float = 1.0
    """Share of the reads of the image that the first cache does not answer."""
    again: int = 0
    """Bytes that device memory gives more than once."""


@dataclass(frozen=True)
class LaunchWork:
    """What one launch does: operations (two for a multiply-add), and bytes of device memory it cannot do without."""

    flops: int
    bytes: int
    tensor: bool = False
    """Whether the operations are of tensor cores."""
    products: bool = True
    """Whether it computes products of its node; a transform, or a sum of parts, only serves the launch that does."""


@dataclass(frozen=True)
class Launch:
    """Blocks of a launch, and what each takes of a multiprocessor: threads, registers of a thread, shared memory."""

    grid: tuple[int, int, int]
    threads: int
    registers: int
    shared_bytes: int


@dataclass(frozen=True)
class Estimate:
    """A prediction: seconds, what bounds them, and what the device could do at best."""

    seconds: float
    limit: float
    bound: str
    occupancy: float

    @property
    def why(self) -> str:
        return f"{self.seconds * 1e6:.1f} us, bound by {self.bound}, occupancy {self.occupancy:.0%}"


def resident_blocks(gpu: Gpu, threads: int, registers: int, shared_bytes: int) -> int:
    """Blocks that a multiprocessor holds at a time; 0 if not even one."""
    allocated = -(-registers // 8) * 8 * -(-threads // 32) * 32
    limits = [
        gpu.threads_per_multiprocessor // (-(-threads // 32) * 32),
        gpu.blocks_per_multiprocessor,
        gpu.registers_per_multiprocessor // max(1, allocated),
        gpu.shared_bytes_per_multiprocessor // (shared_bytes + 1024),
    ]
    return min(limits)


def estimate(
    gpu: Gpu, product: Product, grid: tuple[int, int, int], work: LaunchWork, registers: int | None = None
) -> Estimate:
    """Time of a matrix product in tiles. `registers` are those of a thread, if known; else a guess is taken."""
    tile, steps = product.tile, product.steps
    blocks = math.prod(grid)
    fit = max(1, resident_blocks(gpu, tile.threads, registers or tile.registers, tile.shared_bytes))
    most = -(-blocks // gpu.multiprocessors)
    resident = min(fit, most)
    step = _step_cycles(gpu, tile, resident)
    rounds = -(-most // resident)
    waits = LOAD_LATENCY / tile.ahead  # a step's loads are under way for so many steps
    cycles = rounds * (steps * max(step, waits) + START_CYCLES) + finish_cycles(product)
    parts = 2 * blocks * part_bytes(tile) if product.splits > 1 else 0
    times = {
        "multiply-adds": cycles / (1e6 * gpu.clock_mhz),
        "L2": (blocks * steps * tile.depth * _bytes_read(product) + parts) / (1e9 * gpu.l2_gbytes_per_second),
        "memory": (work.bytes + product.again) / (0.85 * gpu.bandwidth),
    }
    bound = max(times, key=lambda name: times[name])
    if bound == "multiply-adds" and step < waits:
        bound = "latency"
    peak = gpu.tensor_flops * tile.rate if isinstance(tile, TensorTile) else gpu.peak_flops * tile.per_word
    limit = max(work.flops / peak, work.bytes / gpu.bandwidth)
    occupancy = resident * tile.threads / gpu.threads_per_multiprocessor
    return Estimate(max(times.values()), limit, bound, occupancy)


def copy_seconds(gpu: Gpu, nbytes: int) -> float:
    """From page-locked memory of the host to the device, or back."""
    return COPY_SECONDS + nbytes / (BUS_SHARE * 1e9 * gpu.host_gbytes_per_second)


def part_bytes(tile: GpuTile | TensorTile) -> int:
    """What a block has of the sums of its tile, which it leaves for the last one to add up."""
    return FLOAT32.bytes(tile.rows * tile.columns)


AT_ONCE = 32
"""Numbers of parts that a thread loads at a time, while it adds them up: it has registers for no more, beside the sums,
if it is to have as few as while it multiplies."""


def parts_together(tile: GpuTile | TensorTile) -> int:
    """Parts of a sum that are loaded at a time; 1 where it is not even one."""
    return max(1, AT_ONCE * tile.threads // (tile.rows * tile.columns))


def finish_cycles(product: Product) -> float:
    """From the last product to the sum of all parts, in the last block: stores, a counter, and the loads of the parts,
    some at a time."""
    if product.splits == 1:
        return 0.0
    tile = product.tile
    pieces = -(-tile.rows * tile.columns // (AT_ONCE * tile.threads))
    rounds = pieces * -(-product.splits // parts_together(tile))
    return COUNTER_CYCLES + rounds * LOAD_LATENCY + product.splits * part_bytes(tile) / L2_BYTES_PER_CYCLE


def _bytes_read(product: Product) -> float:
    """Of image and weights, past the first cache, for each product of a sum."""
    tile = product.tile
    image = tile.element if isinstance(tile, HalfTile | ByteTile) else FLOAT32
    return image.itemsize * product.to_l2 * tile.rows + tile.stored.itemsize * tile.columns


def _step_cycles(gpu: Gpu, tile: GpuTile | TensorTile, resident: int) -> float:
    """Cycles in which a multiprocessor makes the products of one step of all its blocks."""
    warps = resident * tile.threads / 32
    per_scheduler = max(1.0, warps / SCHEDULERS)
    if isinstance(tile, TensorTile):
        return _tensor_cycles(gpu, tile, warps, per_scheduler)
    pairs, operands = tile.thread_rows * tile.thread_columns, tile.thread_rows + tile.thread_columns
    # A scheduler issues one instruction a cycle: a product for 32 threads, a load of four operands, an address.
    issue = max(pairs * 32 * SCHEDULERS / gpu.fma_per_cycle, pairs + operands / 4 + 2)
    hidden = per_scheduler / (per_scheduler + 0.4)  # one warp alone waits for shared memory now and then
    shared = warps * operands * 4 * 32 / 2 / SHARED_BYTES_PER_CYCLE  # about half of what is read is read by two
    return tile.words * max(per_scheduler * issue / hidden, shared)


def _tensor_cycles(gpu: Gpu, tile: TensorTile, warps: float, per_scheduler: float) -> float:
    """The same on tensor cores: their products, or what they and the loads before them move through shared memory."""
    down, across = tile.fragments
    hidden = per_scheduler / (per_scheduler + 0.6)
    products = down * across * 16 * 8 * tile.depth * SCHEDULERS / (gpu.tensor_fma_per_cycle * tile.rate)
    operands, pieces = 4 * down + 2 * across, tile.words / 8
    reads = warps * pieces * operands
    writes = warps * tile.words * (tile.rows + tile.columns) / tile.threads
    if isinstance(tile, HalfTile):
        copies = (COPY_INSTRUCTIONS * tile.rows + 3 * tile.columns) * tile.per_line / tile.threads
        issue = per_scheduler * (pieces * (down * across + down + across / 2) + copies + STEP_INSTRUCTIONS)
    else:
        apart = 3 * operands if tile.terms > 1 else 0  # to take an operand apart
        issue = per_scheduler * (pieces * (5 * down + 3 * across + apart) + tile.depth * tile.rows / tile.threads)
    return max(per_scheduler * products / hidden, reads + writes, issue)


def stream_estimate(gpu: Gpu, launch: Launch, work: LaunchWork, loads: int = 1) -> Estimate:
    """Time of a kernel that passes once over its operands: of its bytes, if enough loads are under way, or operations.

    Each thread has `loads` vectors under way at a time."""
    blocks = math.prod(launch.grid)
    fit = max(1, resident_blocks(gpu, launch.threads, launch.registers, launch.shared_bytes))
    resident = min(fit, -(-blocks // gpu.multiprocessors))
    busy = min(blocks, resident * gpu.multiprocessors) * launch.threads
    cycle = 1 / (1e6 * gpu.clock_mhz)
    reach = busy * 16 * loads / (LOAD_LATENCY * cycle)  # Little's law
    memory = work.bytes / min(0.85 * gpu.bandwidth, reach)
    compute = work.flops / (0.5 * gpu.peak_flops)
    start = START_CYCLES * cycle
    bound = "latency" if start > max(memory, compute) else "memory" if memory >= compute else "operations"
    seconds = start + max(memory, compute)
    limit = max(work.flops / gpu.peak_flops, work.bytes / gpu.bandwidth)
    return Estimate(seconds, limit, bound, resident * launch.threads / gpu.threads_per_multiprocessor)


def beside_products(gpu: Gpu, streamed: Estimate) -> float:
    """Seconds of a kernel that passes once over its operands, to be compared with those of a matrix product: `estimate`
    takes the larger of the start of a block and of what is read, `stream_estimate` their sum."""
    start = START_CYCLES / (1e6 * gpu.clock_mhz)
    return max(start, streamed.seconds - start)
