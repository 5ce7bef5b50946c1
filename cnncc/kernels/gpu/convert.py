"""Kernels between types of numbers: cast, quantize and dequantize, and what an input makes of the caller's array.

What they compute is the same on every machine, bit by bit: each operation is rounded to float32 by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cnncc.base.elements import Element
from cnncc.ir import Constant, Node, TensorType
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.operands import Operand, RawInput
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.ops.byte_arithmetic import known
from cnncc.ops.quantize import prepares_input
from cnncc.ops.source import port_type, scale_and_shift

Conversion = Literal["cast", "quantize", "dequantize"]
WHATS: Mapping[str, Conversion] = {"cast": "cast", "quantize": "quantize", "dequantize": "dequantize"}
"""By op."""


@dataclass(frozen=True)
class GpuConvertConfig:
    """A vector of the result per thread, from wherever its numbers lie in the source. With `prepares` they are first
    multiplied by a scale of their channel, and a shift is added. Steps are operands, not code."""

    what: Conversion
    batch: int
    source: View
    result: View
    prepares: bool
    threads: int

    @property
    def per_image(self) -> int:
        return self.result.numbers // self.result.block


def select_convert(site: GpuSite) -> Selection:
    """cast, quantize and dequantize. Bytes of an input that nobody else reads are made with its mean and std."""
    node = site.node
    what = WHATS[node.op]
    if what == "quantize" and prepares_input(site.graph, node):
        return _prepared(site, site.graph[node.inputs[0]], what)
    (read,) = site.values(node.inputs)
    return _selection(site, what, read, site.view(node.inputs[0]), (), "number by number")


def select_input(site: GpuSite) -> Selection:
    """The mean and std of an input: (x - mean) / std as x scale + shift, on the way into the arena."""
    return _prepared(site, site.node, "cast")


def _prepared(site: GpuSite, node: Node, what: Conversion) -> Selection:
    """What an input declares, made of the caller's array."""
    view = replace(site.view(site.node.name), block=1, element=port_type(node).element)
    view = replace(view, stride=view.numbers)
    channels, padded = view.channels, _padded(site.view(site.node.name))
    scale, shift = scale_and_shift(node.attrs, channels)
    packed = (
        Packed(f"{node.name}.scale", Constant((padded,), lambda: pad_channels(scale, padded))),
        Packed(f"{node.name}.shift", Constant((padded,), lambda: pad_channels(shift, padded))),
    )
    why = "mean and std of the input" if node.attrs["mean"] or node.attrs["std"] else f"an input of {view.element}"
    return _selection(site, what, RawInput(node.name), view, packed, why)


def _padded(view: View) -> int:
    return view.blocks * view.block


def _selection(
    site: GpuSite, what: Conversion, read: Operand, source: View, packed: tuple[Packed, ...], why: str
) -> Selection:
    node, result = site.node, site.view(site.node.name)
    quantised = {"quantize": node.type, "dequantize": site.type() if node.inputs else None}.get(what)
    if quantised is not None:
        packed = (*packed, Packed(f"{node.name}.steps", _steps(quantised)))
    total = site.batch * result.numbers // result.block
    threads = threads_for(total, site.target)
    config = GpuConvertConfig(what, site.batch, source, result, isinstance(read, RawInput), threads)
    grid = grid_of(total, threads)
    work = LaunchWork(0, site.batch * (source.element.bytes(source.numbers) + result.element.bytes(result.numbers)))
    stem = "normalize" if config.prepares else what
    name = f"{stem}_{source.label}_to_{result.label}"
    kernel = GpuKernel("convert", name, config, grid[0], 0, grid, threads, work)
    call = Call(node.name, kernel, (read, *(p.operand for p in packed)), site.result, True)
    return Selection((call,), packed, why)


def _steps(kind: TensorType) -> Constant:
    """What a kernel reads of a quantised type: scale, zero, and the least and the largest number before the zero is
    added."""
    quantization, element = known(kind), kind.element
    zero = quantization.zero
    numbers = np.array([quantization.scale, zero, element.least - zero, element.most - zero], np.float32)
    return Constant(numbers.shape, lambda: numbers)


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "input": (select_input,),
    **dict.fromkeys(("cast", "quantize", "dequantize"), (select_convert,)),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, MOVED)
"""Op -> the types of numbers that its kernels take and give."""
