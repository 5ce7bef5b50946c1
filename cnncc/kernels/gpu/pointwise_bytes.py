"""Layers on bytes without weights: sums, products with a factor per channel, tables of 256 bytes, averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cnncc.base.elements import BYTES, FLOAT32, INT8, INT32, Element
from cnncc.ir import Constant
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.byte_steps import NOTHING, Steps, stored_steps
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.ops.byte_arithmetic import byte_bounds, known, mean_factor
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.quantized import residual_of

ByteMode = Literal["add", "multiply", "table"]


@dataclass(frozen=True)
class GpuBytesConfig:
    """A vector of the result per thread: of two images, of an image and a number per channel, or of a table."""

    mode: ByteMode
    batch: int
    operands: tuple[View, ...]
    result: View
    threads: int

    @property
    def per_image(self) -> int:
        return self.result.numbers // self.result.block


@dataclass(frozen=True)
class GpuByteMeanConfig:
    """The average of each channel: a block of threads has a vector of channels of an image."""

    batch: int
    source: View
    result: View
    threads: int

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.batch * self.source.blocks, 1, 1)


def select_qadd(site: GpuSite) -> Selection:
    """A sum of two images."""
    a, b = (residual_of(NOTHING, site.type(i), site.node.type) for i in (0, 1))
    to = byte_bounds(site.node.type)
    steps = Steps(a.zero, to.low, to.high, to.zero, b.zero, float(b.scale))
    packed = _packed_steps(site, a.scale, steps)
    return _selection(site, "add", site.node.inputs, packed, "number by number")


def select_qmul(site: GpuSite) -> Selection:
    """An image times a factor for each channel."""
    source, result = known(site.type()), site.node.type
    ratio = np.float32(source.scale) / np.float32(known(result).scale)
    to = byte_bounds(result)
    numbers = np.array([ratio, source.zero, to.zero, to.low - to.zero, to.high - to.zero], np.float32)
    packed = (Packed(f"{site.node.name}.steps", Constant(numbers.shape, lambda: numbers)),)
    return _selection(site, "multiply", site.node.inputs, packed, "a factor per channel")


def select_lookup(site: GpuSite) -> Selection:
    """A table of 256 bytes."""
    table = site.constant("table")
    assert table is not None
    return _table(site, table)


def select_bounded(site: GpuSite) -> Selection | None:
    """An activation that bounds bytes, as a table."""
    kind = site.type()
    if kind.element not in BYTES:
        return None
    low, high = BOUNDED[site.node.op](site.node.attrs)
    to = byte_bounds(kind, low, high)
    bits = np.clip(np.arange(256, dtype=np.uint8).view(kind.element.dtype), to.low, to.high).view(np.int8)
    return _table(site, Constant(bits.shape, lambda: bits, INT8))


def _table(site: GpuSite, table: Constant) -> Selection:
    packed = (Packed(f"{site.node.name}.table", table),)
    return _selection(site, "table", site.node.inputs, packed, "a table of 256 bytes")


def select_qgap(site: GpuSite) -> Selection:
    """The average of each channel."""
    node, kind, result = site.node, site.type(), site.node.type
    source = site.view(node.inputs[0])
    zero = known(kind).zero
    if result.is_float:
        steps = Steps(zero, -np.inf, np.inf)
    else:
        to = byte_bounds(result)
        steps = Steps(zero, to.low, to.high, to.zero)
    own = 1.0 if result.is_float else known(result).scale
    packed = _packed_steps(site, mean_factor(known(kind).scale, source.pixels, own), steps)
    threads = 32
    while threads < MOST_THREADS and threads < source.pixels:
        threads *= 2
    config = GpuByteMeanConfig(site.batch, source, site.view(node.name), threads)
    work = LaunchWork(site.batch * source.numbers, site.bytes_of(node.name, *node.inputs))
    kernel = GpuKernel("byte_mean", f"qgap_{source.label}", config, config.grid[0], 0, config.grid, threads, work)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    return Selection((Call(node.name, kernel, operands, site.result, True),), packed, "a vector of channels a block")


MOST_THREADS = 128
"""Of a block that makes an average: its sums are in shared memory."""


def _packed_steps(site: GpuSite, scale: np.float32, steps: Steps) -> tuple[Packed, ...]:
    """A scale, and what else the kernel has to know."""
    name, numbers = site.node.name, stored_steps(steps, 0, site.node.type.is_float)
    factor = np.array([scale], np.float32)
    return (
        Packed(f"{name}.scale", Constant(factor.shape, lambda: factor)),
        Packed(f"{name}.steps", Constant(numbers.shape, lambda: numbers, INT32)),
    )


def _selection(site: GpuSite, mode: ByteMode, inputs: Sequence[str], packed: tuple[Packed, ...], why: str) -> Selection:
    node, result = site.node, site.view(site.node.name)
    total = site.batch * result.numbers // result.block
    threads = threads_for(total, site.target)
    views = tuple(site.view(name) for name in inputs)
    config = GpuBytesConfig(mode, site.batch, views, result, threads)
    grid = grid_of(total, threads)
    work = LaunchWork(total * result.block, site.bytes_of(node.name, *node.inputs))
    kernel = GpuKernel("bytes", f"{node.op}_{result.label}", config, grid[0], 0, grid, threads, work)
    operands = (*site.values(inputs), *(p.operand for p in packed))
    return Selection((Call(node.name, kernel, operands, site.result, True),), packed, why)


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "qadd": (select_qadd,),
    "qmul": (select_qmul,),
    "qgap": (select_qgap,),
    "lookup": (select_lookup,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, frozenset((*BYTES, FLOAT32)))
"""Op -> the types of numbers that its kernels take and give."""
