"""Convolutions of narrow groups as an algorithm: where it applies, its calls and weights, and where its time goes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from cnncc import ops
from cnncc.base.elements import FLOAT32
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.conv_choice import direct_forecast
from cnncc.kernels.cpu.grouped import GroupedConfig, GroupedTile, pack_grouped
from cnncc.kernels.cpu.grouped_choice import (
    GroupedChoice,
    configure,
    grouped_candidates,
    grouped_cost,
    grouped_forecast,
    multiply_cycles,
    spread_cycles,
)
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.weights import after_image, kinds_of, stored, with_bias
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import conv_geometry, conv_merge
from cnncc.kernels.shared.spec import Call, Kernel, Selection, blocks


@dataclass(frozen=True)
class Grouped:
    """conv whose groups do not fill blocks of channels: those that the direct kernel merges."""

    name: str = "grouped"

    def applies(self, site: CpuSite) -> bool:
        return site.node.attrs["groups"] > 1 and conv_merge(site) > 1

    def forecast(self, site: CpuSite) -> float:
        """As the model says, but so little that the direct kernel is not chosen where it would read more than twice the
        stored weights: what the model cannot see is that those push other layers' weights out of the caches."""
        return min(grouped_forecast(site), DENSE * _dense_forecast(site) if _mostly_zeros(site) else math.inf)

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[GroupedChoice]]:
        return grouped_candidates(site, self.name, wide)

    def calls(self, site: CpuSite, choice: GroupedChoice, why: str) -> Selection:
        c, weight = configure(site, choice), site.constant("weight")
        assert weight is not None
        elements = stored(site, weight).map((c.weight_numbers,), lambda w: pack_grouped(w, c))
        packed = with_bias(site, elements, c.out_floats)
        operands = (*site.values(site.node.inputs[:1]), *after_image(site, packed))
        layout = f"nchw{c.block}c" if c.geometry.in_block > 1 else "nchw"
        kinds = kinds_of(c.geometry.element, c.geometry.weights)
        name = f"grouped_{kinds}_{layout}_{c.tile.pixels}x{c.width}_{site.target.isa}"
        kernel = Kernel("conv_grouped", name, c, c.units, FLOAT32.bytes(c.scratch_floats))
        return Selection((Call(site.node.name, kernel, operands, site.result),), tuple(packed), _why(c) + why)

    def in_range(self, choice: GroupedChoice) -> bool:
        return choice.tile.rows == 1

    def cost(self, site: CpuSite, choice: GroupedChoice) -> float:
        return grouped_cost(site, choice)

    def kind(self, choice: GroupedChoice) -> Hashable:
        return self.name, choice.tile

    def describe(self, choice: GroupedChoice) -> str:
        t = choice.tile
        vectors = f"{t.vectors} {'half ' * t.halves}vectors"
        return f"{self.name} {t.rows}x{t.columns} px x {vectors}, {choice.rows} rows, {choice.panels} panels"

    def restored(self, stored: Mapping[str, Any]) -> GroupedChoice:
        return GroupedChoice(**{**stored, "tile": GroupedTile(**stored["tile"])})

    def weight_order(self, call: Call) -> Hashable:
        """The outputs of a panel."""
        c: GroupedConfig = call.kernel.config
        return c.width

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        return 2 * ops.macs(graph, node)

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        c: GroupedConfig = call.kernel.config
        pixels = c.geometry.grid[0] * c.geometry.grid[1]
        multiply = pixels * c.weight_rows * c.tile.vectors * c.taps / layer.target.floats.ports
        moved = "rows spread over the lanes" if c.spread else "rows copied between their padding"
        return [
            Cause("lanes beyond the channels, and zeros of other groups", layer.of_cycles(multiply) - layer.at_peak),
            Cause(
                f"tiles of {c.tile.pixels} pixels x {c.tile.vectors} vectors",
                layer.of_cycles(multiply_cycles(c) - multiply),
            ),
            Cause(moved, layer.of_cycles(spread_cycles(c))),
        ]


DENSE = 0.9
"""Share of the direct kernel's predicted cycles that is promised at most where most of its weights are zeros."""

MOST_READ = 2
"""Times the stored weights that may be read; those are counted up to whole blocks of outputs."""


def _dense_forecast(site: CpuSite) -> float:
    """Predicted cycles of the direct kernel."""
    return direct_forecast(conv_geometry(site), site.target, site.weights_per_cycle)


def _mostly_zeros(site: CpuSite) -> bool:
    """Whether the direct kernel would read more weights than that."""
    g, attrs = conv_geometry(site), site.node.attrs
    read = blocks(g.in_channels, g.in_block) * g.in_block // g.groups
    return read > MOST_READ * (g.in_channels // attrs["groups"])


def _why(c: GroupedConfig) -> str:
    how = "rows spread over the lanes" if c.spread else "each input channel copied to all lanes"
    return f"groups of {c.group_in} to {c.group_out} channels, {how}; {c.tile.pixels} pixels x {c.tile.vectors} vectors"
