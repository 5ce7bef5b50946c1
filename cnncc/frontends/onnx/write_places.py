"""Ops at computed places in ONNX: sampling, rows, regions, boxes. Places are float32 here and whole numbers there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.write_windows import border, window
from cnncc.ir import Node
from cnncc.ops.nms import NONE

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel

FLOAT, INT64 = 1, 7
"""Types as ONNX numbers them."""
NEWER = "an op of a newer opset than models are written in"
GRID_MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


def refused(node: Node, what: str) -> CnnccError:
    return CnnccError(f"{node.name}: {what}: {NEWER}", node.span, node.stack)


def whole(model: OnnxModel, name: str, value: str) -> str:
    """A value as whole numbers."""
    return model.step("Cast", [value], f"{name}:whole", to=INT64)


def real(model: OnnxModel, value: str, name: str) -> None:
    """Whole numbers as the value of a node."""
    model.emit("Cast", [value], name, to=FLOAT)


def reshaped(model: OnnxModel, value: str, dims: tuple[int, ...], name: str) -> str:
    return model.step("Reshape", [value, model.integers(f"{name}.dims", dims)], name)


def batched(model: OnnxModel, node: Node) -> list[str]:
    """The inputs of a node; what is there once is repeated for all images."""
    batch, values = node.type.shape[0], model.data(node)
    for i, name in enumerate(node.inputs):
        shape = model.shape(name)
        if shape[0] != batch:
            wanted = model.integers(f"{node.name}.{i}.batch", (batch, *shape[1:]))
            values[i] = model.step("Expand", [values[i], wanted], f"{node.name}:{i}")
    return values


def sample(model: OnnxModel, node: Node) -> None:
    """The coordinates of a place come last, and lie between -1 and 1."""
    a, (x, grid) = node.attrs, batched(model, node)
    if a["depth"] > 1 or model.shape(node.inputs[1])[1] == 3:
        raise refused(node, "sampling a volume")
    if a["place"] == "pixels":
        h, w = model.shape(node.inputs[0])[2:]
        scale = np.array([2 / w, 2 / h], np.float32).reshape(2, 1, 1)
        shift = np.array([1 / w - 1, 1 / h - 1], np.float32).reshape(2, 1, 1)
        grid = model.step("Mul", [grid, model.tensor(f"{node.name}.scale", scale)], f"{node.name}:scaled")
        grid = model.step("Add", [grid, model.tensor(f"{node.name}.shift", shift)], f"{node.name}:places")
    last = model.step("Transpose", [grid], f"{node.name}:last", perm=(0, 2, 3, 1))
    how = {"mode": GRID_MODES[a["mode"]], "padding_mode": a["outside"]}
    model.emit("GridSample", [x, last], node.name, align_corners=int(a["place"] == "align_corners"), **how)


def gather(model: OnnxModel, node: Node) -> None:
    """Image and channel are shared by rows and places."""
    x, at = batched(model, node)
    rows = seen_rows(model, node, x)
    model.emit("GatherND", [rows, whole(model, node.name, at)], node.name, batch_dims=2)


def seen_rows(model: OnnxModel, node: Node, x: str) -> str:
    """The rows along as many axes as a place has numbers."""
    sizes = node.attrs["sizes"]
    if not sizes:
        return x
    n, c, _, w = (node.type.shape[0], *model.shape(node.inputs[0])[1:])
    return reshaped(model, x, (n, c, *sizes, w), f"{node.name}:rows")


def scatter(model: OnnxModel, node: Node) -> None:
    """ONNX shares no axes here, so image and channel become numbers of a place."""
    how = node.attrs["reduction"]
    if how in ("max", "min"):
        raise refused(node, f"scatter with {how}")
    x, at, updates = batched(model, node)
    n, c, k, _ = model.shape(node.inputs[1])
    n = node.type.shape[0]
    shared = np.stack(np.meshgrid(np.arange(n), np.arange(c), np.arange(k), indexing="ij"), axis=-1)[..., :2]
    known = model.tensor(f"{node.name}.shared", np.ascontiguousarray(shared, np.int64))
    full = model.step("Concat", [known, whole(model, node.name, at)], f"{node.name}:places", axis=3)
    rows = seen_rows(model, node, x)
    settings: dict[str, Any] = {} if how == "replace" else {"reduction": how}
    made = model.step("ScatterND", [rows, full, updates], f"{node.name}:scattered", **settings)
    model.emit("Reshape", [made, model.integers(f"{node.name}.shape", node.type.shape)], node.name)


def unpool(model: OnnxModel, node: Node) -> None:
    """Scattered into zeros, channel by channel."""
    values, places = batched(model, node)
    n, c, h, w = node.type.shape
    count = math.prod(model.shape(node.inputs[0])[2:])
    flat = [reshaped(model, v, (n, c, count), f"{node.name}:{i}.flat") for i, v in enumerate((places, values))]
    zeros = model.tensor(f"{node.name}.zero", np.zeros((1, 1, 1), np.float32))
    empty = model.step("Expand", [zeros, model.integers(f"{node.name}.all", (n, c, h * w))], f"{node.name}:empty")
    at = whole(model, node.name, flat[0])
    made = model.step("ScatterElements", [empty, at, flat[1]], f"{node.name}:scattered", axis=2)
    model.emit("Reshape", [made, model.integers(f"{node.name}.shape", node.type.shape)], node.name)


def argmaxpool(model: OnnxModel, node: Node) -> None:
    """ONNX counts places over the whole tensor: they begin anew with each channel here."""
    pads = border(model, node, pooling=True).whole
    if any(p >= node.attrs["kernel"][i % 2] for i, p in enumerate(pads)):
        raise CnnccError(f"{node.name}: ONNX has no pool with as much padding as its kernel", node.span, node.stack)
    results = [model.fresh(f"{node.name}:{kind}") for kind in ("values", "places")]
    model.several("MaxPool", model.data(node), results, **window(node, pads))
    n, c, h, w = model.shape(node.inputs[0])
    starts = np.arange(n * c, dtype=np.int64).reshape(n, c, 1, 1) * (h * w)
    begin = model.tensor(f"{node.name}.starts", starts)
    real(model, model.step("Sub", [results[1], begin], f"{node.name}:own"), node.name)


def roi_align(model: OnnxModel, node: Node) -> None:
    """The regions of all images, one after the other."""
    a, (batch, count), values = node.attrs, node.type.shape[:2], batched(model, node)
    (_, channels, h, w), images, name = model.shape(node.inputs[0]), a["images"], node.name
    x = reshaped(model, values[0], (batch * images, channels // images, h, w), f"{name}:images")
    rois = reshaped(model, values[1], (batch * count, 4), f"{name}:rois")
    chosen = model.tensor(f"{name}.first", np.repeat(np.arange(batch, dtype=np.int64) * images, count))
    if images > 1:
        own = whole(model, name, reshaped(model, values[2], (batch * count,), f"{name}:own"))
        chosen = model.step("Add", [chosen, own], f"{name}:chosen")
    how = {"mode": a["mode"], "spatial_scale": float(a["scale"]), "sampling_ratio": a["samples"]}
    size = {"output_height": a["size"][0], "output_width": a["size"][1]}
    place = {"coordinate_transformation_mode": a["place"]}
    made = model.step("RoiAlign", [x, rois, chosen], f"{name}:aligned", **how, **size, **place)
    model.emit("Reshape", [made, model.integers(f"{name}.shape", node.type.shape)], name)


def nms(model: OnnxModel, node: Node) -> None:
    """ONNX has a row for each box that is found; the others follow."""
    a, name, (batch, rows, _, _) = node.attrs, node.name, node.type.shape
    if batch > 1:
        raise CnnccError(
            f"{name}: ONNX joins the boxes of a batch", node.span, node.stack, "export the network for a batch of 1"
        )
    values = [
        reshaped(model, value, model.shape(i)[1:], f"{name}:{kind}")
        for value, i, kind in zip(model.data(node), node.inputs, ("boxes", "scores"), strict=True)
    ]
    bounds = [model.tensor(f"{name}.{key}", np.array([a[key]], np.float32)) for key in ("iou", "score")]
    found = model.step(
        "NonMaxSuppression",
        [*values, model.integers(f"{name}.most", [a["most"]]), *bounds],
        f"{name}:found",
        center_point_box=int(a["center"]),
    )
    count = model.step("Shape", [found], f"{name}:count", start=0, end=1)
    missing = model.step("Sub", [model.integers(f"{name}.rows", [rows]), count], f"{name}:missing")
    zeros = model.integers(f"{name}.none", [0])
    pads = model.step("Concat", [zeros, zeros, missing, zeros], f"{name}:pads", axis=0)
    numbers = model.step("Cast", [found], f"{name}:float", to=FLOAT)
    full = model.step("Pad", [numbers, pads, model.number(f"{name}.fill", NONE)], f"{name}:full")
    model.emit("Reshape", [full, model.integers(f"{name}.shape", node.type.shape)], name)


PLACE_RULES: Mapping[str, Callable[[OnnxModel, Node], object]] = {
    "sample": sample,
    "gather": gather,
    "scatter": scatter,
    "unpool": unpool,
    "argmaxpool": argmaxpool,
    "roi_align": roi_align,
    "nms": nms,
}
