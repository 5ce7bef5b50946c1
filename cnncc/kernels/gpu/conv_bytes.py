"""Convolutions and fully connected layers on bytes: sums of int32, which are exact, then one conversion.

They are the implicit matrix product of `cnncc.kernels.gpu.conv`, four products of bytes at a time or on tensor cores.
Values keep their zero point: around an image lies that, and the biases are less what it adds to each sum. Scales, zero
points and bounds are operands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cnncc.base.elements import BYTES, FLOAT32, Element
from cnncc.ir import Constant
from cnncc.kernels.gpu.conv import (
    GpuDirectChoice,
    PackedCall,
    configure,
    conv_kernel,
    direct_candidates,
    estimate_conv,
    pack_weights,
)
from cnncc.kernels.gpu.conv_algorithm import GpuDirect
from cnncc.kernels.gpu.dense import pixels_of
from cnncc.kernels.gpu.depthwise import REGISTERS, GpuDepthwiseChoice, pack_depthwise
from cnncc.kernels.gpu.model import ByteTensorTile, beside_products
from cnncc.kernels.gpu.spec import GpuRule, GpuSite, View
from cnncc.kernels.gpu.window import GpuWindowConfig, window_kernel
from cnncc.kernels.gpu.window import configure as configure_window
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.byte_steps import packed_steps, steps_of, stored_steps
from cnncc.kernels.shared.convolution import ConvGeometry, conv_geometry
from cnncc.kernels.shared.operands import BlockCounters, Workspace
from cnncc.kernels.shared.spec import Call, Packed, Selection, blocks
from cnncc.kernels.shared.transposed import transposed_phases

VECTOR_BYTES = 16
"""Channels of a vector, also of an image whose channels do not lie side by side."""


def byte_geometry(geometry: ConvGeometry) -> ConvGeometry:
    """What the kernel computes: biases are never left out, and bounds are operands."""
    return replace(geometry, in_block=VECTOR_BYTES, bias=True, epilogue=())


def padded_channels(result: View) -> int:
    """Of biases and scales: whole vectors, whatever the layout of the result."""
    return blocks(result.channels, VECTOR_BYTES) * VECTOR_BYTES


def byte_steps(site: GpuSite) -> np.ndarray:
    """The operand that says how sums become results."""
    steps = steps_of(site)
    fill = int(np.full(4, steps.zero_in, site.type().element.dtype).view(np.int32)[0])
    return stored_steps(steps, fill, site.node.type.is_float)


def byte_call(
    site: GpuSite, geometry: ConvGeometry, weight: Constant, choice: GpuDirectChoice, suffix: str = ""
) -> PackedCall:
    """The launch of a convolution on bytes, its weights, and why this tile. `weight` is (o, i / groups, kh, kw)."""
    config = configure(site, geometry, choice)
    node, source = site.node, site.type()
    size = config.steps * config.tile.depth * config.column_tiles * config.tile.columns * geometry.groups
    packed = [Packed(f"{node.name}.weight{suffix}", weight.map((size,), lambda w: pack_weights(w, config)))]
    zero = steps_of(site).zero_in
    packed += packed_steps(site, weight, zero, padded_channels(config.result), byte_steps(site), suffix)
    if isinstance(config.tile, ByteTensorTile):
        fill = np.full(VECTOR_BYTES, zero, source.element.dtype)
        packed.append(Packed(f"{node.name}.around{suffix}", Constant(fill.shape, lambda: fill, source.element)))
    read, *added = site.values(node.inputs)
    expected = estimate_conv(config, site)
    why = f"on bytes, tile {config.tile.label}, {config.splits} parts of the sum; model: {expected.why}"
    shared = (Workspace(node.name), BlockCounters(node.name)) if config.splits > 1 else ()
    operands = (read, *(p.operand for p in packed), *added, *shared)
    kernel = conv_kernel(config, site)
    return Call(node.name, kernel, operands, site.result, True, config.workspace_bytes), tuple(packed), why


@dataclass(frozen=True)
class GpuByteDirect(GpuDirect):
    """Any convolution on bytes."""

    name: str = "direct_bytes"

    def geometry(self, site: GpuSite) -> ConvGeometry:
        return byte_geometry(conv_geometry(site))

    def call(self, site: GpuSite, weight: Constant, choice: GpuDirectChoice) -> PackedCall:
        return byte_call(site, self.geometry(site), weight, choice)


MOST_TAPS = 2**24 // (255 * 128)
"""Products of bytes whose sum float32 has, whatever they are."""


@dataclass(frozen=True)
class GpuByteDepthwise:
    """qconv with one input and one output channel per group, and more than one group: float32 products, which are exact
    as long as there are few."""

    name: str = "depthwise_bytes"

    def applies(self, site: GpuSite) -> bool:
        attrs, source = site.node.attrs, site.type()
        one = attrs["groups"] == source.shape[1] == attrs["out"] and source.shape[1] > 1
        same = site.view(site.node.name).block == VECTOR_BYTES
        return bool(one) and same and source.block == VECTOR_BYTES and math.prod(attrs["kernel"]) <= MOST_TAPS

    def candidates(self, site: GpuSite) -> list[Candidate[GpuDepthwiseChoice]]:
        """One."""
        streamed = window_kernel(self._config(site), site).estimate(site.target, REGISTERS, shared_bytes=0)
        cost = beside_products(site.target, streamed)
        return [Candidate(GpuDepthwiseChoice(self.name), cost, workspace_bytes=0, scratch_bytes=0)]

    def calls(self, site: GpuSite, choice: GpuDepthwiseChoice, why: str) -> Selection:
        node, config, weight = site.node, self._config(site), site.constant("weight")
        assert weight is not None
        size = config.result.blocks * config.result.block * math.prod(config.kernel)
        packed = [Packed(f"{node.name}.weight", weight.map((size,), lambda w: pack_depthwise(w, config)))]
        # The kernel takes the zero point away itself: what lies around the image is then nothing to add.
        packed += packed_steps(site, weight, 0, padded_channels(config.result), byte_steps(site))
        weights = tuple(p.operand for p in packed)
        operands = (*site.values(node.inputs[:1]), *weights, *site.values(node.inputs[1:]))
        call = Call(node.name, window_kernel(config, site), operands, site.result, True)
        text = f"depthwise on bytes: {config.strip} rows a thread, bound by memory"
        return Selection((call,), tuple(packed), text + why)

    @staticmethod
    def _config(site: GpuSite) -> GpuWindowConfig:
        return configure_window(site, "depthwise", (), bias=True)


def select_transposed(site: GpuSite) -> Selection:
    """A transposed convolution on bytes as one small convolution for each phase of its stride."""
    weight = site.constant("weight")
    assert weight is not None
    calls: list[Call] = []
    packed: list[Packed] = []
    for geometry, part, suffix in transposed_phases(site, weight):
        own = byte_geometry(geometry)
        best = min(direct_candidates(site, own), key=lambda c: c.cost)
        call, weights, _ = byte_call(site, own, part, best.choice, suffix)
        calls.append(call)
        packed += weights
    return Selection(tuple(calls), tuple(packed), f"on bytes, {len(calls)} phases of the stride, each a convolution")


def select_qfc(site: GpuSite) -> Selection:
    """A fully connected layer as a convolution of one pixel, in vectors of 16 numbers or one by one."""
    weight = site.constant("weight")
    assert weight is not None
    pixels = pixels_of(site)
    pixels = pixels if pixels.fits else replace(pixels, whole=False)
    geometry = pixels.geometry(VECTOR_BYTES, bias=True, epilogue=())
    best = min(direct_candidates(pixels, geometry), key=lambda c: c.cost)
    call, packed, why = byte_call(pixels, geometry, pixels.filters(weight), best.choice)
    return Selection((call,), packed, f"a 1x1 convolution of one pixel; {why}")


RULES: Mapping[str, tuple[GpuRule, ...]] = {"qconv_transpose": (select_transposed,), "qfc": (select_qfc,)}
"""Op -> its selectors; a `qconv` has a choice among algorithms."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys((*RULES, "qconv"), frozenset((*BYTES, FLOAT32)))
"""Op -> the types of numbers that its kernels take and give."""
