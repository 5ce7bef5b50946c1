"""Kernels between element types: cast, quantize and dequantize, number by number, whatever the layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cnncc.base.dim import typical
from cnncc.base.elements import ELEMENTS
from cnncc.ir import Constant, TensorType
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection, blocks

Conversion = Literal["cast", "quantize", "dequantize", "move"]
UNIT_NUMBERS = 8192
"""Numbers that a unit writes, at most."""
MOST_UNITS = 64


@dataclass(frozen=True)
class ConvertConfig:
    """`count` numbers as they are stored, `part` of them per unit. Scale and zero are operands, not code."""

    what: Conversion
    source: str
    target: str
    count: int
    part: int
    lanes: int


def select_convert(site: CpuSite) -> Selection:
    """cast, quantize and dequantize."""
    whats: Mapping[str, Conversion] = {"cast": "cast", "quantize": "quantize", "dequantize": "dequantize"}
    what = whats[site.node.op]
    quantised = {"quantize": site.node.type, "dequantize": site.type()}.get(what)
    packed = () if quantised is None else (Packed(f"{site.node.name}.scale", steps(quantised)),)
    return _selection(site, what, packed)


def select_moved(site: CpuSite) -> Selection:
    """A copy of numbers that are not float32."""
    return _selection(site, "move", ())


def steps(kind: TensorType) -> Constant:
    """What a kernel reads of a quantised type: scale, zero, and the least and the largest number before the zero is
    added."""
    known, element = kind.quantization, kind.element
    assert known is not None, kind
    values = np.array([known.scale, known.zero, element.least - known.zero, element.most - known.zero], np.float32)
    return Constant(values.shape, lambda: values)


def _selection(site: CpuSite, what: Conversion, packed: tuple[Packed, ...]) -> Selection:
    node, source = site.node, site.type()
    count = math.prod(node.type.stored_shape[1:])
    part = min(UNIT_NUMBERS, blocks(blocks(typical(count), MOST_UNITS), site.target.lanes) * site.target.lanes)
    config = ConvertConfig(what, source.element.name, node.type.element.name, count, part, site.target.lanes)
    name = f"{what}_{source.element.short}_{ELEMENTS[config.target].short}_{site.target.isa}"
    kernel = Kernel("convert", name, config, blocks(count, part), 0)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    return Selection((Call(node.name, kernel, operands, site.result),), packed, "number by number")


RULES: Mapping[str, tuple[CpuRule, ...]] = dict.fromkeys(("cast", "dequantize"), (select_convert,))
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
TAKES = dict.fromkeys(RULES, frozenset(ELEMENTS.values()))
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
