"""How cast, quantize and dequantize are written in ONNX; `quantize.py` reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnncc.base.elements import ELEMENTS, INT32
from cnncc.frontends.onnx.write_bytes import steps
from cnncc.ir import Node

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel


def cast(model: OnnxModel, node: Node) -> None:
    """A conversion, of what has been bounded by the type: ONNX does not say what becomes of the rest. Into int32
    nothing is bounded, since its largest number is no float32."""
    from cnncc.frontends.onnx.model import data_type

    (x,) = model.data(node)
    source, target = model.graph[node.inputs[0]].type.element, ELEMENTS[node.attrs["to"]]
    if target.whole and target != INT32 and source.bits > 8:
        kind = source.dtype if source.whole else np.dtype(np.float32)
        bounds = [model.tensor(f"{node.name}.bound", np.array(b, kind)) for b in (target.least, target.most)]
        x = model.step("Clip", [x, *bounds], f"{node.name}:bounded")
    model.emit("Cast", [x], node.name, to=data_type(target))


def quantize(model: OnnxModel, node: Node) -> None:
    """QuantizeLinear: the same formula."""
    model.emit("QuantizeLinear", [*model.data(node), *steps(model, node.name, node.type)], node.name)


def dequantize(model: OnnxModel, node: Node) -> None:
    """DequantizeLinear, with scale and zero of what it reads."""
    kind = model.graph[node.inputs[0]].type
    model.emit("DequantizeLinear", [*model.data(node), *steps(model, node.name, kind)], node.name)


WRITTEN: Mapping[str, Callable[[OnnxModel, Node], object]] = {
    "cast": cast,
    "quantize": quantize,
    "dequantize": dequantize,
}
