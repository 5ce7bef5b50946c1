"""How each op is said in ONNX: one rule an op. Where there is a choice, the form ONNX Runtime is fastest with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.frontends.onnx_window_rules import WINDOW_RULES
from cnncc.ir import Node

if TYPE_CHECKING:
    from cnncc.frontends.onnx_model import Model

Rule = Callable[["Model", Node], object]


def plain(op: str, **attributes: Any) -> Rule:
    """An op that ONNX has under another name, with fixed attributes."""
    return lambda model, node: model.emit(op, model.data(node), node.name, **attributes)


def renamed(op: str, **names: str) -> Rule:
    """An op that ONNX has with other names of numbers: ONNX's name = ours."""

    def rule(model: Model, node: Node) -> None:
        numbers = {theirs: float(node.attrs[ours]) for theirs, ours in names.items()}
        model.emit(op, model.data(node), node.name, **numbers)

    return rule


def source(model: Model, node: Node) -> None:
    """(x - mean) / std of what the caller passes, under the input's own name."""
    steps = [(op, key) for op, key in (("Sub", "mean"), ("Div", "std")) if node.attrs[key]]
    # Only where the result is an output under that name does the caller's array need another one.
    clash = bool(steps) and node.name in model.graph.outputs
    value = model.ports[node.name] = model.fresh(f"{node.name}:raw") if clash else node.name
    for op, key in steps:
        column = np.array(node.attrs[key], np.float32).reshape(-1, *(1,) * (len(node.type.shape) - 2))
        value = model.step(op, [value, model.tensor(f"{node.name}.{key}", column)], f"{node.name}:{op.lower()}")
    if steps:
        model.stands_for(node, value)


def const(model: Model, node: Node) -> None:
    """A tensor of the model is a value already."""
    model.stands_for(node, *model.weights(node))


def fc(model: Model, node: Node) -> None:
    """x @ weight.T + bias."""
    (data,) = model.data(node)
    if len(model.shape(node.inputs[0])) > 2:
        data = model.step("Flatten", [data], f"{node.name}:flat", axis=1)
    model.emit("Gemm", [data, *model.weights(node)], node.name, transB=1)


def bn(model: Model, node: Node) -> None:
    """Inference form: one result."""
    model.emit(
        "BatchNormalization", model.data(node) + model.weights(node), node.name, epsilon=float(node.attrs["eps"])
    )


def lrn(model: Model, node: Node) -> None:
    """alpha / size in ONNX too. ONNX Runtime takes images only, so a vector is made one for the time."""
    a = node.attrs
    numbers = {"alpha": float(a["alpha"]), "beta": float(a["beta"]), "bias": float(a["k"]), "size": a["size"]}
    if len(node.type.shape) == 4:
        model.emit("LRN", model.data(node), node.name, **numbers)
        return
    column = model.integers(f"{node.name}.image", (*node.type.shape, 1, 1))
    image = model.step("Reshape", [*model.data(node), column], f"{node.name}:image")
    model.emit("Flatten", [model.step("LRN", [image], f"{node.name}:lrn", **numbers)], node.name, axis=1)


def relu6(model: Model, node: Node) -> None:
    """Clip takes its bounds as tensors."""
    bounds = [model.number(f"{node.name}.{k}", v) for k, v in (("min", 0), ("max", 6))]
    model.emit("Clip", model.data(node) + bounds, node.name)


def silu(model: Model, node: Node) -> None:
    """x * sigmoid(x): Swish itself is an op of the newest opset only."""
    (data,) = model.data(node)
    model.emit("Mul", [data, model.step("Sigmoid", [data], f"{node.name}:sigmoid")], node.name)


def pairwise(op: str) -> Rule:
    """A merge as a chain of two at a time: ONNX Runtime fuses `Add` into a convolution, `Sum` it does not."""

    def rule(model: Model, node: Node) -> None:
        first, *middle, last = model.data(node)
        for i, arm in enumerate(middle):
            first = model.step(op, [first, arm], f"{node.name}:{i}")
        model.emit(op, [first, last], node.name)

    return rule


def concat(model: Model, node: Node) -> None:
    """ONNX's does not broadcast: an arm with a batch of 1 is repeated first."""
    batch, arms = node.type.shape[0], model.data(node)
    for i, name in enumerate(node.inputs):
        if model.shape(name)[0] != batch:
            shape = model.integers(f"{node.name}.{i}", (batch, *model.shape(name)[1:]))
            arms[i] = model.step("Expand", [arms[i], shape], f"{node.name}:{i}")
    model.emit("Concat", arms, node.name, axis=1)


def cut(model: Model, node: Node, axes: tuple[int, ...], starts: tuple[int, ...], ends: tuple[int, ...]) -> None:
    """Positions `starts` .. `ends` - 1 along the axes."""
    bounds = {"starts": starts, "ends": ends, "axes": axes}
    model.emit(
        "Slice", model.data(node) + [model.integers(f"{node.name}.{k}", v) for k, v in bounds.items()], node.name
    )


def channels(model: Model, node: Node) -> None:
    """Channels start .. stop - 1."""
    cut(model, node, (1,), (node.attrs["start"],), (node.attrs["stop"],))


def crop(model: Model, node: Node) -> None:
    """The rectangle from (top, left)."""
    top, left, height, width = (node.attrs[k] for k in ("top", "left", "height", "width"))
    cut(model, node, (2, 3), (top, left), (top + height, left + width))


def reshape(model: Model, node: Node) -> None:
    """0 stands for the batch, whatever it is."""
    model.emit(
        "Reshape", [*model.data(node), model.integers(f"{node.name}.shape", (0, *node.attrs["dims"]))], node.name
    )


def dropout(model: Model, node: Node) -> None:
    """Kept, so that the network reads as it was written; every runtime drops it."""
    model.emit("Dropout", [*model.data(node), model.number(f"{node.name}.ratio", node.attrs["p"])], node.name)


def upsample(model: Model, node: Node) -> None:
    """Result i lies at i / scale (nearest, rounded down), (i + 1/2) / scale - 1/2, or corner to corner."""
    a = node.attrs
    scales = model.tensor(f"{node.name}.scales", np.array((1, 1, *a["scale"]), np.float32))
    if a["mode"] == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        where = "align_corners" if a["align_corners"] else "half_pixel"
        how = {"mode": "linear", "coordinate_transformation_mode": where}
    model.emit("Resize", [*model.data(node), "", scales], node.name, **how)


RULES: Mapping[str, Rule] = {
    "input": source,
    "const": const,
    "fc": fc,
    "gap": plain("GlobalAveragePool"),
    "gmp": plain("GlobalMaxPool"),
    "bn": bn,
    "lrn": lrn,
    "softmax": plain("Softmax", axis=1),
    "relu": plain("Relu"),
    "relu6": relu6,
    "leaky_relu": renamed("LeakyRelu", alpha="slope"),
    "sigmoid": plain("Sigmoid"),
    "tanh": plain("Tanh"),
    "hard_sigmoid": renamed("HardSigmoid", alpha="alpha", beta="beta"),
    "hard_swish": plain("HardSwish"),
    "silu": silu,
    "add": pairwise("Add"),
    "mul": pairwise("Mul"),
    "concat": concat,
    "upsample": upsample,
    "crop": crop,
    "slice": channels,
    "flatten": plain("Flatten", axis=1),
    "reshape": reshape,
    "dropout": dropout,
    "identity": plain("Identity"),
    **WINDOW_RULES,
}
"""Every op that a network text can have."""
