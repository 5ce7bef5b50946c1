"""The last of three files: how the op is said in ONNX, in `cnncc/frontends/onnx/convert`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cnncc.ir import Node

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel


def write(model: OnnxModel, node: Node) -> None:
    """The root of the average of squares."""
    (x,) = model.data(node)
    squares = model.step("Mul", [x, x], f"{node.name}:squares")
    settings = {"kernel_shape": node.attrs["kernel"], "strides": node.attrs["stride"]}
    model.emit("Sqrt", [model.step("AveragePool", [squares], f"{node.name}:mean", **settings)], node.name)


WRITTEN: Mapping[str, Callable[[OnnxModel, Node], object]] = {"rmspool": write}
