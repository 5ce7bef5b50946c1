"""Depthwise convolution as an algorithm for GPUs: each thread has channels of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import encode
from cnncc.kernels.gpu.model import beside_products
from cnncc.kernels.gpu.spec import GpuSite
from cnncc.kernels.gpu.window import GpuWindowConfig, configure, window_kernel
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.weights.half import check_range

REGISTERS = 64
"""Of a thread, about."""


@dataclass(frozen=True)
class GpuDepthwiseChoice:
    """The depthwise kernel; how long its strips are follows from the layer and the device."""

    algorithm: str = "depthwise"


@dataclass(frozen=True)
class GpuDepthwise:
    """conv with one input and one output channel per group, and more than one group."""

    name: str = "depthwise"

    def applies(self, site: GpuSite) -> bool:
        attrs, source = site.node.attrs, site.type()
        return bool(attrs["groups"] == source.shape[1] == attrs["out"]) and source.block > 1 and source.shape[1] > 1

    def candidates(self, site: GpuSite) -> list[Candidate[GpuDepthwiseChoice]]:
        """One."""
        streamed = window_kernel(_config(site), site).estimate(site.target, REGISTERS, shared_bytes=0)
        cost = beside_products(site.target, streamed)
        return [Candidate(GpuDepthwiseChoice(self.name), cost, workspace_bytes=0, scratch_bytes=0)]

    def calls(self, site: GpuSite, choice: GpuDepthwiseChoice, why: str) -> Selection:
        node, config = site.node, _config(site)
        weight, bias = site.constant("weight"), site.constant("bias")
        assert weight is not None
        padded = config.result.blocks * config.result.block
        stored, name = config.source.element, node.weights["weight"]

        def pack(array: np.ndarray) -> np.ndarray:
            check_range(array, stored, name)
            return encode(pack_depthwise(array, config), stored)

        elements = weight.map((padded * math.prod(config.kernel),), pack, element=stored)
        packed = [Packed(f"{node.name}.weight", elements)]
        if bias is not None:
            packed.append(Packed(f"{node.name}.bias", bias.map((padded,), lambda b: pad_channels(b, padded))))
        weights = tuple(p.operand for p in packed)
        operands = (*site.values(node.inputs[:1]), *weights, *site.values(node.inputs[1:]))
        call = Call(node.name, window_kernel(config, site), operands, site.result, True)
        return Selection((call,), tuple(packed), f"depthwise: {config.strip} rows a thread, bound by memory{why}")


def _config(site: GpuSite) -> GpuWindowConfig:
    return configure(site, "depthwise", site.node.attrs["epilogue"], site.node.attrs["bias"])


def pack_depthwise(weight: np.ndarray, config: GpuWindowConfig) -> np.ndarray:
    """(c, 1, kh, kw) to [block][tap][lane]."""
    padded, taps = config.result.blocks * config.result.block, math.prod(config.kernel)
    full = np.zeros((padded, taps), weight.dtype)
    full[: len(weight)] = weight.reshape(len(weight), taps)
    return full.reshape(config.result.blocks, config.result.block, taps).transpose(0, 2, 1).ravel()
