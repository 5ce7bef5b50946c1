"""Depthwise convolution: each lane of a vector is a channel of its own."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnncc import ops
from cnncc.base.elements import FLOAT32
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.weights import after_image, stored, with_bias
from cnncc.kernels.cpu.window import WindowConfig, configure, row_cycles, window_kernel
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.spec import Call, Selection


@dataclass(frozen=True)
class DepthwiseChoice:
    """The depthwise kernel; the model alone decides how it is cut."""

    algorithm: str = "depthwise"


@dataclass(frozen=True)
class Depthwise:
    """conv with one input and one output channel per group, and more than one group."""

    name: str = "depthwise"

    def applies(self, site: CpuSite) -> bool:
        attrs, source = site.node.attrs, site.type()
        return bool(attrs["groups"] == source.shape[1] == attrs["out"]) and source.block > 1 and source.shape[1] > 1

    def forecast(self, site: CpuSite) -> float:
        """The rows of all vectors, one after the other."""
        return _cycles(_config(site))

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[DepthwiseChoice]]:
        """One."""
        scratch = FLOAT32.bytes(_config(site).scratch_numbers)
        return [Candidate(DepthwiseChoice(self.name), self.forecast(site), 0, scratch)]

    def calls(self, site: CpuSite, choice: DepthwiseChoice, why: str) -> Selection:
        node, config = site.node, _config(site)
        weight = site.constant("weight")
        assert weight is not None
        padded = config.channel_blocks * config.block
        elements = stored(site, weight).map((padded * math.prod(config.kernel),), lambda w: _pack(w, config))
        packed = with_bias(site, elements, padded)
        operands = (*site.values(node.inputs[:1]), *after_image(site, packed))
        call = Call(node.name, window_kernel(config, site.target), operands, site.result)
        return Selection((call,), tuple(packed), _why(config) + why)

    def in_range(self, choice: DepthwiseChoice) -> bool:
        return True

    def cost(self, site: CpuSite, choice: DepthwiseChoice) -> float:
        return 1.0

    def kind(self, choice: DepthwiseChoice) -> Hashable:
        return self.name

    def describe(self, choice: DepthwiseChoice) -> str:
        return self.name

    def restored(self, stored: Mapping[str, Any]) -> DepthwiseChoice:
        return DepthwiseChoice(**stored)

    def weight_order(self, call: Call) -> Hashable:
        return self.name

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        return 2 * ops.macs(graph, node)

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        """What the model counts besides the multiplications."""
        beyond = layer.of_cycles(_cycles(call.kernel.config)) - layer.at_peak
        return [Cause("loads, and tiles that begin and end", max(0.0, beyond))]


def _config(site: CpuSite) -> WindowConfig:
    config = configure(site, "depthwise", site.node.attrs["epilogue"], site.node.attrs["bias"])
    return replace(config, weights=site.weights_dtype)


def _cycles(config: WindowConfig) -> float:
    """Predicted cycles on one core."""
    vectors = config.channel_blocks * (config.block // config.lanes)
    return vectors * config.out_size[0] * row_cycles(config)


def _why(config: WindowConfig) -> str:
    return f"depthwise: each lane is a channel, {config.columns} pixels x {config.held} taps at a time"


def _pack(weight: np.ndarray, config: WindowConfig) -> np.ndarray:
    """(c, 1, kh, kw) to [block][tap][lane]."""
    padded, taps = config.channel_blocks * config.block, math.prod(config.kernel)
    full = np.zeros((padded, taps), weight.dtype)
    full[: len(weight)] = weight.reshape(len(weight), taps)
    return full.reshape(config.channel_blocks, config.block, taps).transpose(0, 2, 1).ravel()
