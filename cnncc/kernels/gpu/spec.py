"""What a GPU kernel is, and what a rule may look at to choose one. Needs no TVM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cnncc.base.elements import ELEMENTS, FLOAT32, HALVES, Element
from cnncc.kernels.gpu.model import Estimate, Launch, LaunchWork, Product, estimate, stream_estimate
from cnncc.kernels.shared.spec import Kernel, Selection, Site
from cnncc.machines.gpus import Gpu
from cnncc.plan import Placement

VECTOR = 4
"""Float32 numbers of the widest load."""


@dataclass(frozen=True)
class GpuKernel(Kernel):
    """One `__global__` function; `units` is the number of its blocks."""

    grid: tuple[int, int, int] = (1, 1, 1)
    threads: int = 1
    work: LaunchWork = field(default=LaunchWork(0, 0), compare=False)
    product: Product | None = field(default=None, compare=False)
    """Of a matrix product in tiles; other kernels pass once over their operands."""
    loads: int = field(default=1, compare=False)
    """Vectors of those operands that a thread has under way at a time."""
    counters: int = field(default=0, compare=False)
    """Of blocks that are done, each of 4 bytes; a launch finds them zero and leaves them zero."""

    def estimate(self, gpu: Gpu, registers: int, shared_bytes: int) -> Estimate:
        """The model's time of a launch, where the compiled kernel takes so much of a multiprocessor."""
        if self.product is not None:
            return estimate(gpu, self.product, self.grid, self.work, registers)
        return stream_estimate(gpu, Launch(self.grid, self.threads, registers, shared_bytes), self.work, self.loads)


@dataclass(frozen=True)
class View:
    """A value in memory: channels in blocks (NCHWc), or a vector (one pixel, block 1). Counts numbers.

    Image i of a batch starts `i * stride` after the first one; 0 for a value that all images share.
    """

    channels: int
    height: int
    width: int
    block: int
    stride: int
    element: Element = FLOAT32

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.block)

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def numbers(self) -> int:
        """Of one image, with the channels that fill up the last block."""
        return self.blocks * self.block * self.pixels

    @property
    def label(self) -> str:
        """Numbers and layout in a kernel's name."""
        return f"{self.element.short}_{self.layout}"

    @property
    def layout(self) -> str:
        return f"nchw{self.block}c" if self.block > 1 else "nchw"


@dataclass(frozen=True, eq=False)
class GpuSite(Site[Gpu]):
    """A node to be computed on a GPU, with what a rule may look at."""

    placements: Mapping[str, Placement]
    copies: tuple[int, ...] = ()
    """For a concat: which arms are not written in place and must be copied."""

    @property
    def block(self) -> int:
        """Of what the node reads first."""
        return self.target.block_of(self.type().element)

    @property
    def stored(self) -> Element:
        """Of the node's weight."""
        return ELEMENTS[self.weights_dtype]

    def view(self, name: str) -> View:
        """Where a value's numbers lie, as an image of channels or as a vector."""
        kind = self.graph[name].type
        channels, height, width = kind.chw
        stride = self.placements[name].image_stride // kind.element.itemsize
        return View(channels, height, width, kind.block, stride, kind.element)

    @property
    def added(self) -> Element | None:
        """The type of the second value that the node reads, where it is another one than that of the result."""
        added = self.type(1).element if len(self.node.inputs) > 1 else self.element
        return None if added == self.element else added

    def aligned(self, name: str) -> bool:
        """Whether every image of a value starts at a multiple of 16 bytes."""
        placement = self.placements[name]
        return (placement.offset + placement.inner) % 16 == 0 and placement.image_stride % 16 == 0

    def bytes_of(self, *names: str) -> int:
        """Bytes of the values together."""
        return sum(self.graph[n].type.nbytes for n in names)


FLOATS = frozenset((FLOAT32, *HALVES))
"""What kernels take that compute in float32, and convert halves where they load and store."""
MOVED = frozenset(ELEMENTS.values())
"""What kernels take that only move numbers."""
GpuRule = Callable[[GpuSite], Selection | None]
"""Chooses the kernels of a node, or leaves it to the next rule of its op."""


def grid_of(total: int, threads: int) -> tuple[int, int, int]:
    """Blocks that give each of `total` things a thread."""
    return (max(1, -(-total // threads)), 1, 1)


def threads_for(total: int, gpu: Gpu) -> int:
    """Threads of a block for `total` independent things: fewer where the multiprocessors would not all get one."""
    threads = 256
    while threads > 64 and -(-total // threads) < 2 * gpu.multiprocessors:
        threads //= 2
    return threads
