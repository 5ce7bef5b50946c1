"""Fully connected layers: products of each image with rows of weights, which are read once for several images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import FLOAT32, Element, encode
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import FLOATS, VECTOR, GpuKernel, GpuRule, GpuSite
from cnncc.kernels.shared.spec import Call, Epilogue, Packed, Selection
from cnncc.weights.half import check_range


@dataclass(frozen=True)
class GpuDenseConfig:
    """A block makes `rows` results for each of `images` images; its threads share out the depth of the sum."""

    batch: int
    depth: int
    out: int
    stride: int
    """Numbers from image to image of what is read; of the result and the extras it is their own."""
    result_stride: int
    extras: tuple[int, ...]
    lanes: int
    rows: int
    images: int
    threads: int
    bias: bool
    epilogue: Epilogue
    element: Element
    """Of what is read; the result is float32."""
    stored: Element
    """Of the weights."""

    @property
    def grid(self) -> tuple[int, int, int]:
        return (-(-self.out // self.rows), -(-self.batch // self.images), 1)


def select_dense(site: GpuSite) -> Selection:
    """fc of a vector, or of an image as it is stored: the columns of the weights are put into the same order."""
    node = site.node
    weight, bias = site.constant("weight"), site.constant("bias")
    assert weight is not None
    source = site.view(node.inputs[0])
    depth, out = source.numbers, node.attrs["out"]

    def pack(w: np.ndarray) -> np.ndarray:
        """(out, c h w) to (out, stored order), zeros for the channels that fill up a block."""
        check_range(w, site.stored, node.weights["weight"])
        full = np.zeros((out, source.blocks * source.block, source.pixels), np.float32)
        full[:, : source.channels] = w.reshape(out, source.channels, source.pixels)
        rows = full.reshape(out, source.blocks, source.block, source.pixels).transpose(0, 1, 3, 2)
        return encode(rows.ravel(), site.stored)

    packed = [Packed(f"{node.name}.weight", weight.map((out * depth,), pack, element=site.stored))]
    if bias is not None:
        packed.append(Packed(f"{node.name}.bias", bias))
    config = _configure(site, depth, out)
    weights = tuple(p.operand for p in packed)
    operands = (*site.values(node.inputs[:1]), *weights, *site.values(node.inputs[1:]))
    call = Call(node.name, _kernel(config, site), operands, site.result, True)
    why = (
        f"{config.rows} rows x {config.images} images a block, {config.threads} threads share the sum; bound by weights"
    )
    return Selection((call,), tuple(packed), why)


def _configure(site: GpuSite, depth: int, out: int) -> GpuDenseConfig:
    node = site.node
    wide = VECTOR * FLOAT32.itemsize // min(site.type().element.itemsize, site.stored.itemsize)
    lanes = wide if depth % wide == 0 and site.aligned(node.inputs[0]) else 1
    images = min(site.batch, 4)
    per_thread = 4 * lanes  # so many numbers of a row, or more, keep a thread's loads in flight
    threads = 32
    while threads < 256 and 2 * threads * per_thread <= depth:
        threads *= 2
    rows = 1
    while rows < 4 and -(-out // (2 * rows)) * -(-site.batch // images) >= 8 * site.target.multiprocessors:
        rows *= 2
    return GpuDenseConfig(
        batch=site.batch,
        depth=depth,
        out=out,
        stride=site.view(node.inputs[0]).stride,
        result_stride=site.view(node.name).stride,
        extras=tuple(site.view(name).stride for name in node.inputs[1:]),
        lanes=lanes,
        rows=rows,
        images=images,
        threads=threads,
        bias=node.attrs["bias"],
        epilogue=node.attrs["epilogue"],
        element=site.type().element,
        stored=site.stored,
    )


LOADS = 4
"""Vectors that a thread has under way, as `_configure` sees to."""


def _kernel(c: GpuDenseConfig, site: GpuSite) -> GpuKernel:
    name = f"fc_{c.stored.short}_{c.rows}x{c.images}_{c.threads}"
    bytes_ = c.stored.bytes(c.out * c.depth) + site.bytes_of(site.node.name, *site.node.inputs)
    work = LaunchWork(2 * c.batch * c.out * c.depth, bytes_)
    return GpuKernel("dense", name, c, c.grid[0] * c.grid[1], 0, c.grid, c.threads, work, loads=LOADS)


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "fc": (select_dense,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, FLOATS)
"""Op -> the types of numbers that its kernels take and give."""
