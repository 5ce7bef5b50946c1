"""The direct convolution as an algorithm: its calls and weights, and where its time goes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from cnncc import ops
from cnncc.base.dim import typical
from cnncc.base.elements import ELEMENTS, FLOAT32
from cnncc.ir import Constant, Graph, Node
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.conv_choice import (
    COPY_BYTES,
    DirectChoice,
    configure,
    direct_candidates,
    direct_cost,
    direct_forecast,
    in_range,
    pad_config,
)
from cnncc.kernels.cpu.conv_direct import ConvConfig, pack_conv
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.tiles import Problem, Tile, total_cycles
from cnncc.kernels.cpu.weights import after_image, kinds_of, stored, with_bias
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry, conv_geometry, conv_merge, densify
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection
from cnncc.machines.targets import Target


@dataclass(frozen=True)
class Direct:
    """Any convolution. Groups are merged until each fills whole blocks."""

    name: str = "direct"

    def applies(self, site: CpuSite) -> bool:
        return True

    def forecast(self, site: CpuSite) -> float:
        return direct_forecast(conv_geometry(site), site.target, site.weights_per_cycle)

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[DirectChoice]]:
        return [*direct_candidates(conv_geometry(site), site.target, self.name, wide)]

    def calls(self, site: CpuSite, choice: DirectChoice, why: str) -> Selection:
        groups, merge = site.node.attrs["groups"], conv_merge(site)
        weight = site.constant("weight")
        assert weight is not None
        out, narrow, kh, kw = weight.shape
        dense = weight.map((out, narrow * merge, kh, kw), lambda w: densify(w, groups, merge))
        calls, packed = conv_calls(site, conv_geometry(site), dense, choice)
        return Selection(calls, packed, _why(calls[-1].kernel.config, merge) + why)

    def in_range(self, choice: DirectChoice) -> bool:
        return in_range(choice)

    def cost(self, site: CpuSite, choice: DirectChoice) -> float:
        return direct_cost(conv_geometry(site), site.target, choice)

    def kind(self, choice: DirectChoice) -> Hashable:
        return self.name, choice.tile, choice.padded

    def describe(self, choice: DirectChoice) -> str:
        t = choice.tile
        padded = ", padded" if choice.padded else ""
        cut = f"{choice.rows} rows, {choice.sections} sections{padded}"
        return f"{self.name} {t.rows}x{t.columns} px x {t.blocks}, {cut}"

    def restored(self, stored: Mapping[str, Any]) -> DirectChoice:
        return DirectChoice(**{**stored, "tile": Tile(**stored["tile"])})

    def weight_order(self, call: Call) -> Hashable:
        config: ConvConfig = call.kernel.config
        return config.weight_order

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        return 2 * ops.macs(graph, node)

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        c: ConvConfig = call.kernel.config
        target, tile = layer.target, c.tile
        vectors = c.geometry.grid[0] * c.geometry.grid[1] * c.out_blocks * target.vectors
        multiply = vectors * c.reduction // c.micro.unit.depth * c.share / c.micro.unit.ports
        steps = c.reduction // c.micro.unit.depth
        problem = Problem(*c.geometry.grid, c.group_out_blocks, steps, c.taps, own=c.micro)
        tiles = steps * c.geometry.groups * total_cycles(tile, problem, target)[0] * c.share
        gathered = layer.of_cycles(c.row_units * c.geometry.groups * c.sections * c.scratch_words * 4 / COPY_BYTES)
        if c.padded:
            gathered = sum(layer.seconds[:-1])
        return [
            Cause("channels that do not fill their blocks", layer.of_cycles(multiply) - layer.at_peak),
            Cause(f"tiles of {tile.pixels} pixels x {tile.blocks} blocks", layer.of_cycles(tiles - multiply)),
            Cause(
                f"results of {c.reduction} products each",
                layer.of_cycles(vectors * (STORED + len(c.geometry.epilogue))),
            ),
            Cause("rows copied between their padding", gathered),
            _moved(layer),
        ]


STORED = 1.0
"""Cycles of a vector of results besides its epilogue: the bias, the store."""


def _moved(layer: Measured) -> Cause:
    """Values that do not fit into the second caches of all threads come from the last cache."""
    target, values = layer.target, layer.value_bytes
    if values <= target.l2_bytes:
        return Cause("values from the last cache", 0.0)
    seconds = layer.of_cycles(values / target.l3_bytes_per_cycle)
    return Cause(f"{values / 1e6:.1f} MB of values from the last cache", seconds)


def name_of(config: ConvConfig, target: Target) -> str:
    """The kernel's name: algorithm, layout, pixels x output channels of the register tile, vector unit."""
    stem = "gemm" if config.geometry.kernel == (1, 1) else "conv"
    layout = f"nchw{config.block}c" if config.geometry.in_block > 1 else "nchw"
    kinds = kinds_of(config.geometry.element, config.geometry.weights)
    return f"{stem}_{kinds}_{layout}_{config.tile.pixels}x{config.tile.blocks * config.block}_{target.isa}"


def conv_calls(
    site: CpuSite, geometry: ConvGeometry, weight: Constant, choice: DirectChoice, suffix: str = ""
) -> tuple[tuple[Call, ...], tuple[Packed, ...]]:
    """The calls and packed weights of one convolution of the node; `weight` is (o, i / groups, kh, kw)."""
    config = configure(geometry, site.target, choice)
    kernel = Kernel(
        family="conv_direct",
        name=name_of(config, site.target),
        config=config,
        units=config.row_units * config.geometry.groups * config.sections,
        scratch_bytes=FLOAT32.bytes(config.scratch_words),
    )
    node = site.node
    count = config.reduction * config.out_blocks * config.block
    elements = stored(site, weight).map((count,), lambda w: pack_conv(w, config))
    packed = with_bias(site, elements, config.out_blocks * config.block, suffix)
    rest, image = after_image(site, packed), site.values(node.inputs[:1])
    extent = math.prod(config.geometry.grid) * config.taps
    if not config.padded:
        return (Call(node.name, kernel, (*image, *rest), site.result, extent=extent),), tuple(packed)
    padding = pad_config(geometry, config)
    kind = ELEMENTS[geometry.element].short
    name = f"pad_{kind}_nchw{config.geometry.in_block}c_{site.target.isa}"
    copy = Kernel("pad", name, padding, padding.planes, 0)
    between, size = Workspace(node.name), FLOAT32.bytes(padding.floats)
    calls = (
        Call(node.name, copy, image, between, workspace_bytes=size),
        Call(node.name, kernel, (between, *rest), site.result, workspace_bytes=size, extent=extent),
    )
    return calls, tuple(packed)


def _why(config: ConvConfig, merge: int) -> str:
    tile, config = config.tile, typical(config)
    kind = "1x1 as a matrix product" if config.geometry.kernel == (1, 1) else "direct"
    if config.geometry.kernel == (1, 1) and config.geometry.stride != (1, 1):
        kind += " on every " + "x".join(map(str, config.geometry.stride)) + "th pixel"
    if config.padded:
        kind += ", the image copied between zeros once"
    if config.skips:
        kind += f", {config.share:.0%} of the taps multiplied, the others lie in the padding"
    text = f"{kind}; {tile.rows}x{tile.columns} pixels x {tile.blocks} blocks fill the registers"
    return text + (f"; {merge} groups merged to fill a block" if merge > 1 else "")
