"""Winograd convolution as an algorithm: where it applies, its calls and weights, and where its time goes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cnncc.base.elements import ELEMENTS, FLOAT32, decode
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.tiles import Tile, even_tiles, step_cycles
from cnncc.kernels.cpu.weights import after_image, stored, with_bias
from cnncc.kernels.cpu.winograd import WinogradConfig, pack_winograd
from cnncc.kernels.cpu.winograd_choice import (
    WinogradChoice,
    configure,
    costs_of,
    cycles_of,
    input_cycles,
    output_cycles,
    winograd_candidates,
)
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import conv_merge
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Kernel, Selection
from cnncc.kernels.shared.winograd import ERRORS

NARROW = 16
"""Channels of a group up to which weights are read as they are stored; transformed ones are several times as many."""


@dataclass(frozen=True)
class Winograd:
    """3x3 or 5x5 with stride 1 on blocked channels, of which each group fills whole blocks."""

    name: str = "winograd"

    def applies(self, site: CpuSite) -> bool:
        attrs = site.node.attrs
        options = site.options
        if options.dtype == "float32" != options.weights_dtype:  # transformed weights would be several times the halves
            return False
        narrow = attrs["groups"] > 1 and site.type().shape[1] // attrs["groups"] <= NARROW
        if site.type().block == 1 or conv_merge(site) > 1 or narrow:
            return False
        return attrs["stride"] == (1, 1) and attrs["kernel"] in {(taps, taps) for _, taps in ERRORS}

    def forecast(self, site: CpuSite) -> float:
        return min((cycles for _, cycles in costs_of(site)), default=float("inf"))

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[WinogradChoice]]:
        return winograd_candidates(site, self.name, wide)

    def calls(self, site: CpuSite, choice: WinogradChoice, why: str) -> Selection:
        config = configure(site, choice)
        return _selection(site, config, f"F({config.m}x{config.m}){why}")

    def in_range(self, choice: WinogradChoice) -> bool:
        return True

    def cost(self, site: CpuSite, choice: WinogradChoice) -> float:
        return cycles_of(site, choice)

    def kind(self, choice: WinogradChoice) -> Hashable:
        return self.name, choice.m, choice.blocks, choice.shared

    def describe(self, choice: WinogradChoice) -> str:
        shared = ", shared" if choice.shared else ""
        return f"F({choice.m}) {choice.tiles} tiles x {choice.blocks}, {choice.sections} sections{shared}"

    def restored(self, stored: Mapping[str, Any]) -> WinogradChoice:
        return WinogradChoice(**stored)

    def weight_order(self, call: Call) -> Hashable:
        """The tile size, and how many output blocks run together, from the first to the last."""
        c: WinogradConfig = call.kernel.config
        return c.m, tuple(size for _, size, count in c.section_runs for _ in range(count)) * (c.groups * c.sections)

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        """A multiply-add for each point, tile and pair of channels."""
        c: WinogradConfig = call.kernel.config
        batch, channels = graph[node.inputs[0]].type.shape[:2]
        return int(2 * c.points * c.total * channels // c.groups * node.type.shape[1] * batch)

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        c: WinogradConfig = call.kernel.config
        target = layer.target
        depth = c.points * c.in_blocks * c.block
        panels = c.out_planes // c.tile.blocks
        panel = 4 * c.in_blocks * c.block * c.tile.blocks * c.block
        step = sum(
            count * step_cycles(Tile(1, size, c.tile.blocks), target, panel)
            for _, size, count in even_tiles(c.tiles, c.tile.columns)
        )
        multiply = c.total * c.out_planes * target.vectors * depth / target.floats.ports
        spare = layer.of_cycles(multiply * (c.tile_units * c.tiles / c.total - 1))
        products = layer.of_cycles(c.tile_units * panels * depth * step) - layer.of_cycles(multiply) - spare
        return [
            *_transforms(layer, c),
            Cause(f"{c.tile_units * c.tiles - c.total} tiles that fill up the last unit", spare),
            Cause(f"register tiles of {c.tile.columns} x {c.tile.blocks} blocks", products),
        ]


def _transforms(layer: Measured, c: WinogradConfig) -> list[Cause]:
    """Time of both transforms. That of the input was measured if it is a call of its own; the other times are those
    that the model predicts."""
    tiles = c.tile_units * c.tiles * layer.target.vectors
    output = layer.of_cycles(tiles * c.out_planes * output_cycles(c.m, c.edge))
    if c.shared:
        data = sum(layer.seconds[:-1])
    else:
        data = layer.of_cycles(tiles * c.in_planes * c.sections * input_cycles(c.edge))
    return [
        Cause(f"transforming the input{' (a step of its own)' if c.shared else ''}", data),
        Cause("transforming the output", output),
    ]


def _selection(site: CpuSite, config: WinogradConfig, why: str) -> Selection:
    node, target = site.node, site.target
    kind = f"{config.m}x{config.m}" if config.taps == 3 else f"{config.m}x{config.m}_{config.taps}x{config.taps}"
    stem = f"winograd_{ELEMENTS[config.element].short}_{kind}_nchw{config.block}c"
    shape = f"{config.tile.columns}x{config.tile.blocks * config.block}_{target.isa}"
    units = config.tile_units * config.groups * config.sections
    kernel = Kernel("winograd", f"{stem}_{shape}", config, units, FLOAT32.bytes(config.scratch_floats))
    weight = site.constant("weight")
    assert weight is not None
    element = ELEMENTS[site.weights_dtype]
    if element != FLOAT32:
        weight = stored(site, weight).map(weight.shape, lambda w: decode(w, element), element=FLOAT32)
    elements = weight.map((config.weight_floats,), lambda w: pack_winograd(w, config))
    packed = with_bias(site, elements, config.out_planes * config.block)
    rest = after_image(site, packed)
    image = site.values(node.inputs[:1])
    if not config.shared:
        return Selection((Call(node.name, kernel, (*image, *rest), site.result),), tuple(packed), why)
    # The transform does not depend on the epilogue or on how the products are cut: one kernel for all that agree.
    plain = replace(config, epilogue=(), bias=False, sections=1, tile=Tile(1, 1, 1), out_blocks=1)
    transform = Kernel(
        "winograd_input",
        f"{stem}_input_{target.isa}",
        plain,
        config.in_planes * config.tile_units,
        0,
    )
    data = Workspace(node.name)
    calls = (
        Call(node.name, transform, image, data, workspace_bytes=FLOAT32.bytes(config.data_floats)),
        Call(node.name, kernel, (data, *rest), site.result, workspace_bytes=FLOAT32.bytes(config.data_floats)),
    )
    return Selection(calls, tuple(packed), f"{why}; input transformed once for all output blocks")
