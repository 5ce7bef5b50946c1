"""The convolutions on bytes as algorithms of a `qconv` node."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from cnncc import ops
from cnncc.base.elements import FLOAT32
from cnncc.ir import Constant, Graph, Node
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.budget import choose
from cnncc.kernels.cpu.byte_operands import ByteTypes, OnBytes, kernel_steps
from cnncc.kernels.cpu.conv_algorithm import Direct
from cnncc.kernels.cpu.conv_bytes import byte_candidates, byte_cost, byte_kernel, byte_problem, configure_bytes
from cnncc.kernels.cpu.conv_choice import DirectChoice, of_phase
from cnncc.kernels.cpu.conv_direct import pack_conv
from cnncc.kernels.cpu.depthwise_bytes import (
    ByteDepthwiseConfig,
    depthwise_byte_kernel,
    depthwise_bytes,
    pack_depthwise,
)
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.cpu.tiles import choose_tile, total_cycles
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.byte_steps import packed_steps, steps_of
from cnncc.kernels.shared.convolution import ConvGeometry, conv_geometry, conv_merge, densify
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection
from cnncc.kernels.shared.transposed import transposed_phases


def types_of(site: CpuSite) -> ByteTypes:
    """The element types of the node's values."""
    residual = site.type(1).element.name if len(site.node.inputs) > 1 else ""
    return ByteTypes(site.type().element.name, site.node.type.element.name, residual)


def weights_of(
    site: CpuSite, config: OnBytes, weight: Constant, pack: Callable[[np.ndarray], np.ndarray], suffix: str = ""
) -> list[Packed]:
    """What a kernel reads besides values: weights, biases, scales, and steps. `weight` has its groups merged; `suffix`
    tells the kernels of a node apart."""
    padded, steps = config.out_blocks * config.block, steps_of(site)
    return [
        Packed(f"{site.node.name}{suffix}.weight", weight.map((config.weight_bytes,), pack)),
        *packed_steps(site, weight, steps.zero_in + config.shift, padded, kernel_steps(steps, config), suffix),
    ]


def select_transposed(site: CpuSite) -> Selection:
    """A transposed convolution on bytes as one small convolution for each phase of its stride."""
    weight = site.constant("weight")
    assert weight is not None
    calls, packed = [], []
    for geometry, part, suffix in transposed_phases(site, weight):
        best, _ = choose(site, of_phase(site, geometry, partial(_ways, site)))
        config = configure_bytes(geometry, types_of(site), site.target, best.choice)
        own = weights_of(site, config, part, partial(pack_conv, config=config), suffix)
        kernel, extent = byte_kernel(config, site.target), math.prod(config.geometry.grid) * config.taps
        calls.append(replace(_call(site, kernel, own), extent=extent))
        packed += own
    why = f"on bytes, {len(calls)} phase{'s' * (len(calls) > 1)} of the stride, each a direct convolution"
    return Selection(tuple(calls), tuple(packed), why)


def _ways(site: CpuSite, geometry: ConvGeometry, wide: bool) -> Sequence[Candidate[DirectChoice]]:
    return byte_candidates(geometry, types_of(site), site.target, "direct_bytes", wide)


def _call(site: CpuSite, kernel: Kernel, packed: list[Packed]) -> Call:
    image, *rest = site.values(site.node.inputs)
    return Call(site.node.name, kernel, (image, *(p.operand for p in packed), *rest), site.result)


def _selection(site: CpuSite, kernel: Kernel, packed: list[Packed], why: str) -> Selection:
    return Selection((_call(site, kernel, packed),), tuple(packed), why)


@dataclass(frozen=True)
class DirectBytes(Direct):
    """Any convolution on bytes. Groups are merged until each fills whole blocks."""

    name: str = "direct_bytes"

    def applies(self, site: CpuSite) -> bool:
        return True

    def forecast(self, site: CpuSite) -> float:
        problem = byte_problem(conv_geometry(site), site.target)
        groups = conv_geometry(site).groups
        return problem.reduction * groups * total_cycles(choose_tile(problem, site.target), problem, site.target)[0]

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[DirectChoice]]:
        return byte_candidates(conv_geometry(site), types_of(site), site.target, self.name, wide)

    def cost(self, site: CpuSite, choice: DirectChoice) -> float:
        return byte_cost(conv_geometry(site), types_of(site), site.target, choice)

    def calls(self, site: CpuSite, choice: DirectChoice, why: str) -> Selection:
        groups, merge, weight = site.node.attrs["groups"], conv_merge(site), site.constant("weight")
        assert weight is not None
        out, narrow, kh, kw = weight.shape
        config = configure_bytes(conv_geometry(site), types_of(site), site.target, choice)
        dense = weight.map((out, narrow * merge, kh, kw), lambda w: densify(w, groups, merge))
        packed = weights_of(site, config, dense, lambda w: pack_conv(w, config))
        tile = choice.tile
        text = f"on bytes, {config.unit.instruction}; {tile.rows}x{tile.columns} pixels x {tile.blocks} blocks"
        return _selection(site, byte_kernel(config, site.target), packed, text + why)

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        """What the model counts besides the multiplications."""
        config = call.kernel.config
        g = config.geometry
        problem = replace(byte_problem(g, layer.target), out_blocks=config.group_out_blocks)
        tiles = problem.reduction * g.groups * total_cycles(config.tile, problem, layer.target)[0]
        gathered = config.row_units * g.groups * config.sections * FLOAT32.bytes(config.scratch_words) / 16
        return [
            Cause("tiles", max(0.0, layer.of_cycles(tiles) - layer.at_peak)),
            Cause("rows put together to words", layer.of_cycles(gathered)),
        ]


@dataclass(frozen=True)
class DepthwiseBytesChoice:
    """The depthwise kernel on bytes; the model alone decides how it is cut."""

    algorithm: str = "depthwise_bytes"


@dataclass(frozen=True)
class DepthwiseBytes:
    """A convolution on bytes with one input and one output channel for each group."""

    name: str = "depthwise_bytes"

    def applies(self, site: CpuSite) -> bool:
        attrs, source = site.node.attrs, site.type()
        one = attrs["groups"] == source.shape[1] == attrs["out"] > 1
        return bool(one) and source.block > 1

    def forecast(self, site: CpuSite) -> float:
        config = self._config(site)
        vectors = config.out_blocks * config.micro.vectors * config.geometry.grid[0] * config.geometry.grid[1]
        return vectors * (config.geometry.kernel[0] * config.steps + STORED) / 2

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[DepthwiseBytesChoice]]:
        """One."""
        return [Candidate(DepthwiseBytesChoice(), self.forecast(site), 0, self._config(site).scratch_bytes)]

    def calls(self, site: CpuSite, choice: DepthwiseBytesChoice, why: str) -> Selection:
        config, weight = self._config(site), site.constant("weight")
        assert weight is not None
        packed = weights_of(site, config, weight, lambda w: pack_depthwise(w, config))
        text = f"depthwise on bytes, {config.unit.instruction}; {config.columns} pixels at a time"
        return _selection(site, depthwise_byte_kernel(config, site.target), packed, text + why)

    def in_range(self, choice: DepthwiseBytesChoice) -> bool:
        return True

    def cost(self, site: CpuSite, choice: DepthwiseBytesChoice) -> float:
        return 1.0

    def kind(self, choice: DepthwiseBytesChoice) -> Hashable:
        return self.name

    def describe(self, choice: DepthwiseBytesChoice) -> str:
        return self.name

    def restored(self, stored: Mapping[str, Any]) -> DepthwiseBytesChoice:
        return DepthwiseBytesChoice(**stored)

    def weight_order(self, call: Call) -> Hashable:
        return self.name

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        return 2 * ops.macs(graph, node)

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        config: ByteDepthwiseConfig = call.kernel.config
        copied = config.out_blocks * config.row_units * config.scratch_bytes / 16
        return [Cause("rows put together to words", layer.of_cycles(copied))]

    @staticmethod
    def _config(site: CpuSite) -> ByteDepthwiseConfig:
        return depthwise_bytes(_plain(conv_geometry(site), site), types_of(site), site.target)


STORED = 4.0
"""Steps that a vector of results takes besides its products: scale, rounding, bounds."""


def _plain(geometry: ConvGeometry, site: CpuSite) -> ConvGeometry:
    """The geometry with the groups that the node has."""
    return replace(geometry, groups=site.node.attrs["groups"])


RULES: Mapping[str, tuple[CpuRule, ...]] = {"qconv_transpose": (select_transposed,)}
"""Op -> its selectors; a `qconv` has a choice among algorithms."""
RANGES: Mapping[str, bool] = {"qconv_transpose": True}
"""Op -> whether its kernels compute images of any size of a range."""
