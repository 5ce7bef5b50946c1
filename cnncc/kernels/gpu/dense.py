"""Fully connected layers.

Of few images: products of each image with rows of weights, which are read once for several images. Of many: a 1x1
convolution of one pixel, whose tiles read the weights once for all images of a tile, on tensor cores with the types
that these multiply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cnncc.base.elements import ELEMENTS, FLOAT32, HALVES, TF32, Element, encode
from cnncc.ir import Constant
from cnncc.kernels.gpu.conv import conv_call, direct_candidates
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import FLOATS, VECTOR, GpuKernel, GpuRule, GpuSite, View
from cnncc.kernels.shared.convolution import ConvGeometry
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


def select_fc(site: GpuSite) -> Selection:
    """fc of a vector, or of an image as it is stored, as a product of vectors or of tiles: what the model finds
    faster."""
    found = [_of_vectors(site)]
    if site.batch >= FEWEST_IMAGES:
        found += _of_tiles(site)
    return min(found, key=lambda timed: timed[1])[0]


FEWEST_IMAGES = 8
"""From which on tiles are looked at: their rows are images."""
_Timed = tuple[Selection, float]
"""With the seconds that the model predicts."""


def _of_vectors(site: GpuSite) -> _Timed:
    node = site.node
    depth, out = site.view(node.inputs[0]).numbers, node.attrs["out"]

    def pack(w: np.ndarray) -> np.ndarray:
        check_range(w, site.stored, node.weights["weight"])
        return encode(_as_stored(w, site.view(node.inputs[0])).ravel(), site.stored)

    weight, bias = site.constant("weight"), site.constant("bias")
    assert weight is not None
    packed = [Packed(f"{node.name}.weight", weight.map((out * depth,), pack, element=site.stored))]
    if bias is not None:
        packed.append(Packed(f"{node.name}.bias", bias))
    config = _configure(site, depth, out)
    weights = tuple(p.operand for p in packed)
    operands = (*site.values(node.inputs[:1]), *weights, *site.values(node.inputs[1:]))
    kernel = _kernel(config, site)
    call = Call(node.name, kernel, operands, site.result, True)
    why = (
        f"{config.rows} rows x {config.images} images a block, {config.threads} threads share the sum; bound by weights"
    )
    seconds = kernel.estimate(site.target, registers=64, shared_bytes=0).seconds
    return Selection((call,), tuple(packed), why), seconds


@dataclass(frozen=True, eq=False)
class PixelSite(GpuSite):
    """The same layer as a convolution: each value is one pixel, with its numbers as channels, in blocks of 16 bytes or,
    where not all values are in `whole` ones, one by one."""

    whole: bool = True

    def view(self, name: str) -> View:
        view = super().view(name)
        block = FLOAT32.bytes(VECTOR) // view.element.itemsize if self.whole else 1
        return View(view.numbers, 1, 1, block, view.stride, view.element)

    @property
    def fits(self) -> bool:
        """Whether all values are in blocks, from where they begin to where they end."""
        views = {name: self.view(name) for name in (*self.node.inputs, self.node.name)}
        return all(view.channels % view.block == 0 and self.aligned(name) for name, view in views.items())

    def geometry(self, in_block: int, bias: bool, epilogue: Epilogue) -> ConvGeometry:
        """A 1x1 convolution."""
        one = (1, 1)
        return ConvGeometry(
            in_channels=self.view(self.node.inputs[0]).channels,
            out_channels=self.node.attrs["out"],
            in_block=in_block,
            in_size=one,
            grid=one,
            out_size=one,
            kernel=one,
            stride=one,
            dilation=one,
            origin=(0, 0),
            groups=1,
            bias=bias,
            epilogue=epilogue,
        )

    def filters(self, weight: Constant) -> Constant:
        """The weight as (o, i, 1, 1), in the order in which the input's numbers lie."""
        source = GpuSite.view(self, self.node.inputs[0])
        shape = (self.node.attrs["out"], source.numbers, 1, 1)
        return weight.map(shape, lambda w: _as_stored(w, source)[..., None, None])


def pixels_of(site: GpuSite, **changed: Any) -> PixelSite:
    """The site of a fully connected layer as that of a convolution."""
    return PixelSite(**{**{field.name: getattr(site, field.name) for field in fields(site)}, **changed})


def _of_tiles(site: GpuSite) -> list[_Timed]:
    """Empty where a value is not in whole blocks."""
    node, weight = site.node, site.constant("weight")
    assert weight is not None
    pixels = pixels_of(site, options=replace(site.options, dtype=_multiplied(site)))
    if not pixels.fits:
        return []
    geometry = pixels.geometry(pixels.view(node.inputs[0]).block, node.attrs["bias"], node.attrs["epilogue"])
    best = min(direct_candidates(pixels, geometry), key=lambda c: c.cost)
    call, packed, why = conv_call(pixels, geometry, pixels.filters(weight), best.choice)
    return [(Selection((call,), packed, f"a 1x1 convolution of one pixel; {why}"), best.cost)]


def _multiplied(site: GpuSite) -> str:
    """The dtype of the product. float32 that other layers round to halves is rounded to tf32, which has at least the
    bits of them."""
    dtype = site.options.dtype
    if site.type().element in HALVES or ELEMENTS.get(dtype) not in HALVES:
        return dtype
    return TF32.name if site.target.multiplies(TF32.name) else FLOAT32.name


def _as_stored(weight: np.ndarray, source: View) -> np.ndarray:
    """(out, c h w) to (out, order in which the numbers of a value lie), zeros for the channels that fill up a block."""
    out = len(weight)
    full = np.zeros((out, source.blocks * source.block, source.pixels), weight.dtype)
    full[:, : source.channels] = weight.reshape(out, source.channels, source.pixels)
    rows = full.reshape(out, source.blocks, source.block, source.pixels).transpose(0, 1, 3, 2)
    return rows.reshape(out, source.numbers)


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
    "fc": (select_fc,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, FLOATS)
"""Op -> the types of numbers that its kernels take and give."""
